"""The processes that share an audit: one alone, or those of a distributed training.

Every method is a collective operation: all processes call it, in the same order. What fails in one of them is raised in
all, so that none waits for the others for ever. Each begins with the same meeting, where it is known what each is going
to send and whether one failed, so that a process that fails in between, and is `together` with the others, meets them
wherever they wait.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from selfclean_hooks import errors
from selfclean_hooks.utils.roll_call import RollCall, UnansweredError, roll_call

T = TypeVar("T")
SHARED = "_raised_in_all_processes"  # attribute of an error that all processes know of
FAILED = -1  # in place of a length
PATIENCE = timedelta(days=7)  # the 30 minutes of a default group end a training whose audit takes longer


class Outcome(NamedTuple):
    """What came of the work of one process."""

    value: Any = None
    error: BaseException | None = None

    def sendable(self) -> Outcome:
        """The same with an error that survives pickling: of many of users' classes the copy cannot be made."""
        if self.error is None:
            return self
        try:
            pickle.loads(pickle.dumps(self.error))
        except Exception:  # whatever an exception's own __reduce__ or __init__ raises
            known = next((kind for kind in type(self.error).__mro__ if kind.__module__ == errors.__name__), None)
            return Outcome(error=(known or errors.SelfCleanError)(f"{type(self.error).__name__}: {self.error}"))
        return self


@dataclass(frozen=True, eq=False)
class Processes:
    """One process of several, or the only one.

    Attributes:
        rank: number of this process, 0 the first.
        size: number of processes.
        group: through which they talk: a gloo group of their own, whatever the training uses.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @classmethod
    def here(cls) -> Processes:
        """Those of the default process group where there is one of several processes; to be called by all of them."""
        if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
            return cls()
        return cls(dist.get_rank(), dist.get_world_size(), _own_group(dist.group.WORLD))

    @classmethod
    def in_force(cls) -> Processes:
        """Those of the `joined` around, else this one alone."""
        return _joined.get() or cls()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Within the block the functions that audit are collective operations; what fails in one fails in all."""
        token = _joined.set(self)
        try:
            yield
        except BaseException as error:
            if self.size > 1 and not is_shared(error):
                self.run_on_each(partial(_raise, error))
            raise
        finally:
            _joined.reset(token)

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that scores, warns and writes."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """The positions of n that are this process's to read."""
        return range(self.rank, n, self.size)

    def together(self, work: Callable[[], T]) -> T:
        """Work with collective operations in it: what fails in one process, inside of these or not, fails in all."""
        if self.size == 1:
            return work()
        try:
            result = work()
        except BaseException as error:
            if not is_shared(error):
                self.run_on_each(partial(_raise, error))
            raise
        return self.run_on_each(lambda: result)

    @property
    def _roll_call(self) -> RollCall:
        return roll_call(self.rank, self.size, self.group)

    def beat(self) -> None:
        """A sign of life in the midst of work that takes long."""
        self._roll_call.beat()

    def run_on_each(self, work: Callable[[], T]) -> T:
        """What the work of this process results in, once all have done theirs."""
        if self.size == 1:
            return work()
        mine = attempt(work)
        self._met(mine)
        result: T = mine.value
        return result

    def _met(self, mine: Outcome, length: int = 0, is_limited: bool = True) -> list[int]:
        """How many bytes each process is going to send, once all have done their work and none has failed."""
        lengths = self._roll_call.meet(FAILED if mine.error is not None else length, is_limited)
        if FAILED in lengths:
            self._raise_first(mine)
        return lengths

    def gather_all(self, work: Callable[[], T]) -> list[T]:
        """The results of all processes in order, for all of them."""
        if self.size == 1:
            return [work()]
        mine = attempt(lambda: pickle.dumps(work()))
        lengths = self._met(mine, len(mine.value or b""))
        found = [_buffer(max(lengths)) for _ in lengths]
        with self._roll_call.connected():
            dist.all_gather(found, _buffer(max(lengths), mine.value), group=self.group)
        return [_content(part) for part in found]

    def agree(self, work: Callable[[], str]) -> str:
        """What all processes return alike: one that went another way would leave the others waiting."""
        answers = self.gather_all(work)
        if len(set(answers)) > 1:
            raise errors.DataError(
                f"all processes of the training must have the same loaders and data, and have: {answers}"
            )
        return answers[0]

    def gather(self, work: Callable[[], T]) -> list[T]:
        """The results of all processes in order, for the first; the others get an empty list. For what is large."""
        if self.size == 1:
            return [work()]
        mine = attempt(work if self.is_first else lambda: pickle.dumps(work()))
        lengths = self._met(mine, 0 if self.is_first else len(mine.value or b""))
        found = [_buffer(max(lengths)) for _ in lengths] if self.is_first else None
        own = None if self.is_first else mine.value
        with self._roll_call.connected():
            first = dist.get_global_rank(self.group, 0)
            dist.gather(_buffer(max(lengths), own), found, dst=first, group=self.group)
        return [] if found is None else [mine.value, *(_content(part) for part in found[1:])]

    def run_on_first(self, work: Callable[[], T]) -> T:
        """What the work of the first process results in, for all of them."""
        if self.size == 1:
            return work()

        def sent() -> tuple[T, bytes] | None:
            return ((value := work()), pickle.dumps(value)) if self.is_first else None

        mine = attempt(sent)
        value, content = mine.value or (None, b"")  # an error, or another process
        length = self._met(mine, len(content), is_limited=self.is_first)[0]  # the first may score for hours
        found = _buffer(length, content)
        with self._roll_call.connected():
            dist.broadcast(found, src=dist.get_global_rank(self.group, 0), group=self.group)
        result: T = value if self.is_first else _content(found)  # type: ignore[assignment]
        return result

    def _raise_first(self, mine: Outcome) -> NoReturn:
        """Exchange what failed: the same error in all processes, as none may go on alone; an interrupt first."""
        outcomes: list[Any] = [None] * self.size
        with self._roll_call.connected():
            dist.all_gather_object(outcomes, mine._replace(value=None).sendable(), group=self.group)
        failed = [at for at, outcome in enumerate(outcomes) if outcome.error is not None]
        at = min(failed, key=lambda at: (isinstance(outcomes[at].error, Exception), at))
        error = mine.error if at == self.rank else outcomes[at].error  # one's own has a traceback
        assert error is not None
        vars(error)[SHARED] = True
        raise error


def _buffer(length: int, content: bytes | None = None) -> Tensor:
    """(length,) bytes, of which the first are those of the content."""
    found = torch.empty(length, dtype=torch.uint8, device="cpu")
    if content:
        found.numpy()[: len(content)] = np.frombuffer(content, np.uint8)
    return found


def _content(buffer: Tensor) -> Any:
    return pickle.loads(buffer.numpy().data)


_joined: ContextVar[Processes | None] = ContextVar("joined", default=None)


@lru_cache(maxsize=1)  # each group holds threads and files open
def _own_group(world: Any) -> Any:
    """A group of all processes of the default group, which is given as the key to remember it by."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """End the default group, and the threads of all groups before the interpreter: these abort a process that ends."""
    _own_group.cache_clear()
    roll_call.cache_clear()
    dist.destroy_process_group()


def attempt(work: Callable[[], Any]) -> Outcome:
    """What comes of work, an error included."""
    try:
        return Outcome(work())
    except BaseException as error:  # an interrupt too: the others must not be left waiting; it is raised again
        return Outcome(error=error)


def _raise(error: BaseException) -> None:
    raise error


def is_shared(error: BaseException | None) -> bool:
    """Whether all processes know of an error, or of one that it was made from."""
    if error is None or isinstance(error, UnansweredError):  # no other comes to an exchange any more
        return error is not None
    return SHARED in vars(error) or is_shared(error.__cause__) or is_shared(error.__context__)
