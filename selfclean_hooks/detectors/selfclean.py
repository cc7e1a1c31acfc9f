"""The scores and thresholds of the paper.

SelfClean: Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits", NeurIPS 2024. One detector an issue,
each followed by its arithmetic; the automatic threshold is common to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.pair_scores import unique_pairs
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Finding, Geometry, Pairs
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.knn import NeighborLists
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import Float32Array, IntArray


def nearest_pairs(x: UnitRows, neighbors: NeighborLists, at_least: int, below: float, at_most: int) -> Pairs:
    """Every pair nearer than `below` and at least the `at_least` nearest ones, exact.

    The neighbour lists hold every pair nearer than the end of one of its two lists. The rows whose lists end below the
    limit are compared with each other. Should more than `at_most` pairs lie below it (a data set of copies has of the
    order of N^2), the nearest are kept and `complete_below` is the distance up to which none is missing.

    Args:
        x: N unit rows.
        neighbors: the k nearest of every row.
        at_least: number of pairs wanted (fewer only where there are fewer).
        below: a distance in [0, 1].
        at_most: maximum number of pairs.
    """
    indices, distances = neighbors.indices.numpy(), neighbors.distances.numpy()
    n, k = indices.shape
    index, distance = unique_pairs(np.repeat(np.arange(n), k), indices.ravel(), distances.ravel())
    at_least = min(at_least, n * (n - 1) // 2)
    limit = np.inf
    if k < n - 1:
        nearest = np.partition(distance, at_least - 1)[at_least - 1] if at_least <= len(distance) else np.inf
        limit = max(below, float(nearest))
        short = (distances[:, -1] < limit).nonzero()[0]
        first, second, length, limit = _search_pairs_below(x, short, limit, at_most)
        low, high = np.concatenate([index.T, [first, second]], 1)
        index, distance = unique_pairs(low, high, np.concatenate([distance, length]))
    order = np.lexsort((index[:, 1], index[:, 0], distance))
    index, distance = index[order], distance[order]
    keep = min(max(at_least, int(np.searchsorted(distance, below, side="left"))), at_most, len(distance))
    complete = min(limit, float(distance[keep])) if keep < len(distance) else limit
    return Pairs(index[:keep], distance[:keep], distance[:keep], complete)


def _search_pairs_below(
    x: UnitRows, rows: IntArray, limit: float, at_most: int
) -> tuple[IntArray, IntArray, Float32Array, float]:
    """Every pair among `rows` up to a distance; past `at_most` pairs this limit is lowered to what fits.

    Returns both positions and the distance of every pair, and the limit below which none is missing.
    """
    first, second, distance = (torch.empty(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32))
    samples, step = torch.from_numpy(rows), max(1, (1 << 22) // max(1, len(rows)))
    distinct = DistinctRows.among(some := x[samples])
    for at in torch.split(torch.arange(len(rows)), step) if len(rows) else ():
        start = int(at[0])
        screened = matrix_product(some.values[at], some.values[start:]).neg_().add_(1).div_(2)
        row, column = ((screened <= limit + 1e-6).triu_(1).nonzero() + start).T  # 1e-6: the rounding of the product
        exact, differ = distinct.spacing[distinct.of[row]], distinct.of[row] != distinct.of[column]
        exact[differ] = some.distances(row[differ], column[differ].unsqueeze(1))[:, 0]
        near = exact <= limit
        first, second = torch.cat([first, samples[row[near]]]), torch.cat([second, samples[column[near]]])
        distance = torch.cat([distance, exact[near]])
        if len(distance) > 2 * at_most:
            distance, best = distance.sort(stable=True)
            first, second, distance = first[best[:at_most]], second[best[:at_most]], distance[:at_most]
            limit = min(limit, float(distance[-1]))
            if limit == 0:  # copies alone fill the list, and nothing is nearer
                break
    return first.numpy(), second.numpy(), distance.numpy(), limit


@dataclass(frozen=True)
class NearDuplicates:
    """Distances of the nearest pairs, with SelfClean's automatic threshold. A sample's score: its smallest distance."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the nearest pairs."""
        x, n = geometry.x, len(geometry.x)
        automatic = automatic_threshold(geometry.pair_quantile, n * (n - 1) // 2, n, pairs=True)
        below = max(automatic, geometry.pairs_below, np.finfo(np.float32).tiny)
        pairs = nearest_pairs(x, geometry.neighbors, max(n, MIN_PAIRS), below, max(1_000_000, 10 * n))
        return Finding(geometry.neighbors.distances[:, 0].numpy().astype(np.float64), automatic, pairs)


@dataclass(frozen=True)
class OffTopic:
    """Samples that join the rest last in the single-linkage dendrogram, with SelfClean's automatic threshold."""

    issue: str = "off_topic"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = lad_scores(geometry.tree.linkage()).clip(0, 1)
        return Finding(score, automatic_threshold(inner_quantile(score), len(score), len(score)))


def lad_scores(linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave-out agglomerative dendrogram (LAD): a score for every leaf, in [0, 1], low = off-topic.

    The dendrogram is walked depth first, the child with fewer leaves first, while an area under it is swept from left
    to right; a sample's score is the area swept when its leaf is reached. Small clusters that join late come first.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`, heights in [0, 1].

    The root holds the interval [0, 1] below height 1. A node with interval [s, e], own height h (a leaf: 0) and parent
    height p sweeps (e - s)(p - h). Of its n leaves the smaller child takes a share of the interval from s on; the
    larger child gets its share from there, counted from s, and so stops short of e. Such a gap is swept when the walk
    reaches the next start s: once below the parent of the last leaf, and below each inner node entered since the last
    gap that ended left of s.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64).tolist()
    heights = [0.0] * n + linkage[:, 2].tolist()
    leaves = [1] * n + linkage[:, 3].astype(np.int64).tolist()
    scores = np.zeros(n)
    area, last_end, last_parent = 0.0, 0.0, 1.0
    passed: list[tuple[float, float]] = []  # (end, height swept) of inner nodes entered since the last gap
    stack = [(2 * n - 2, 0.0, 1.0, 1.0)]
    while stack:
        node, start, end, parent = stack.pop()
        height = heights[node]
        if start != last_end:
            area += (start - last_end) * last_parent
            area += sum((start - left) * swept for left, swept in passed if left < start)
            passed.clear()
            last_end = start
        elif node >= n:
            passed.append((end, parent - height))
        area += (end - start) * (parent - height)
        if node < n:
            scores[node], last_end, last_parent = area, end, parent
            continue
        small, large = sorted(children[node - n], key=lambda child: (leaves[child], child))
        share = (end - start) / leaves[node]
        middle = start + share * leaves[small]
        stack.append((large, middle, start + share * leaves[large], height))
        stack.append((small, start, middle, height))
    return scores


@dataclass(frozen=True)
class LabelErrors:
    """Ratio of the nearest distances to the own and to any other class, with SelfClean's automatic threshold."""

    issue: str = "label_errors"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample; the suggested label is that of the nearest sample of either kind."""
        same, other, labels = geometry.neighbors.same, geometry.neighbors.other, geometry.labels
        if same is None or other is None or labels is None:
            raise AssertionError("the label detector runs only where there are labels")
        a, b = same[1].numpy().copy(), other[1].numpy()
        alone = (same[0].numpy() < 0).nonzero()[0]
        a[alone] = farthest_distance(geometry.x, alone)
        score = distance_ratio(a, b)
        predicted = np.where(score < 0.5, labels[other[0].numpy()], labels)
        automatic = automatic_threshold(inner_quantile(score), len(score), len(score))
        return Finding(score, automatic, predicted_label=predicted)


def distance_ratio(same: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """The score b^2 / (a^2 + b^2) in [0, 1], low = the label is likely wrong.

    Args:
        same: (N,) distance a to the nearest sample of the same label.
        other: (N,) distance b to the nearest sample of another label.

    A sample with exact copies of both kinds (a = b = 0) supports neither label and gets 0.5.
    """
    a, b = same.astype(np.float64) ** 2, other.astype(np.float64) ** 2
    score = np.full(len(a), 0.5)
    np.divide(b, a + b, out=score, where=(a + b) > 0)
    return score


def farthest_distance(x: UnitRows, rows: NDArray[np.int64], chunk: int = 256) -> NDArray[np.float32]:
    """Largest distance from each of `rows` to any sample; for the only member of a class, to any other class."""
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), chunk):
        row = torch.from_numpy(rows[start : start + chunk])
        column = matrix_product(x.values[row], x.values).argmin(1, keepdim=True)
        out[start : start + chunk] = x.distances(row, column)[:, 0].numpy()
    return out


CONTAMINATION_GUESS = 0.1
SIGNIFICANCE = 0.05


def automatic_threshold(
    quantile: Callable[[float], float],
    total: int,
    samples: int,
    *,
    pairs: bool = False,
    contamination: float = CONTAMINATION_GUESS,
    significance: float = SIGNIFICANCE,
) -> float:
    """The score below which a logistic tail leaves little doubt: SelfClean's automatic cleaning.

    On the logit scale, location and scale of a logistic are fitted through the quantiles of the scores at p and
    sqrt(p / 2), where p is the guessed contamination (its square for pairs); the threshold is the fitted quantile at
    `significance * p * samples / total`.

    Args:
        quantile: quantile function of the scores strictly inside of (0, 1); NaN where there are none.
        total: number of scores.
        samples: number of samples, N.
        pairs: whether the scores are of pairs.
        contamination: guessed fraction of issues, in (0, 1).
        significance: in (0, 1); lower flags fewer.

    Returns:
        A score in [0, 1]; 0.0 where no threshold can be fitted, so that exact zeros alone are flagged.
    """
    p = contamination**2 if pairs else contamination
    low, high = quantile(p), quantile(math.sqrt(p / 2))
    if not (0 < low < 1 and 0 < high < 1):
        return 0.0
    scale = (_logit(high) - _logit(low)) / (_logit(math.sqrt(p / 2)) - _logit(p))
    location = _logit(low) - scale * _logit(p)
    threshold = location + scale * _logit(significance * p * samples / max(total, 1))
    return 1 / (1 + math.exp(-threshold)) if threshold > -700 else 0.0


def inner_quantile(scores: NDArray[np.floating]) -> Callable[[float], float]:
    """Quantile function (linear interpolation) of the scores strictly inside of (0, 1)."""
    inside = np.sort(scores[(scores > 0) & (scores < 1)]).astype(np.float64)
    return lambda p: float(np.quantile(inside, p)) if len(inside) else math.nan


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)
