"""What a command meets as a process: streams that are closed, full or of another encoding, and SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from typing import Any

from selfclean_hooks.errors import SelfCleanError

TERMINATED = 128 + signal.SIGTERM  # exit status, as of a process that the signal ended


class SteadyStream:
    """A standard stream that never ends a command, but for a full device below standard output.

    Text for a reader that is gone (a pipe to `head`) or for a stream that was closed from the start is discarded.
    Characters that the encoding lacks are written as escapes.

    Args:
        stream: the stream; None where it was closed before Python started.
        must_be_written: whether it is an error where it cannot be written, of a full disk say.
    """

    def __init__(self, stream: Any, must_be_written: bool) -> None:
        self._stream, self._must_be_written, self._failure = stream, must_be_written, ""
        self.encode()

    def encode(self, encoding: str | None = None) -> None:
        """Use another encoding from here on."""
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(encoding=encoding or self._stream.encoding, errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, as far as there is something to write to."""
        self._guarded("write", text)
        return len(text)

    def flush(self) -> None:
        """Flush likewise."""
        self._guarded("flush")

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and bool(self._stream.isatty())

    @property
    def encoding(self) -> str:
        """Its encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _guarded(self, method: str, *arguments: str) -> None:
        if self._failure:  # again: whoever called before may have taken no notice
            raise SelfCleanError(self._failure)
        if self._stream is None or arguments == ("",):
            return
        try:
            getattr(self._stream, method)(*arguments)
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self._discard()
            if self._must_be_written and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
                reason = error.strerror or error
                self._failure = f"standard output cannot be written: {reason}. What was printed is incomplete"
                raise SelfCleanError(self._failure) from None

    def _discard(self) -> None:
        """Let Python flush what is left in its buffers into nothing at its end."""
        with suppress(OSError, ValueError, AttributeError):  # of a stream that is no file
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        self._stream = None


@contextmanager
def steady_streams() -> Iterator[None]:
    """Within the block, `sys.stdout` and `sys.stderr` are steady ones."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SteadyStream(sys.stdout, True), SteadyStream(sys.stderr, False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def open_standard_files() -> None:
    """Open the standard files that were closed by whoever started this process, lest a data file takes their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


@contextmanager
def launched_processes() -> Iterator[bool]:
    """All that torchrun started, which audit as one: whether this is the first, which reports.

    The others say nothing but what went wrong in them alone.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield True
        return
    import torch
    import torch.distributed as dist

    from selfclean_hooks.utils.processes import Processes, is_shared, leave

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("gloo")
    processes = Processes.here()
    try:
        with nullcontext() if processes.is_first else _silent(), processes.joined():
            yield processes.is_first
    except SelfCleanError as error:
        if processes.is_first or not is_shared(error):
            raise
        raise SystemExit(2) from error
    finally:
        leave()


@contextmanager
def _silent() -> Iterator[None]:
    nowhere: Any = SteadyStream(None, must_be_written=False)
    with redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


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
