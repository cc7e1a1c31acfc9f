"""What every detector is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.neighbors.knn import NeighborLists
from selfclean_hooks.neighbors.spanning_tree import Tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows


@dataclass(frozen=True, eq=False)
class Geometry:
    """What one pass over the N samples found; shared by all detectors."""

    x: UnitRows
    labels: NDArray[np.int64] | None  # (N,) classes from 0, -1: no label; None where labels cannot be audited
    neighbors: NeighborLists
    tree: Tree
    pair_quantile: Callable[[float], float]  # of the distances of all pairs strictly inside of (0, 1)
    targets: NDArray[Any] | None = None  # labels that are no classes: (N,) numbers, NaN: none; or (N, C) booleans
    pairs_below: float = 0.0  # every pair nearer than this is wanted


@dataclass(frozen=True, eq=False)
class Pairs:
    """The nearest pairs, worst first. Every pair with a score below `complete_below` is here."""

    index: NDArray[np.int64]  # (P, 2), smaller position first
    distance: NDArray[np.float32]  # (P,) in [0, 1]
    score: NDArray[np.float32]  # (P,) in [0, 1], low = near duplicates
    complete_below: float


@dataclass(frozen=True, eq=False)
class Finding:
    """Scores of one issue: (N,) in [0, 1], low = worse, and the score below which "auto" flags."""

    score: NDArray[np.float64]
    automatic: float
    pairs: Pairs | None = None  # near duplicates only
    predicted_label: NDArray[np.int64] | None = None  # label errors only: the label that the neighbours suggest
    calibration: Calibration | None = None  # what the scores mean, where that was estimated
    predicted_target: NDArray[np.float64] | None = None  # label errors only, of targets: see `Scores.foretold`
    local_scale: NDArray[np.float64] | None = None  # near duplicates only: (N,) distance usual around each sample


class Detector(Protocol):
    """A small frozen object; its arithmetic is a pure function beside it."""

    @property
    def issue(self) -> str:
        """Name of the issue."""

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
