"""Global random state, left as it was found; and whether a data set draws from it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch

from selfclean_hooks.generators import generators_of, restorer
from selfclean_hooks.items import digest, split

PROBES = 16  # items tried, from the start, to find some that can be read


@contextmanager
def kept_rng(*holders: Any) -> Iterator[None]:
    """Leaves random generators as they were found, also after an exception.

    The global ones of random, numpy and torch, and those that the `holders` (data sets) hold.
    """
    restore = restorer(generators_of(*holders))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002, read in order to restore it
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = torch.cuda.get_rng_state_all() if used else None
    try:
        yield
    finally:
        restore()
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


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
