"""The processes that share an audit: one alone, or those of a distributed training.

Every method is a collective operation: all processes call it, in the same order. What fails in one of them is raised in
all, so that none waits for the others for ever. Each begins with the same exchange of what failed, so that a process
that fails in between, and is `together` with the others, meets them wherever they wait.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import torch.distributed as dist

from selfclean_hooks import errors
from selfclean_hooks.utils.roll_call import UnansweredError, roll_call

T = TypeVar("T")
SHARED = "_raised_in_all_processes"  # attribute of an error that all processes know of
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

    def run_on_each(self, work: Callable[[], T]) -> T:
        """What the work of this process results in, once all have done theirs."""
        if self.size == 1:
            return work()
        result: T = self._done(attempt(work))
        return result

    def _done(self, mine: Outcome, is_limited: bool = True) -> Any:
        if hasattr(self.group, "get_group_store"):  # not in old versions of torch
            roll_call(self.rank, self.size, self.group).meet(is_limited)
        self._raise_first(mine)
        return mine.value

    def _connected(self) -> AbstractContextManager[None]:
        if not hasattr(self.group, "get_group_store"):
            return nullcontext()
        return roll_call(self.rank, self.size, self.group).connected()

    def beat(self) -> None:
        """A sign of life in the midst of work that takes long."""
        if hasattr(self.group, "get_group_store"):
            roll_call(self.rank, self.size, self.group).beat()

    def gather_all(self, work: Callable[[], T]) -> list[T]:
        """The results of all processes in order, for all of them."""
        if self.size == 1:
            return [work()]
        mine = self.run_on_each(lambda: pickle.dumps(work()))
        values: list[Any] = [None] * self.size
        with self._connected():
            dist.all_gather_object(values, mine, group=self.group)
        return [pickle.loads(value) for value in values]

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
        mine = self.run_on_each(work)
        if self.size == 1:
            return [mine]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        with self._connected():
            dist.gather_object(mine, values, dst=dist.get_global_rank(self.group, 0), group=self.group)
        return values or []

    def run_on_first(self, work: Callable[[], T]) -> T:
        """What the work of the first process results in, for all of them."""
        if self.size == 1:
            return work()

        def sent() -> tuple[T, bytes] | None:
            return ((value := work()), pickle.dumps(value)) if self.is_first else None

        mine = self._done(attempt(sent), is_limited=self.is_first)  # the first may score for hours
        content: list[Any] = [mine and mine[1]]
        with self._connected():
            dist.broadcast_object_list(content, src=dist.get_global_rank(self.group, 0), group=self.group)
        result: T = mine[0] if mine else pickle.loads(content[0])
        return result

    def _raise_first(self, mine: Outcome) -> None:
        """Exchange what failed: the same error in all processes, as none may go on alone; an interrupt first."""
        outcomes: list[Any] = [None] * self.size
        with self._connected():
            dist.all_gather_object(outcomes, mine._replace(value=None).sendable(), group=self.group)
        failed = [at for at, outcome in enumerate(outcomes) if outcome.error is not None]
        if not failed:
            return
        at = min(failed, key=lambda at: (isinstance(outcomes[at].error, Exception), at))
        error = mine.error if at == self.rank else outcomes[at].error  # one's own has a traceback
        assert error is not None
        vars(error)[SHARED] = True
        raise error


_joined: ContextVar[Processes | None] = ContextVar("joined", default=None)


@lru_cache(maxsize=1)  # each group holds threads and files open
def _own_group(world: Any) -> Any:
    """A group of all processes of the default group, which is given as the key to remember it by."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


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
