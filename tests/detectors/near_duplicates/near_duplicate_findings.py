"""Near duplicates of vectors, and vectors without any."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.copy_groups import (
    CopyGroups,
    find_copy_groups,
)
from selfclean_hooks.detectors.near_duplicates.detector import ScaledNearDuplicates
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows, pair_distance_quantile

Floats = NDArray[np.float64]


def geometry(vectors: NDArray[np.floating], labels: NDArray[np.int64] | None = None, k: int = 20) -> Geometry:
    x = UnitRows.of(np.asarray(vectors, np.float32))
    near = nearest_neighbors(x, k)
    return Geometry(x, labels, near, minimum_spanning_tree(x, near), pair_distance_quantile(x))


def found(vectors: NDArray[np.floating], labels: NDArray[np.int64] | None = None) -> Finding:
    return ScaledNearDuplicates()(geometry(vectors, labels))


def flags(finding: Finding) -> NDArray[np.bool_]:
    return np.asarray((finding.score < finding.automatic) | (finding.score == 0))


def groups_of(data: Geometry, dimension: float = 20.0) -> CopyGroups:
    return find_copy_groups(data.tree.linkage(), dimension, data.labels)


def gaussian(n: int = 400, dim: int = 10, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(n, dim))
