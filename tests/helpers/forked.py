"""Work in a process of its own that imports nothing anew, as it is forked from the one of the tests."""

import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

PATIENCE = 100  # seconds; a hang must fail and not last


class Ended(NamedTuple):
    """How a process ended: its status, or the signal that ended it as a negative number, and what it printed."""

    status: int | None
    out: str
    err: str


def free_port() -> int:
    """Where processes may meet."""
    with socket.socket() as held:
        held.bind(("localhost", 0))
        return int(held.getsockname()[1])


def forked(work: Callable[[], Any]) -> Ended:
    """Run it in a forked process, whose status is what `sys.exit` is given, else 0, and 1 after an error."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = multiprocessing.get_context("fork").Process(target=_redirected, args=(work, out, err))
        process.start()
        process.join(PATIENCE)
        process.kill()
        for file in (out, err):
            file.seek(0)
        return Ended(process.exitcode, out.read(), err.read())


def _redirected(work: Callable[[], Any], out: Any, err: Any) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = out, err
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # threads do not outlive a fork
    work()
