"""A data set that remembers the first items read, so that what probes read is not read again for the audit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.items import split
from selfclean_hooks.utils.patience import waiting

MAX_ITEMS = 512
MAX_BYTES = 256 << 20  # of all items kept


class _Entry(NamedTuple):
    item: Any
    digest: str  # of its value when it was read


class CachedDataset(Dataset[Any]):
    """Items of a data set, of which the first ones read in this process are kept until the cache is full.

    Kept is only what another read would return again: an item whose value has a digest, and whose reading left the
    global random generators alone. An item that was changed in place meanwhile, as a data set with one buffer for all
    items does, is read again. Worker processes add nothing; those that are not forked start with an empty cache.

    Attributes:
        dataset: map-style; `dataset[index]` always reads.
    """

    def __init__(self, dataset: Any) -> None:
        """Nothing is read yet."""
        self.dataset = dataset
        self._entries: dict[int, _Entry] = {}
        self._bytes = 0
        self._is_open = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """The item at a position; raises what the data set raises."""
        entry = self._entries.get(index)
        if entry is not None and _digest(entry.item) == entry.digest:
            return entry.item
        if get_worker_info() is not None:
            return self.dataset[index]
        before = _random_state() if self._is_open else None
        with waiting(lambda: f"index {index}", interruptible=True):
            item = self.dataset[index]
        if before is None:
            return item
        if _random_state() == before:
            self._keep(index, item)
        return item

    def __getstate__(self) -> dict[str, Any]:
        """Without the items, which would be copied once a worker."""
        return {**vars(self), "_entries": {}, "_is_open": False}

    def close(self) -> None:
        """Forget the items and keep no others: they differ from one read to the next."""
        self._entries, self._is_open = {}, False

    def _keep(self, index: int, item: Any) -> None:
        content, size = _digest(item), nbytes(item)
        if content is None or self._bytes + size > MAX_BYTES:
            return
        self._bytes += size
        self._entries[index] = _Entry(item, content)
        self._is_open = len(self._entries) < MAX_ITEMS


def _digest(item: Any) -> str | None:
    try:
        return digest(split(item).value)
    except Exception:  # of a kind that has no digest, or a file that cannot be decoded
        return None


def _random_state() -> tuple[Any, ...]:
    name, *numpy_state = np.random.get_state(legacy=True)  # noqa: NPY002, read in order to compare it
    return random.getstate(), name, *(_hashable(part) for part in numpy_state), torch.get_rng_state().numpy().tobytes()


def _hashable(part: Any) -> Any:
    return part.tobytes() if isinstance(part, np.ndarray) else part


def nbytes(value: Any) -> int:
    """Memory that an item takes, roughly."""
    if isinstance(value, Image.Image):
        return value.width * value.height * 4
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return int(value.nbytes)
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(nbytes, value.values()))
    return sum(map(nbytes, value)) if isinstance(value, (list, tuple)) else 64
