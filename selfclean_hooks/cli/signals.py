"""SIGTERM within a command: an interrupt, so that what is being written is cleaned up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TERMINATED = 128 + signal.SIGTERM  # exit status, as of a process that the signal ended


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated` in this process; processes forked from it end as they would."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
        if os.getpid() == owner:
            raise Terminated
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
