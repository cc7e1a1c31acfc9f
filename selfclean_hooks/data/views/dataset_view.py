"""The data set as the audit reads it: without training augmentation, and without a trace in the user's objects."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch

from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings
from selfclean_hooks.data.dataset_tree import check_map_style, file_name
from selfclean_hooks.data.digests import item_digests
from selfclean_hooks.data.images import to_image
from selfclean_hooks.data.items import split
from selfclean_hooks.data.views.cached_dataset import CachedDataset
from selfclean_hooks.data.views.copier import AS_IS, EVAL, RAW, Copier
from selfclean_hooks.data.views.item_fields import CONVENTIONS, Fields
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.rng import preserve_rng_state

PROBES = 16  # items tried, from the start, to find some that can be read
INDEX_FIRST = "items begin with their position: what follows it is audited, and the next is its label"
FALLBACK = {
    RAW: "no image can be read with the transforms bypassed: they are applied, random ones replaced",
    EVAL: "nothing can be read with the random transforms replaced: read as it is, augmentation included",
}


class DatasetView:
    """A data set opened for an audit: made once, and handed on to whatever reads it.

    Its two variants are copied and probed when they are first asked for; where the data set has no transforms they are
    one.

    Args:
        dataset: Map-style.

    Attributes:
        fields: Which field of an item is what, as far as it is given.
        dataset: The user's own, never read.

    Raises:
        DataError: `dataset` is not map-style.
    """

    def __init__(self, dataset: Any) -> None:
        """Nothing is read yet."""
        check_map_style(dataset)
        self.dataset, self.fields = dataset, CONVENTIONS

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """The item at a position as it is stored."""
        return self.stored.items[index]

    @cached_property
    def files(self) -> list[str | None]:
        """The file behind each sample, None where its leaf lists none."""
        return [file_name(self.dataset, index) for index in range(len(self))]

    @property
    def bypassed(self) -> Variant:
        """The data set without its transforms, whether or not anything can be read so."""
        return self._copied(RAW)

    @cached_property
    def stored(self) -> Variant:
        """What is stored, usually PIL images: all transforms bypassed. For encoders that bring their own preprocessing.

        Where nothing can be read without the transform (or no image comes out, and with it one does), this is
        `evaluation` with a note that says so.
        """
        variant = self.bypassed
        if self._reads_well(variant):
            return variant
        return replace(self.evaluation, fallbacks=(FALLBACK[RAW], *self.evaluation.fallbacks))

    @cached_property
    def evaluation(self) -> Variant:
        """What a model is given in evaluation: random transforms replaced (see augmentation.py), all else kept.

        Shape and normalisation stay what the user's own model expects. Falls back to the data set as it is, with a
        note.
        """
        if not self.bypassed.is_changed:
            return self.bypassed
        variant = self._copied(EVAL)
        return variant if self._reads_well(variant) else replace(self._copied(AS_IS), fallbacks=(FALLBACK[EVAL],))

    def _copied(self, mode: str) -> Variant:
        if mode not in self._copies:
            copier = Copier(mode)
            copy = copier.dataset(self.dataset)
            items = CachedDataset(copy, self.fields)
            self._copies[mode] = Variant(self.dataset, items, tuple(copier.notes), copier.is_changed)
        return self._copies[mode]

    @cached_property
    def _copies(self) -> dict[str, Variant]:
        return {}

    def _reads_well(self, variant: Variant) -> bool:
        """Whether the first item that can be read is as much of an image as without any change."""
        if not variant.is_changed:
            return True
        with preserve_rng_state(self.dataset):
            original = self._copied(AS_IS)
            for index in range(min(len(self), PROBES)):
                level = _level(variant.items, index)
                if level < 2 and level < _level(original.items, index):
                    return False
                if level > 0:
                    return True
            return True


def open_dataset(dataset: Any, reading: EmbeddingSettings = DEFAULT_SETTINGS) -> DatasetView:
    """The view of a data set; one that is open already as it is. `reading` may say which field of an item is what.

    Raises:
        DataError: `dataset` is not map-style.
    """
    if isinstance(dataset, DatasetView):
        return dataset
    view = DatasetView(dataset)
    view.fields = Fields(reading.input_key, reading.label_key, reading.ignore_label)
    return view


@dataclass(frozen=True, eq=False)
class Variant:
    """A private copy of the user's data set, with or without transforms.

    Attributes:
        original: The user's own.
        items: What the audit reads; keeps the first items.
        changes: What was done to transforms, in plain words; may repeat itself.
        is_changed: Whether anything was.
        fallbacks: Why this variant is read and not another one.
    """

    original: Any
    items: CachedDataset
    changes: tuple[str, ...]
    is_changed: bool
    fallbacks: tuple[str, ...] = ()

    @property
    def dataset(self) -> Any:
        """The copy itself, of the user's own classes; can be pickled if the user's can."""
        return self.items.dataset

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was found and done, in plain words. Reads a few items twice; if they differ, none is kept."""
        with preserve_rng_state(self.original, self.dataset):
            random = _randomness(self.items)
            found = (INDEX_FIRST,) if self.items.fields.index_first else ()
            return (*self.fallbacks, *found, *dict.fromkeys(self.changes), *random)


def views_note(items: CachedDataset, of_arrays: bool) -> str:
    """A note if the first item that was read holds several images, or arrays where the encoder takes images."""
    count = 1 if items.views is None else items.views[of_arrays]
    return f"items hold {count} images each: the first is audited" if count > 1 else ""


def _randomness(items: CachedDataset) -> list[str]:
    """A note if an item read twice differs, and whose generator makes it so. Draws from the global generators."""
    probes = range(min(len(items), PROBES))
    found = ((index, digests) for index in probes if (digests := item_digests(items, index))[0] is not None)
    first = dict(islice(found, 3))
    again = items.uncached()
    second = {index: item_digests(again, index) for index in first}
    if first != second:
        items.close()
    if all(first[index][0] == second[index][0] for index in first):
        return []
    own = any(_seeded(again, index) != _seeded(again, index) for index in first)
    whose = "a generator of its own" if own else "the global random generators"
    return [
        f"items differ from one read to the next, drawn from {whose}: scores depend on the draw. "
        "Audit a copy of the data set without augmentation for a stable result"
    ]


def _seeded(dataset: Any, index: int) -> str | None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, the caller restores it
    torch.default_generator.manual_seed(0)  # not torch.manual_seed, which also seeds devices not yet in use
    return item_digests(dataset, index)[0]


def _level(dataset: Any, index: int) -> int:
    """0: the item cannot be read, 1: it can, 2: and its value is an image."""
    try:
        item = dataset[index]
    except Exception:  # whatever the user's own code raises; the audit reports such items one by one
        return 0
    try:
        return 1 if to_image(split(item).value) is None else 2
    except DataError:
        return 1
