"""Which samples are in a batch: the indices that loaders draw are recorded on their way to the workers, unchanged."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch.utils.data import DataLoader

from selfclean_hooks.utils import torch_internals
from selfclean_hooks.utils.arrays import IntArray

_active: list[BatchIndexRecorder] = []


class PendingIndices:
    """The indices drawn by one iterator in one epoch, for batches that are still to come."""

    def __init__(self, epoch: Any) -> None:
        """`epoch`: iterator of the sampler, a new one for each."""
        self.epoch, self.taken = epoch, 0
        self.waiting: deque[Any] = deque()

    def of_batch(self, number: int) -> Any:
        """What was drawn for that batch, None: not known. Earlier batches are forgotten."""
        while self.taken < number and self.waiting:
            self.waiting.popleft()
            self.taken += 1
        if self.taken != number or not self.waiting:
            return None
        self.taken += 1
        return self.waiting.popleft()


class BatchIndexRecorder:
    """Records what is drawn from one data set, by all iterators over it, from `start` to `stop`.

    Args:
        dataset: Of a DataLoader.
    """

    def __init__(self, dataset: Any) -> None:
        """Nothing is recorded yet."""
        self.dataset = dataset
        self._by_iterator: WeakKeyDictionary[Any, PendingIndices] = WeakKeyDictionary()

    def start(self) -> None:
        """Record from now on; to be called before the loader is iterated over, as workers are fed ahead."""
        if not _active:
            torch_internals.replace_next_index(_recorded)
        _active.append(self)

    def stop(self) -> None:
        """Restore torch's class, once no recorder is active any more."""
        if self in _active:
            _active.remove(self)
        method = torch_internals.next_index()
        if not _active and hasattr(method, "recorded_method"):  # else another wrapper is outermost, and calls ours
            torch_internals.replace_next_index(lambda wrapper: wrapper.recorded_method)

    def record(self, iterator: Any, index: Any) -> None:
        """Called for each batch of indices that is drawn."""
        if torch_internals.iterated_dataset(iterator) is not self.dataset:
            return
        pending, epoch = self._by_iterator.get(iterator), torch_internals.sampler_epoch(iterator)
        if pending is None or pending.epoch is not epoch:
            pending = self._by_iterator[iterator] = PendingIndices(epoch)
        pending.waiting.append(index)

    def of_batch(self, iterator: Any, ahead: int) -> IntArray | None:
        """(B,) int64 positions in the data set of a batch just fetched; None: not known.

        Args:
            iterator: That the batch came from.
            ahead: How many batches were fetched from it after this one.
        """
        if not isinstance(iterator, torch_internals.LoaderIterator):
            return None
        pending, yielded = self._by_iterator.get(iterator), torch_internals.batches_yielded(iterator)
        index = None if pending is None else pending.of_batch(yielded - 1 - ahead)
        return _positions(index, len(self.dataset))


def why_unsupported(loader: Any) -> str:
    """Why batch indices of a loader are unavailable, or ""."""
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return f"a {type(loader).__name__} may hand out other batches than it draws"
    if not getattr(loader, "in_order", True) and loader.num_workers:
        return "with in_order=False batches come in any order"
    if loader.batch_sampler is None:
        return "the data set makes the batches itself"
    return "" if torch_internals.draws_can_be_recorded() else "this version of torch does not reveal batch indices"


def _recorded(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(method)
    def draw(iterator: Any) -> Any:
        index = method(iterator)
        for recorder in tuple(_active):
            recorder.record(iterator, index)
        return index

    draw.recorded_method = method  # type: ignore[attr-defined]
    return draw


def _positions(index: Any, n: int) -> IntArray | None:
    """A list of positions as an array; None for keys of any other kind."""
    try:
        positions = np.asarray(index)
    except ValueError:  # of different lengths
        return None
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or not len(positions):
        return None
    return positions.astype(np.int64) if -n <= positions.min() and positions.max() < n else None
