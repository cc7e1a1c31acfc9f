"""The data set as the audit reads it: without training augmentation, and without a trace in the user's objects."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.images import to_image
from selfclean_hooks.data.items import split
from selfclean_hooks.data.views.copier import AS_IS, EVAL, RAW, Copier
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.rng import preserve_rng_state

PROBES = 16  # items tried, from the start, to find some that can be read


def randomness(dataset: Any) -> list[str]:
    """A note if an item read twice differs, and whose generator makes it so. Draws from the global generators."""
    probes = range(min(len(dataset), PROBES))
    indices = list(islice((index for index in probes if _fingerprint(dataset, index) is not None), 3))
    if all(_fingerprint(dataset, index) == _fingerprint(dataset, index) for index in indices):
        return []
    own = any(_seeded(dataset, index) != _seeded(dataset, index) for index in indices)
    whose = "a generator of its own" if own else "the global random generators"
    return [
        f"items differ from one reading to the next, drawn from {whose}: scores depend on the draw. "
        "Audit a copy of the data set without augmentation for a stable result"
    ]


def _fingerprint(dataset: Any, index: int) -> str | None:
    try:
        return digest(split(dataset[index]).value)
    except Exception:  # not readable, or of a kind that has no fingerprint: says nothing about randomness
        return None


def _seeded(dataset: Any, index: int) -> str | None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002, the caller restores it
    torch.default_generator.manual_seed(0)  # not torch.manual_seed, which also seeds devices not yet in use
    return _fingerprint(dataset, index)


FALLBACK = {
    RAW: "no picture can be read with the transforms bypassed: they are applied, random ones replaced",
    EVAL: "nothing can be read with the random transforms replaced: read as it is, augmentation included",
}


@dataclass(frozen=True)
class DatasetView:
    """A data set to read for the audit.

    Attributes:
        dataset: Map-style, of the user's own classes; can be pickled if the user's can.
        notes: What was found and done, in plain words.
    """

    dataset: Any
    notes: tuple[str, ...]


def raw_view(dataset: Any) -> DatasetView:
    """What is stored, usually PIL images: every transform is bypassed. For encoders that bring their own preprocessing.

    Where nothing can be read without the transform (or no picture comes out, and with it one does), the view falls back
    to `eval_view`, then to the data set as it is, and a note says so.

    Raises:
        DataError: `dataset` is not map-style.
    """
    return _view(dataset, (RAW, EVAL, AS_IS))


def eval_view(dataset: Any) -> DatasetView:
    """What a model meets in evaluation: random transforms replaced (see augmentation.py), all else kept.

    Shape and normalisation stay what the user's own model expects. Falls back to the data set as it is, with a note.

    Raises:
        DataError: `dataset` is not map-style.
    """
    return _view(dataset, (EVAL, AS_IS))


def _view(dataset: Any, modes: tuple[str, ...]) -> DatasetView:
    check_map_style(dataset)
    original = Copier(AS_IS).dataset(dataset)
    notes: list[str] = []
    with preserve_rng_state(dataset):
        for mode in modes:
            copier = Copier(mode)
            view = copier.dataset(dataset)
            if mode == AS_IS or _reads_as_well_as(view, original):
                break
            notes.append(FALLBACK[mode])
        return DatasetView(view, (*notes, *dict.fromkeys(copier.notes), *randomness(view)))


def _reads_as_well_as(view: Any, original: Any) -> bool:
    """Compares the first item that either can read; True where there is none."""
    for index in range(min(len(view), PROBES)):
        level = _level(view, index)
        if level < 2 and level < _level(original, index):
            return False
        if level > 0:
            return True
    return True


def _level(dataset: Any, index: int) -> int:
    """0: the item cannot be read, 1: it can, 2: and its value is a picture."""
    try:
        item = dataset[index]
    except Exception:  # whatever the user's own code raises; the audit reports such items one by one
        return 0
    try:
        return 1 if to_image(split(item).value) is None else 2
    except DataError:
        return 1
