"""Waiting for the other processes of a training: which of them are missing is known, and for how long."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist

from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.patience import overdue, timeout_in_force, waiting

FIRST_PAUSE, PAUSE = 0.001, 0.05  # seconds between two looks
BEAT = 1.0  # seconds between two signs of life


class UnansweredError(DataError):
    """A process does not answer, or is gone; all others end with this, and so does that one should it come back."""


class RollCall:
    """What processes of one group note for each other in the store by which they met.

    Args:
        rank: of this process in the group.
        size: of the group.
        group: a gloo group.
    """

    def __init__(self, rank: int, size: int, group: Any) -> None:
        """Nothing is noted yet."""
        self.rank, self.size, self.group = rank, size, group
        self.store: Any = group.get_group_store() if hasattr(group, "get_group_store") else None  # in old torch
        self.calls, self.last_beat, self.call = itertools.count(), 0.0, 0

    def meet(self, note: int, is_limited: bool) -> list[int]:
        """Wait until all processes have come.

        Args:
            note: for all to know.
            is_limited: whether those that are missing may take no longer than the timeout in force without a sign of
                life; not where one of them scores for all.

        Returns:
            The notes of all.

        Raises:
            UnansweredError: one took longer, here or in another process.
        """
        self.call = next(self.calls)
        with self.connected():
            return self._meet(note, is_limited)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """A block of collective operations: that a process is gone is known to all others.

        Raises:
            UnansweredError: one is gone.
        """
        try:
            yield
        except RuntimeError as error:  # of gloo, or of the store
            lost = f"{self._named_missing()} is gone: its own output says why. All processes end"
            with suppress(RuntimeError, AttributeError):  # the store is gone as well, or there never was one
                self.store.set(self._key("ended"), lost)
            raise UnansweredError(lost) from error

    def _meet(self, note: int, is_limited: bool) -> list[int]:
        if self.store is not None:
            self._raise_if_ended()
            self.store.set(self._key("came", self.rank, self.call), "1")
            if self.call > 1:
                self.store.delete_key(self._key("came", self.rank, self.call - 2))
        mine = torch.tensor([note], dtype=torch.int64, device="cpu")
        notes = [torch.empty_like(mine) for _ in range(self.size)]
        arrived = dist.all_gather(notes, mine, group=self.group, async_op=True)
        if self.store is not None:
            with waiting(self._named_missing):
                self._wait(arrived, timeout_in_force() if is_limited else None)
        arrived.wait()
        return [int(each) for each in notes]

    def beat(self) -> None:
        """A sign of life while this process works."""
        if self.store is not None and time.monotonic() - self.last_beat > BEAT:
            self.last_beat = time.monotonic()
            self.store.set(self._key("beat", self.rank), repr(self.last_beat))

    def _wait(self, arrived: Any, limit: float | None) -> None:
        since, pause, beats = time.monotonic(), FIRST_PAUSE, ""
        while not arrived.is_completed():
            time.sleep(pause)
            pause = min(PAUSE, 2 * pause)
            if pause < PAUSE:
                continue
            self._raise_if_ended()
            if limit is not None and time.monotonic() - since > limit:
                if (now := self._beats()) == beats:
                    self.store.set(self._key("ended"), overdue(self._named_missing(), limit))
                    self._raise_if_ended()
                since, beats = time.monotonic(), now

    def _raise_if_ended(self) -> None:
        if self.store.check([self._key("ended")]):
            raise UnansweredError(self.store.get(self._key("ended")).decode())

    def _missing(self) -> list[int]:
        if self.store is None:
            return []
        return [rank for rank in range(self.size) if not self.store.check([self._key("came", rank, self.call)])]

    def _named_missing(self) -> str:
        try:
            missing = self._missing()
        except RuntimeError:  # the store is gone with the process that held it
            missing = []
        return f"rank {' and '.join(map(str, missing))} of {self.size}" if missing else "another process"

    def _beats(self) -> str:
        keys = [self._key("beat", rank) for rank in self._missing()]
        return " ".join(self.store.get(key).decode() for key in keys if self.store.check([key]))

    def _key(self, *parts: Any) -> str:
        return "/".join(map(str, ("selfclean_hooks", self.group.group_name, *parts)))


@lru_cache(maxsize=8)
def roll_call(rank: int, size: int, group: Any) -> RollCall:
    """The one of a group: calls are counted from its first on."""
    return RollCall(rank, size, group)
