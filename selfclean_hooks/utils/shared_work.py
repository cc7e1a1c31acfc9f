"""Work that the first of several processes shares out: the others do what it hands them, until it is done.

Blocks are dealt out in turn and their results come back in order, so these are the same for any number of processes.
"""

from __future__ import annotations

import io
import itertools
import os
import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.utils.processes import Processes, attempt
from selfclean_hooks.utils.text import Tick

Block = TypeVar("Block")
T = TypeVar("T")


def map_blocks(work: Callable[[Block], T], blocks: Sequence[Block], tick: Tick | None = None) -> list[T]:
    """What work makes of each block, in order; by all processes within `lead`.

    Args:
        work: can be pickled, if there are several processes.
        blocks: of rows, say.
        tick: called with (blocks done, all of them).
    """
    return list(each_block(work, blocks, tick))


def each_block(work: Callable[[Block], T], blocks: Sequence[Block], tick: Tick | None = None) -> Iterable[T]:
    """`map_blocks` of what need not all be held: by one process, each block when it is asked for."""
    team = _team.get()
    if team is None or len(blocks) < 2:
        return _worked(work, blocks, tick, len(blocks))
    return team.map(work, blocks, tick)


def sum_blocks(work: Callable[[Block], tuple[Any, ...]], blocks: Sequence[Block]) -> tuple[Any, ...]:
    """The sums of what work makes of the blocks, arrays or numbers, in float64 and in order; see `map_blocks`."""
    parts = iter(each_block(work, blocks))
    total = tuple(np.float64(1) * part for part in next(parts))
    for part in parts:
        total = tuple(map(np.add, total, part))
    return total


def workers() -> int:
    """How many processes work on what is mapped here."""
    team = _team.get()
    return 1 if team is None else team.processes.size


def lead(processes: Processes, work: Callable[[], T]) -> T:
    """`run_on_first`, with all cores for the first process, and with the others doing their share of what it maps."""
    if processes.size == 1:
        return work()
    if not processes.is_first:
        _Helper(processes).serve()
        return processes.run_on_first(work)

    def led() -> T:
        team = _Team(processes)
        token = _team.set(team)
        try:
            with threads_set(cores()):
                return work()
        finally:
            _team.reset(token)
            team.dismiss()

    return processes.run_on_first(led)


class SentOnce:
    """What is sent to the other processes once, though several works refer to it: large, and never changed."""


@dataclass(frozen=True, eq=False)
class SharedArray(SentOnce):
    """An array of any kind."""

    values: NDArray[Any]


class _Task(NamedTuple):
    new: list[tuple[int, bytes]]  # what is sent once, by number
    gone: list[int]  # what nothing will refer to any more
    work: bytes
    blocks: Sequence[Any]


class _Team:
    """The first process, and how it hands out work."""

    def __init__(self, processes: Processes) -> None:
        self.processes, self.threads = processes, torch.get_num_threads()
        self.numbers: weakref.WeakKeyDictionary[SentOnce, int] = weakref.WeakKeyDictionary()
        self.count = itertools.count()
        self.new: list[tuple[int, bytes]] = []
        self.gone: list[int] = []

    def map(self, work: Callable[[Block], T], blocks: Sequence[Block], tick: Tick | None) -> list[T]:
        """See `map_blocks`."""
        content, size = self.pickled(work), self.processes.size
        task, self.new, self.gone = _Task(self.new, self.gone, content, blocks), [], []
        self.processes.run_on_first(lambda: task)
        with threads_set(self.threads):
            mine = attempt(lambda: list(_worked(work, blocks[::size], tick, len(blocks))))
        outcomes = self.processes.gather(lambda: mine.sendable())
        for outcome in outcomes:
            if outcome.error is not None:
                raise mine.error or outcome.error
        return [outcomes[at % size].value[at // size] for at in range(len(blocks))]

    def dismiss(self) -> None:
        """There is no more to do."""
        self.processes.run_on_first(lambda: None)

    def pickled(self, thing: Any) -> bytes:
        """With numbers in place of what is sent once."""
        buffer = io.BytesIO()
        _Pickler(buffer, self, thing).dump(thing)
        return buffer.getvalue()

    def number(self, thing: SentOnce) -> int:
        """That of something that is sent once; it is sent with the next task if it has not been."""
        if thing not in self.numbers:
            content = self.pickled(thing)
            self.numbers[thing] = number = next(self.count)
            self.new.append((number, content))
            weakref.finalize(thing, self.gone.append, number)
        return self.numbers[thing]


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, team: _Team, whole: Any) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.team, self.whole = team, whole

    def persistent_id(self, thing: Any) -> int | None:
        is_part = isinstance(thing, SentOnce) and thing is not self.whole
        return self.team.number(thing) if is_part else None


class _Helper:
    """One of the other processes."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.held: dict[int, Any] = {}

    def serve(self) -> None:
        """Work until there is no more to do."""
        while (task := self.processes.run_on_first(_nothing)) is not None:
            mine = attempt(lambda: self.worked(task))
            self.processes.gather(lambda: mine.sendable())  # noqa: B023

    def worked(self, task: _Task) -> list[Any]:
        """This process's share."""
        for number in task.gone:
            self.held.pop(number, None)
        for number, content in task.new:
            self.held[number] = self.unpickled(content)
        work, own = self.unpickled(task.work), task.blocks[self.processes.rank :: self.processes.size]
        return list(_worked(work, own, lambda *_: self.processes.beat(), len(own)))

    def unpickled(self, content: bytes) -> Any:
        loader = pickle.Unpickler(io.BytesIO(content))
        loader.persistent_load = self.held.__getitem__  # type: ignore[method-assign]
        return loader.load()


_team: ContextVar[_Team | None] = ContextVar("team", default=None)


def _nothing() -> _Task | None:
    return None


def _worked(work: Callable[[Block], T], blocks: Sequence[Block], tick: Tick | None, total: int) -> Iterator[T]:
    """The results of some of all blocks; ticks as if the other processes were as fast."""
    for done, block in enumerate(blocks, 1):
        yield work(block)
        if tick is not None:
            tick(done * total // len(blocks), total)


@contextmanager
def threads_set(number: int) -> Iterator[None]:
    """Torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """All cores that there are for this process: launchers give each process a share of the threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or torch.get_num_threads()
