"""A data set that remembers the first items read, so that what probes read is not read again for the audit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from selfclean_hooks.data.dataset_tree import origin
from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.image_files import is_encoded_image
from selfclean_hooks.data.items import count_views, split
from selfclean_hooks.data.views.item_fields import CONVENTIONS, Fields, begins_with
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.patience import waiting

MAX_ITEMS = 512
PROBED, MOST_PROBED = 4, 16  # items that show whether tuples begin with their position, and items tried for that
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
        views: how many images the first item holds, and how many images or arrays; None before one is read.
        holds_encoded: whether one of the first items that were read is an image as bytes or as a path in a text.
    """

    def __init__(self, dataset: Any, fields: Fields = CONVENTIONS, is_decided: bool = False) -> None:
        """Nothing is read yet. `fields`: which field of an item is what; `is_decided`: items need not show it."""
        self.dataset, self.fields = dataset, fields
        self.views: tuple[int, int] | None = None
        self.holds_encoded, self._looked_at = False, 0
        self._is_decided = is_decided or fields.input_key is not None
        self._entries: dict[int, _Entry] = {}
        self._bytes = 0
        self._is_open = True

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """The item at a position, as an `Item` if that is not by convention; raises what the data set raises."""
        item = self._read(index)
        if not self._is_decided:
            self._is_decided = True
            if self._is_index_first(index, item):
                self.fields = replace(self.fields, index_first=True)
        found = item if self.fields == CONVENTIONS else self.fields(item)
        if self.views is None:
            with suppress(DataError):  # of an item that is none
                self.views = count_views(found), count_views(found, of_arrays=True)
        if self._looked_at < PROBED:
            self._look(found)
        return found

    def _look(self, found: Any) -> None:
        with suppress(Exception):  # whatever the user's own code raises; the audit reports such items one by one
            self.holds_encoded |= is_encoded_image(split(found).value)
            self._looked_at += 1

    def _is_index_first(self, index: int, item: Any) -> bool:
        """Whether items are tuples that begin with their position; others are read to see only if this one does."""
        if not begins_with(item, self._positions(index)):
            return False
        seen = 1
        for other in (at for at in range(min(len(self), MOST_PROBED)) if at != index):
            try:
                if not begins_with(self._read(other), self._positions(other)):
                    return False
            except Exception:  # whatever the user's own code raises; the audit reports such items one by one
                continue
            seen += 1
            if seen == PROBED:
                break
        return seen >= min(PROBED, len(self))

    def _positions(self, index: int) -> tuple[int, ...]:
        """Of an item here, and in the data set that this one is a part of."""
        return (index, origin(self.dataset, index).index)

    def stored(self, index: int) -> Any:
        """The item as the data set returns it."""
        return self._read(index)

    def uncached(self) -> CachedDataset:
        """The same items, read anew each time."""
        again = CachedDataset(self.dataset, self.fields, self._is_decided)
        again.close()
        return again

    def _read(self, index: int) -> Any:
        entry = self._entries.get(index)
        if entry is not None and self._digest(entry.item) == entry.digest:
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
        content, size = self._digest(item), nbytes(item)
        if content is None or self._bytes + size > MAX_BYTES:
            return
        self._bytes += size
        self._entries[index] = _Entry(item, content)
        self._is_open = len(self._entries) < MAX_ITEMS

    def _digest(self, item: Any) -> str | None:
        try:
            return digest(self.fields(item).value)
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
