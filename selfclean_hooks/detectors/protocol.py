"""What every detector is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.neighbors.approximate_search import NeighborSearch
from selfclean_hooks.neighbors.knn import NeighborLists, nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import Tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

MIN_PAIRS = 10_000  # listed where there are as many: small data sets keep all of theirs


@dataclass(frozen=True, eq=False)
class Geometry:
    """Neighbours, tree and labels of N samples; computed once and shared by all detectors."""

    x: UnitRows
    labels: IntArray | None  # (N,) classes from 0, -1: no label; None where labels cannot be audited
    neighbors: NeighborLists
    tree: Tree
    pair_quantile: Callable[[float], float]  # of the distances of all pairs strictly inside of (0, 1)
    targets: NDArray[Any] | None = (
        None  # (N,) regression targets, NaN: none; or (N, C) of several labels, see `core.labels`
    )
    pairs_below: float = 0.0  # every pair with a score below this is to be listed
    miniatures: NDArray[np.uint8] | None = None  # (N, 32, 32, 3) RGB of the samples, where all are images
    search: NeighborSearch = nearest_neighbors  # for those in other representations of the same samples
    copies: IntArray | None = None  # (C, 2) pairs that are certain copies by their pixels, as `Finding.copies`


@dataclass(frozen=True, eq=False)
class Pairs:
    """The nearest pairs, worst first. No pair with a score below `complete_below` is missing."""

    index: IntArray  # (P, 2), smaller position first
    distance: Float32Array  # (P,) in [0, 1]
    score: Float32Array  # (P,) in [0, 1], low = near duplicates
    complete_below: float
    mirrored: BoolArray | None = None  # (P,) whether one is the mirror image of the other; None: not looked at


@dataclass(frozen=True, eq=False)
class Finding:
    """Scores of one issue: (N,) in [0, 1], low = worse, and the score below which "auto" flags."""

    score: FloatArray
    automatic: float
    pairs: Pairs | None = None  # near duplicates only
    predicted_label: IntArray | None = None  # label errors only: (N,) the best supported class
    calibration: Calibration | None = None  # score -> probability that a sample is clean, where it was estimated
    predicted_target: FloatArray | None = None  # label errors of targets only: see `Scores.predicted_target`
    prediction_confidence: FloatArray | None = None  # label errors only: see `Scores.prediction_confidence`
    local_scale: FloatArray | None = None  # near duplicates only: (N,) distance to an ordinary neighbour
    pixel_scale: FloatArray | None = None  # and (N,) what its image differs from that one's, where there are images
    tree_score: FloatArray | None = None  # and (N - 1,) scores of the tree's pairs
    copies: IntArray | None = None  # and (C, 2) pairs that are certain copies by their pixels, where there are images


class Detector(Protocol):
    """A small frozen object; its arithmetic is a pure function beside it."""

    @property
    def issue(self) -> str:
        """Name of the issue."""

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
