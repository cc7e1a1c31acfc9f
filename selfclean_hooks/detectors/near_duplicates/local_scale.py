"""The local scale of every sample: the distance to its 3rd neighbour that is not a copy.

The distance of a pair says little by itself: what is close among shirts is far among digits. So it is compared with the
local scale. Which neighbours are copies follows from chance: in a homogeneous Poisson process of m dimensions, a ball
of radius d holds (d / r)^(m / 2) times as many points as one of radius r (d is a squared length, hence half of m).
Neighbours so near that fewer than a fiftieth of them were to be expected are left out, so that groups of copies do not
hide each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.neighbors.exact_search import OTHER, search_neighbors
from selfclean_hooks.neighbors.intrinsic_dimension import MAX_DIMENSION, TINY, intrinsic_dimension
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import FloatArray, IntArray

SCALE_RANK = 3  # the neighbour beyond the group of copies whose distance is the scale: near, so that it is local
MIN_LIST_LENGTH, LIST_DIVISOR = 6, 4  # a list longer than 6 and than a quarter of the samples is not local
MAX_EXPONENTIAL_TAIL = 0.7  # data sets that are not recorded in series have tails up to 1 + this
FEW_SAMPLES = 20  # with so many samples the dimension is halved: its estimate is too rough to build on


@dataclass(frozen=True, eq=False)
class LocalScale:
    """The local scale of every sample, and what it was derived from."""

    distance: FloatArray  # (N,) to the 3rd neighbour that is not a copy (a squared length, as d); 0: all are copies
    dimension: float  # intrinsic dimension m around the samples
    copies: IntArray  # (N,) number of neighbours in the list that are copies
    tail: float  # of the steps between neighbours: 1 if Poisson, up to 1.5 for most data, 2 and more for series


def estimate_local_scale(
    x: UnitRows, indices: IntArray, distances: NDArray[np.floating], reference: tuple[float, float]
) -> LocalScale:
    """The local scale of every sample.

    Args:
        x: N unit rows.
        indices: (N, k) nearest samples, nearest first; k should be at least 15.
        distances: (N, k) to these.
        reference: distances below which the `reference_fractions` of all pairs lie.
    """
    n = len(x)
    local = distances[:, : max(MIN_LIST_LENGTH, n // LIST_DIVISOR)]
    m, _ = intrinsic_dimension(local)
    scale, copies = scale_beyond_copies(local, m)
    m, tail = intrinsic_dimension(local, copies)
    m = m / max(1.0, tail - MAX_EXPONENTIAL_TAIL) / (1 + FEW_SAMPLES / n)
    scale, copies = scale_beyond_copies(local, m)
    only_copies = (scale == 0).nonzero()[0]
    if len(only_copies):
        scale[only_copies] = _distance_beyond_exact_copies(x, indices, only_copies)
    least = minimum_scale((*reference_fractions(n), *reference), n)
    return LocalScale(np.maximum(scale, least), m, copies, tail)


COPY_PROBABILITY = 0.02  # copies are neighbours of which fewer than this fraction was to be expected so near


def scale_beyond_copies(distances: NDArray[np.floating], m: float, rounds: int = 3) -> tuple[FloatArray, IntArray]:
    """Per sample the distance to its 3rd neighbour outside of its group of copies, and how many copies it has.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        m: intrinsic dimension.
        rounds: the scale is the list's end at first, then found again beyond the copies that it shows.

    Returns:
        (N,) distances, 0 only where the whole list is exact copies; where fewer than 3 of the list are outside, the
        3rd is extrapolated from the last; and (N,) neighbours that are copies, at most k.
    """
    d = np.asarray(distances, np.float64)
    n, k = d.shape
    row, rank = np.arange(n), np.arange(1, k + 1)
    scale, beyond, copies = d[:, -1], np.full(n, float(k)), np.zeros(n, np.int64)
    for _ in range(rounds):
        expected = beyond[:, None] * (d / np.maximum(scale, TINY)[:, None]) ** (m / 2)
        unlikely = (expected < COPY_PROBABILITY * rank) | (d == 0)
        copies = np.where(unlikely.any(1), k - unlikely[:, ::-1].argmax(1), 0)
        last = np.minimum(copies + SCALE_RANK, k)
        scale, beyond = d[row, last - 1], np.maximum(last - copies, 1).astype(np.float64)
    short = np.minimum(SCALE_RANK, max(k - 1, 1)) / beyond  # 1 where the list is long enough
    return scale * np.maximum(short, 1) ** (2 / m), copies


def _distance_beyond_exact_copies(x: UnitRows, indices: IntArray, rows: IntArray) -> FloatArray:
    """Distance of `rows` to the 3rd sample that is no exact copy; one search serves all copies. 0: there is none."""
    n, k = len(x), indices.shape[1]
    start = np.repeat(rows, k).astype(np.int32)  # older scipy searches graphs of int32 only
    links = coo_array((np.ones(len(start)), (start, indices[rows].ravel().astype(np.int32))), shape=(n, n))
    group = connected_components(links, directed=False)[1].astype(np.int64)
    group = np.unique(group, return_index=True)[1][group]  # its number is the position of its first member
    first, inverse = np.unique(group[rows], return_inverse=True)
    _, near = search_neighbors(x, torch.from_numpy(first), min(SCALE_RANK, n - 1), torch.from_numpy(group), OTHER)
    distance = np.where(np.isfinite(near.numpy()), near.numpy(), 0).max(1).astype(np.float64)
    return np.asarray(distance[inverse.reshape(-1)])


REFERENCE_NEIGHBORS = 100  # that an average sample has within the distance that the minimum scale is derived from
MIN_SCALE_RATIO = 0.05  # of the scale over the whole data set: below it, a whole list may be copies


def minimum_scale(quantile: tuple[float, float, float, float], n: int) -> float:
    """A twentieth of the distance at which an average sample of the data set has 3 neighbours.

    A list that holds nothing but near copies cannot show that they are. So this scale is extrapolated: from the
    distance within which an average sample has 100 others, inwards by the dimension seen around it.

    Args:
        quantile: fractions p < q of all pairs, and the distances below which they lie.
        n: number of samples.
    """
    p, q, near, far = quantile
    if not (0 < near < far):
        return max(MIN_SCALE_RATIO * near, 0.0) if near > 0 else 0.0
    m = min(2 * np.log(q / p) / np.log(far / near), MAX_DIMENSION)
    return float(MIN_SCALE_RATIO * near * min(1.0, SCALE_RANK / (p * n)) ** (2 / m))


def reference_fractions(n: int) -> tuple[float, float]:
    """The fractions of all pairs that `minimum_scale` needs the distances of."""
    p = min(REFERENCE_NEIGHBORS / n, 0.25)
    return p, min(4 * p, 0.5)
