"""Off-topic samples: those that join the rest last in the single-linkage dendrogram (LAD).

"Leave-out agglomerative dendrogram" of SelfClean (Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits",
NeurIPS 2024). The dendrogram is walked depth first, the child with fewer leaves first, while an area under it is swept
from left to right; a sample's score is the area swept when its leaf is reached. Small clusters that join late come
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.protocol import Finding, Geometry, Pairs
from selfclean_hooks.detectors.selfclean.threshold import automatic_threshold, inner_quantile
from selfclean_hooks.neighbors.knn import NeighborLists
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product


def distance_ratio(same: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """The score b^2 / (a^2 + b^2) in [0, 1], low = the label is likely wrong.

    Args:
        same: (N,) distance a to the nearest sample of the same label.
        other: (N,) distance b to the nearest sample of another label.

    A sample with exact copies of both kinds (a = b = 0) speaks for neither label and gets 0.5.
    """
    a, b = same.astype(np.float64) ** 2, other.astype(np.float64) ** 2
    score = np.full(len(a), 0.5)
    np.divide(b, a + b, out=score, where=(a + b) > 0)
    return score


def farthest_distance(x: UnitRows, rows: NDArray[np.int64], chunk: int = 256) -> NDArray[np.float32]:
    """Largest distance from each of `rows` to any sample. The rows are alone in their class, so all others count."""
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), chunk):
        row = torch.from_numpy(rows[start : start + chunk])
        column = matrix_product(x.values[row], x.values).argmin(1, keepdim=True)
        out[start : start + chunk] = x.distances(row, column)[:, 0].numpy()
    return out


@dataclass(frozen=True)
class LabelErrors:
    """Ratio of the nearest distances to the own and to any other class, with SelfClean's automatic threshold."""

    issue: str = "label_errors"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample; the suggested label is that of the nearest sample of either kind."""
        same, other, labels = geometry.neighbors.same, geometry.neighbors.other, geometry.labels
        if same is None or other is None or labels is None:
            raise AssertionError("label errors are looked for only where there are labels")
        a, b = same[1].numpy().copy(), other[1].numpy()
        alone = (same[0].numpy() < 0).nonzero()[0]
        a[alone] = farthest_distance(geometry.x, alone)
        score = distance_ratio(a, b)
        predicted = np.where(score < 0.5, labels[other[0].numpy()], labels)
        automatic = automatic_threshold(inner_quantile(score), len(score), len(score))
        return Finding(score, automatic, predicted_label=predicted)


MIN_PAIRS = 10_000  # kept where there are as many: small data sets keep all of theirs


def nearest_pairs(x: UnitRows, neighbors: NeighborLists, at_least: int, below: float, at_most: int) -> Pairs:
    """Every pair nearer than `below` and at least the `at_least` nearest ones, exact.

    The neighbour lists hold every pair nearer than the end of one of its two lists. The rows whose lists end below the
    cut are compared with each other. Should more than `at_most` pairs lie below the cut (a data set of copies has of
    the order of N^2), the nearest are kept and `complete_below` says up to where all of them are there.

    Args:
        x: N unit rows.
        neighbors: the k nearest of every row.
        at_least: number of pairs wanted (fewer only where there are fewer).
        below: a distance in [0, 1].
        at_most: number of pairs kept at most.
    """
    n = len(x)
    row = torch.arange(n).unsqueeze(1).expand_as(neighbors.indices)
    index, distance = _unique_pairs(row.flatten(), neighbors.indices.flatten(), neighbors.distances.flatten())
    at_least = min(at_least, n * (n - 1) // 2)
    cut = below
    if neighbors.indices.shape[1] < n - 1:
        nearest = np.partition(distance, at_least - 1)[at_least - 1] if at_least <= len(distance) else np.inf
        cut = max(below, float(nearest))
        full = (neighbors.distances[:, -1].numpy() < cut).nonzero()[0]
        *more, cut = _search_pairs_below(x, full, cut, at_most)
        index, distance = _unique_pairs(
            *(torch.cat([torch.from_numpy(p), q]) for p, q in zip((*index.T, distance), more, strict=True))
        )
    else:
        cut = np.inf
    order = np.lexsort((index[:, 1], index[:, 0], distance))
    index, distance = index[order], distance[order]
    keep = min(max(at_least, int(np.searchsorted(distance, below, side="left"))), at_most, len(distance))
    complete = min(cut, float(distance[keep])) if keep < len(distance) else cut
    return Pairs(index[:keep], distance[:keep], distance[:keep], complete)


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


def _unique_pairs(
    first: torch.Tensor, second: torch.Tensor, distance: torch.Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each pair once, smaller position first: (P, 2) and (P,). Pairs with -1 are left out."""
    first, second, distance = (part[(first >= 0) & (second >= 0)] for part in (first, second, distance))
    low, high = torch.minimum(first, second).numpy(), torch.maximum(first, second).numpy()
    _, once = np.unique(low * (int(high.max(initial=0)) + 1) + high, return_index=True)
    return np.stack([low[once], high[once]], 1), distance.numpy()[once]


def _search_pairs_below(
    x: UnitRows, rows: NDArray[np.int64], cut: float, at_most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Every pair among `rows` up to the cut; past `at_most` pairs the cut is lowered to what fits.

    Returns both positions and the distance of every pair, and the cut below which all of them are there.
    """
    none = torch.empty(0, dtype=torch.int64)
    first, second, distance = none, none, torch.empty(0, dtype=torch.float32)
    among = torch.from_numpy(rows)
    targets = x.values[among]
    for part in torch.split(among, max(1, (1 << 22) // max(1, len(rows)))):
        screened = matrix_product(x.values[part], targets).neg_().add_(1).div_(2)
        below = screened <= cut + 1e-6  # 1e-6: rounding of the product
        near, place = (below & (part.unsqueeze(1) < among)).nonzero(as_tuple=True)
        row, column = part[near], among[place]
        exact = x.distances(row, column.unsqueeze(1))[:, 0]
        inside = exact <= cut
        first, second = torch.cat([first, row[inside]]), torch.cat([second, column[inside]])
        distance = torch.cat([distance, exact[inside]])
        if len(distance) > 2 * at_most:
            distance, best = distance.sort(stable=True)
            first, second, distance = first[best[:at_most]], second[best[:at_most]], distance[:at_most]
            cut = min(cut, float(distance[-1]))
            if cut == 0:  # copies alone fill the list, and nothing is nearer
                break
    return first, second, distance, cut


def lad_scores(linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score of every leaf of a dendrogram, in [0, 1], low = off-topic.

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
class OffTopic:
    """LAD scores with SelfClean's automatic threshold."""

    issue: str = "off_topic"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = lad_scores(geometry.tree.linkage()).clip(0, 1)
        return Finding(score, automatic_threshold(inner_quantile(score), len(score), len(score)))
