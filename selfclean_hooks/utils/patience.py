"""Waiting for what may never come: after a minute a line says for what, after `timeout` seconds it is an error."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from selfclean_hooks.errors import DataError

NOTICE = 60.0  # seconds until a line says what is waited for
logger = logging.getLogger("selfclean_hooks")


class OverdueError(BaseException):
    """Ends a wait in the user's code, which may catch every Exception; `patience` makes a DataError of it."""


@dataclass(eq=False)
class Wait:
    """One wait: for what, as a function that is called where it takes long, and since when."""

    what: Callable[[], str]
    since: float = field(default_factory=time.monotonic)
    is_reported: bool = False


class Patience:
    """What this thread waits for, watched by a thread of its own from the first wait to `close`.

    Args:
        timeout: Seconds; None: for ever.
    """

    def __init__(self, timeout: float | None) -> None:
        """Nothing is waited for yet."""
        self.timeout = timeout
        self.wait: Wait | None = None
        self.beat: Callable[[], None] = lambda: None  # a sign of life for other processes
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None

    @contextmanager
    def waiting(self, what: Callable[[], str], interruptible: bool = False) -> Iterator[Wait]:
        """Wait in this context.

        Args:
            what: Names what is waited for; may be called in another thread.
            interruptible: Whether an alarm is to end it after `timeout`: where there are signals, in the main thread,
                and if nobody else has set an alarm. What is stuck in the operating system stays stuck.
        """
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="selfclean-hooks patience", daemon=True)
            self._watcher.start()
        outer, self.wait = self.wait, Wait(what)
        try:
            with _alarm(self.timeout if interruptible else None, what):
                yield self.wait
        finally:
            self.wait = outer

    def close(self) -> None:
        """End the watch."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(NOTICE / 60):
            wait = self.wait
            if wait is not None and not wait.is_reported and time.monotonic() - wait.since >= NOTICE:
                wait.is_reported = True
                logger.warning("%s", f"waiting for {wait.what()} since {NOTICE:.0f} s")


_current: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patience(timeout: float | None) -> Iterator[Patience]:
    """Watch the waits of this thread; inside of another `patience` that one holds on.

    Raises:
        DataError: A wait took longer than `timeout`; says for what.
    """
    if (outer := _current.get()) is not None:
        yield outer
        return
    own = Patience(timeout)
    token = _current.set(own)
    try:
        yield own
    except OverdueError as overdue:
        raise DataError(str(overdue)) from overdue
    finally:
        _current.reset(token)
        own.close()


@contextmanager
def waiting(what: Callable[[], str], interruptible: bool = False) -> Iterator[None]:
    """Wait in this context, watched if there is a `patience` around it; see `Patience.waiting`."""
    held = _current.get()
    if held is None:
        yield
    else:
        with held.waiting(what, interruptible):
            yield


def progressed() -> None:
    """Something was done: others that wait for this process know."""
    held = _current.get()
    if held is not None:
        held.beat()


def timeout_in_force() -> float | None:
    """That of the `patience` around, None: for ever."""
    held = _current.get()
    return None if held is None else held.timeout


def overdue(what: str, seconds: float) -> str:
    """The message of a wait that took too long."""
    return f"{what} did not answer within {seconds:g} s (timeout={seconds:g}): look there, or give it more time"


@contextmanager
def _alarm(seconds: float | None, what: Callable[[], str]) -> Iterator[None]:
    if seconds is None or not _is_free():
        yield
        return

    def ring(*_: Any) -> None:
        raise OverdueError(overdue(what(), seconds))

    former = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _is_free() -> bool:
    """Whether the alarm of this process can be set and is not in use."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getitimer(signal.ITIMER_REAL)[0] == 0 and signal.getsignal(signal.SIGALRM) in (
        signal.SIG_DFL,
        signal.SIG_IGN,
    )
