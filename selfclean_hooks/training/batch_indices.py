"""Which samples are in a batch: what loaders draw is noted on the way to their workers, and changes nothing there."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, dataloader

ITERATOR: Any = dataloader._BaseDataLoaderIter  # of a DataLoader; there is no public place that all positions pass
DRAWS = "_next_index"  # its method that draws the positions for one batch
_noting: list[BatchIndexRecorder] = []


class PendingIndices:
    """The positions drawn by one iterator in one epoch, of batches that are still to come."""

    def __init__(self, epoch: Any) -> None:
        """`epoch`: iterator of the sampler, a new one for each."""
        self.epoch, self.gone = epoch, 0
        self.waiting: deque[Any] = deque()

    def of_batch(self, number: int) -> Any:
        """What was drawn for that batch, None: not known. Those before it are forgotten."""
        while self.gone < number and self.waiting:
            self.waiting.popleft()
            self.gone += 1
        if self.gone != number or not self.waiting:
            return None
        self.gone += 1
        return self.waiting.popleft()


class BatchIndexRecorder:
    """Notes what is drawn from one data set, by all iterators over it, from `start` to `stop`.

    Args:
        dataset: of a DataLoader.
    """

    def __init__(self, dataset: Any) -> None:
        """Nothing is noted yet."""
        self.dataset = dataset
        self._by_iterator: WeakKeyDictionary[Any, PendingIndices] = WeakKeyDictionary()

    def start(self) -> None:
        """Note from now on; to be called before the loader is iterated over, as workers are fed ahead."""
        if not _noting and DRAWS in vars(ITERATOR):
            setattr(ITERATOR, DRAWS, _noted(vars(ITERATOR)[DRAWS]))
        _noting.append(self)

    def stop(self) -> None:
        """Leave torch's class as it was found, once none notes any more."""
        if self in _noting:
            _noting.remove(self)
        method = vars(ITERATOR).get(DRAWS)
        if not _noting and hasattr(method, "noted_of"):  # else another stands on top, and passes on to ours
            setattr(ITERATOR, DRAWS, method.noted_of)

    def note(self, iterator: Any, index: Any) -> None:
        """Something was drawn."""
        if getattr(iterator, "_dataset", None) is not self.dataset:
            return
        drawn, epoch = self._by_iterator.get(iterator), getattr(iterator, "_sampler_iter", None)
        if drawn is None or drawn.epoch is not epoch:
            drawn = self._by_iterator[iterator] = PendingIndices(epoch)
        drawn.waiting.append(index)

    def of_batch(self, trainer: Any) -> NDArray[np.int64] | None:
        """(B,) positions in the data set of the batch that the trainer has just fetched; None: not known."""
        loop = trainer.fit_loop
        combined = getattr(getattr(loop, "_combined_loader", None), "_iterator", None)
        iterators: Any = getattr(combined, "iterators", ())
        if len(iterators) != 1 or not isinstance(iterators[0], ITERATOR):
            return None
        iterator = iterators[0]
        drawn = self._by_iterator.get(iterator)
        ahead = len(getattr(loop._data_fetcher, "batches", ()))  # fetched for the steps to come
        fetched = getattr(iterator, "_num_yielded", 0)
        index = None if drawn is None else drawn.of_batch(fetched - 1 - ahead)
        return _positions(index, len(self.dataset))


def why_unsupported(loader: Any, trainer: Any) -> str:
    """Why there is no telling which samples are in the batches of a loader, or ""."""
    if not isinstance(loader, DataLoader) or type(loader).__iter__ is not DataLoader.__iter__:
        return f"a {type(loader).__name__} may hand out other batches than it draws"
    if not getattr(loader, "in_order", True) and loader.num_workers:
        return "with in_order=False batches come in any order"
    if loader.batch_sampler is None:
        return "the data set makes the batches itself"
    if type(trainer.fit_loop._data_fetcher).__name__ == "_DataLoaderIterDataFetcher":
        return "training_step fetches the batches itself"
    return "" if DRAWS in vars(ITERATOR) else "this version of torch does not tell"


def _noted(own: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(own)
    def draw(iterator: Any) -> Any:
        index = own(iterator)
        for draws in tuple(_noting):
            draws.note(iterator, index)
        return index

    draw.noted_of = own  # type: ignore[attr-defined]
    return draw


def _positions(index: Any, n: int) -> NDArray[np.int64] | None:
    """A list of positions as an array; None for keys of any other kind."""
    try:
        found = np.asarray(index)
    except ValueError:  # of different lengths
        return None
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        return None
    return found.astype(np.int64) if -n <= found.min() and found.max() < n else None
