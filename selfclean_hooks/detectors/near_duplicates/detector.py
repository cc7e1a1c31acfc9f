"""The default detector of near duplicates: pairs measured against what is usual around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.detectors.near_duplicates.local_scale import (
    FEW_SAMPLES,
    LIST_DIVISOR,
    MAX_EXPONENTIAL_TAIL,
    MIN_LIST_LENGTH,
    SCALE_RANK,
    intrinsic_dimension,
    minimum_scale,
    near_duplicate_calibration,
    pair_scale,
    reference_fractions,
    scale_beyond_copies,
    scaled_score,
)
from selfclean_hooks.detectors.protocol import Finding, Geometry, Pairs
from selfclean_hooks.detectors.selfclean.detectors import MIN_PAIRS
from selfclean_hooks.neighbors.exact_search import OTHER, search_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_PAIRS = 200_000  # kept at most, or ten for every sample


@dataclass(frozen=True, eq=False)
class LocalScale:
    """The yardstick of every sample."""

    usual: FloatArray  # (N,) distance (a squared length, as d) to the 3rd neighbour that is no copy; 0: all are copies
    dimension: float  # intrinsic dimension m around the samples
    copies: IntArray  # (N,) neighbours in the list that are copies
    tail: float  # of the steps between neighbours: 1 of dust, up to 1.5 of most data, 2 and more of series


def estimate_local_scale(
    x: UnitRows, indices: IntArray, distances: NDArray[np.floating], far: tuple[float, float]
) -> LocalScale:
    """The yardstick of every sample.

    Args:
        x: N unit rows.
        indices, distances: (N, k) nearest samples, nearest first; k of 15 or more is wanted.
        far: distances below which the `reference_fractions` of all pairs lie.
    """
    n = len(x)
    local = distances[:, : max(MIN_LIST_LENGTH, n // LIST_DIVISOR)]
    m, _ = intrinsic_dimension(local)
    usual, copies = scale_beyond_copies(local, m)
    m, tail = intrinsic_dimension(local, copies)
    m = m / max(1.0, tail - MAX_EXPONENTIAL_TAIL) / (1 + FEW_SAMPLES / n)
    usual, copies = scale_beyond_copies(local, m)
    again = (usual == 0).nonzero()[0]
    if len(again):
        usual[again] = _distance_beyond_exact_copies(x, indices, distances, again)
    least = minimum_scale((*reference_fractions(n), *far), n)
    return LocalScale(np.maximum(usual, least), m, copies, tail)


def score_pairs(
    x: UnitRows, indices: IntArray, distances: NDArray[np.floating], scale: LocalScale, at_most: int | None = None
) -> Pairs:
    """All pairs with a score below 1/2, and what else the lists hold.

    A pair missing from both lists is at least as long as the end of either. Where a list ends nearer than the
    yardstick (a group of more copies than a list holds), its sample is compared with all that come into question.

    Args:
        x: N unit rows.
        indices, distances: (N, k) nearest samples, nearest first.
        scale: of the same samples.
        at_most: number of pairs kept at most; `complete_below` tells where that cuts.
    """
    n, k = indices.shape
    at_most = max(MAX_PAIRS, 10 * n) if at_most is None else at_most
    index, distance = unique_pairs(np.repeat(np.arange(n), k), indices.ravel(), distances.ravel().astype(np.float64))
    complete = 1.0 if k >= n - 1 else 0.5
    short = (distances[:, -1] < scale.usual).nonzero()[0] if k < n - 1 else np.empty(0, np.int64)
    if len(short):
        more, complete = _search_missing_pairs(x, short, distances[:, -1].astype(np.float64), scale.usual, at_most)
        index, distance = unique_pairs(*(np.concatenate(both) for both in zip((*index.T, distance), more, strict=True)))
    score = scaled_score(distance, pair_scale(scale.usual, index))
    order = np.lexsort((index[:, 1], index[:, 0], distance, score))
    if len(order) > at_most:
        complete = min(complete, float(score[order[at_most]]))
        order = order[:at_most]
    return Pairs(index[order], distance[order].astype(np.float32), score[order].astype(np.float32), complete)


def sample_scores(pairs: Pairs, n: int) -> FloatArray:
    """(N,) smallest score of a sample's pairs; 1 where it has none."""
    score = np.ones(n)
    np.minimum.at(score, pairs.index.ravel(), np.repeat(pairs.score, 2))
    return score


def unique_pairs(first: IntArray, second: IntArray, distance: FloatArray) -> tuple[IntArray, FloatArray]:
    """Each pair once, smaller position first: (P, 2) and (P,). Pairs with -1 are left out."""
    real = (first >= 0) & (second >= 0)
    low, high = np.minimum(first, second)[real], np.maximum(first, second)[real]
    _, once = np.unique(low * (int(high.max(initial=0)) + 1) + high, return_index=True)
    return np.stack([low[once], high[once]], 1), distance[real][once]


def _distance_beyond_exact_copies(
    x: UnitRows, indices: IntArray, distances: NDArray[np.floating], rows: IntArray
) -> FloatArray:
    """Distance of `rows` to the 3rd sample that is no exact copy; one search serves all copies. 0: there is none."""
    n, k = len(x), indices.shape[1]
    start = np.repeat(rows, k).astype(np.int32)  # older scipy searches graphs of int32 only
    links = coo_array((np.ones(len(start)), (start, indices[rows].ravel().astype(np.int32))), shape=(n, n))
    group = connected_components(links, directed=False)[1].astype(np.int64)
    group = np.unique(group, return_index=True)[1][group]  # named by its first member
    first, inverse = np.unique(group[rows], return_inverse=True)
    _, found = search_neighbors(x, torch.from_numpy(first), min(SCALE_RANK, n - 1), torch.from_numpy(group), OTHER)
    at = np.where(np.isfinite(found.numpy()), found.numpy(), 0).max(1).astype(np.float64)
    return np.asarray(at[inverse.reshape(-1)])


def _search_missing_pairs(
    x: UnitRows, short: IntArray, end: FloatArray, usual: FloatArray, at_most: int
) -> tuple[tuple[IntArray, IntArray, FloatArray], float]:
    """Pairs of `short` rows with a score below 1/2, and the score below which all are there."""
    columns = torch.from_numpy((end**2 < usual[short].max() * usual).nonzero()[0])  # what their own lists may miss
    both = torch.zeros(len(x), dtype=torch.bool)
    both[torch.from_numpy(short)] = True  # a pair of two short rows is found from either
    targets, root = x.values[columns], torch.from_numpy(np.sqrt(usual))
    found, limit = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)), 1.0  # limit: of d / sqrt(r_i r_j)
    for part in torch.split(torch.from_numpy(short), max(1, (1 << 21) // max(1, len(columns)))):
        screened = matrix_product(x.values[part], targets).neg_().add_(1).div_(2)
        bound = root[part].unsqueeze(1) * root[columns] * limit + 1e-6  # 1e-6: rounding of the product
        near, place = (screened <= bound).nonzero(as_tuple=True)
        first, second = part[near], columns[place]
        once = (first < second) | (~both[second])
        first, second = first[once], second[once]
        d = x.distances(first, second.unsqueeze(1))[:, 0].double()
        inside = d <= limit * root[first] * root[second]
        new = (first[inside].numpy(), second[inside].numpy(), d[inside].numpy())
        found = tuple(np.concatenate(both) for both in zip(found, new, strict=True))  # type: ignore[assignment]
        if len(found[2]) > 2 * at_most:  # keep the best, and look for no worse from here on
            ratio = found[2] / np.maximum(np.sqrt(usual[found[0]] * usual[found[1]]), np.finfo(np.float64).tiny)
            best = np.argsort(ratio, kind="stable")[:at_most]
            found, limit = (found[0][best], found[1][best], found[2][best]), float(ratio[best[-1]])
            if limit == 0:  # exact copies alone fill the list
                break
    return found, float(np.sqrt(limit) / (1 + np.sqrt(limit)))


MAX_FALSE_FLAG_RATE = 0.5  # share of wrong flags up to which a false-discovery rate may ask for pairs


@dataclass(frozen=True)
class ScaledNearDuplicates:
    """Pairs far closer than neighbours usually are around them; flagged where that is no chance."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the pairs."""
        x, n = geometry.x, len(geometry.x)
        indices, distances = geometry.neighbors.indices.numpy(), geometry.neighbors.distances.numpy()
        low, high = map(geometry.pair_quantile, reference_fractions(n))
        scale = estimate_local_scale(x, indices, distances, (low, high))
        pairs = score_pairs(x, indices, distances, scale)
        score = sample_scores(pairs, n)
        calibration = near_duplicate_calibration(score, scale.dimension)
        automatic = calibration.probability_threshold()
        wanted = max(automatic, geometry.pairs_below, calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(
            score, automatic, _select_worst(pairs, n, wanted), calibration=calibration, local_scale=scale.usual
        )


def _select_worst(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    return Pairs(pairs.index[:keep], pairs.distance[:keep], pairs.score[:keep], complete)
