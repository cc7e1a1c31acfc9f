"""The default detector of near duplicates: pairs far closer than the local scale, calibrated against chance.

The distance of a pair says little by itself: what is close among shirts is far among digits. So it is compared with the
local scale, a sample's distance to its 3rd neighbour that is not a copy. Which neighbours are copies follows from
chance: in a homogeneous Poisson process of m dimensions, a ball of radius d holds (d / r)^(m / 2) times as many points
as one of radius r (d is a squared length, hence half of m). Neighbours so near that fewer than a fiftieth of them were
to be expected are left out, so that groups of copies do not hide each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.pairs import sample_scores, score_pairs
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Finding, Geometry, Pairs
from selfclean_hooks.neighbors.exact_search import OTHER, search_neighbors
from selfclean_hooks.neighbors.knn import MAX_DIMENSION, TINY, intrinsic_dimension
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


MAX_FALSE_FLAG_RATE = 0.5  # up to which a false discovery rate may ask for pairs


@dataclass(frozen=True)
class ScaledNearDuplicates:
    """Pairs far closer than neighbours usually are around them; flagged where chance does not explain it."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the pairs."""
        x, n = geometry.x, len(geometry.x)
        indices, distances = geometry.neighbors.indices.numpy(), geometry.neighbors.distances.numpy()
        low, high = map(geometry.pair_quantile, reference_fractions(n))
        scale = estimate_local_scale(x, indices, distances, (low, high))
        pairs = score_pairs(x, indices, distances, scale.distance)
        score = sample_scores(pairs, n)
        calibration = near_duplicate_calibration(score, scale.dimension)
        automatic = calibration.probability_threshold()
        wanted = max(automatic, geometry.pairs_below, calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(
            score, automatic, _worst_pairs(pairs, n, wanted), calibration=calibration, local_scale=scale.distance
        )


def _worst_pairs(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    return Pairs(pairs.index[:keep], pairs.distance[:keep], pairs.score[:keep], complete)


MARGIN_DEVIATIONS = 1.0  # standard deviations by which more small p than the average are granted to chance
MARGIN_SAMPLES = 0.5  # samples granted to chance at p = 0: a single pair is flagged only where it is far out


def near_duplicate_calibration(score: NDArray[np.floating], m: float) -> Calibration:
    """The calibration of (N,) sample scores in a space of m dimensions, with exact copies (0) at probability 0.

    Where nothing is copied the p-values are uniform, so their density (Grenander's estimate of a nonincreasing one)
    says by how much the small ones exceed chance.
    """
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    start, slope = _concave_majorant(p_values(s, m))
    clean = np.minimum(1.0, 1 / slope)  # assumes that nearly all samples are clean: no null proportion is estimated
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    distinct = np.append(True, np.diff(knots) > 0)
    knots, values = knots[distinct], values[distinct]
    return Calibration(np.append(0.0, knots), np.append(0.0, values))


def p_values(score: NDArray[np.floating], m: float) -> FloatArray:
    """How often a sample's smallest pair score would be so low if nothing were copied, (N,)."""
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(SCALE_RANK * np.log1p(-np.minimum(t, 1 - 1e-16))))


def _concave_majorant(p: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pieces of the least concave majorant of sorted p: first sample and slope of each."""
    n = len(p)
    y = np.append(0.0, np.arange(1, n + 1) / n)
    x = np.append(0.0, p + (MARGIN_DEVIATIONS * np.sqrt(n * p) + MARGIN_SAMPLES) / n)
    hull = [0]
    for i in range(1, n + 1):
        if i < n and x[i + 1] == x[i]:
            continue
        while len(hull) > 1 and (y[hull[-1]] - y[hull[-2]]) * (x[i] - x[hull[-1]]) <= (y[i] - y[hull[-1]]) * (
            x[hull[-1]] - x[hull[-2]]
        ):
            hull.pop()
        hull.append(i)
    corners = np.array(hull)
    return corners[:-1], np.diff(y[corners]) / np.diff(x[corners])
