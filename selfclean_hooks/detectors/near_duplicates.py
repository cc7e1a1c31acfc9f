"""Near duplicates: the nearest pairs of all N(N - 1)/2, and the distribution of their distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.base import Finding, Geometry, Pairs
from selfclean_hooks.detectors.logistic_tail import automatic_threshold
from selfclean_hooks.neighbors import Neighbors
from selfclean_hooks.vectors import UnitRows, multiplied

MIN_PAIRS = 10_000  # kept where there are as many: small data sets keep all of theirs
BINS = 1 << 16


def nearest_pairs(x: UnitRows, neighbors: Neighbors, at_least: int, below: float, at_most: int) -> Pairs:
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
    index, distance = _unique(row.flatten(), neighbors.indices.flatten(), neighbors.distances.flatten())
    at_least = min(at_least, n * (n - 1) // 2)
    cut = below
    if neighbors.indices.shape[1] < n - 1:
        nearest = np.partition(distance, at_least - 1)[at_least - 1] if at_least <= len(distance) else np.inf
        cut = max(below, float(nearest))
        full = (neighbors.distances[:, -1].numpy() < cut).nonzero()[0]
        *more, cut = _all_below(x, full, cut, at_most)
        index, distance = _unique(
            *(torch.cat([torch.from_numpy(p), q]) for p, q in zip((*index.T, distance), more, strict=True))
        )
    else:
        cut = np.inf
    order = np.lexsort((index[:, 1], index[:, 0], distance))
    index, distance = index[order], distance[order]
    keep = min(max(at_least, int(np.searchsorted(distance, below, side="left"))), at_most, len(distance))
    complete = min(cut, float(distance[keep])) if keep < len(distance) else cut
    return Pairs(index[:keep], distance[:keep], distance[:keep], complete)


def pair_distance_quantile(x: UnitRows, budget: int = 1 << 22) -> Callable[[float], float]:
    """Quantile function of all pair distances strictly inside of (0, 1), from a histogram.

    All pairs where N^2 <= `budget`, else those of evenly spaced rows with all others. The bins are even in the square
    root of the distance, so that small distances, which a threshold is fitted to, are resolved to a fraction of a
    percent. Distances below the rounding of a dot product count as 0.
    """
    n = len(x)
    rows = torch.from_numpy(np.linspace(0, n - 1, min(n, max(1, budget // n))).astype(np.int64))
    counts = torch.zeros(BINS, dtype=torch.float64)
    for part in torch.split(rows, max(1, (1 << 22) // n)):
        similarity = multiplied(x.values[part], x.values)
        similarity[torch.arange(len(part)), part] = 1  # itself: distance 0
        root = similarity.neg_().add_(1).div_(2).clamp_(0, 1).sqrt_()
        counts += torch.histc(root, BINS, 0, 1).double()
    rounding = x.values.shape[1] ** 0.5 * 2.0**-23  # of a float32 product; nearer than that tells nothing
    counts[: int(BINS * rounding**0.5) + 1] = 0
    heights, edges = counts.numpy(), np.linspace(0, 1, BINS + 1)
    cumulative = np.concatenate([[0.0], heights.cumsum()])
    if cumulative[-1] == 0:
        return lambda p: np.nan
    return lambda p: float(np.interp(p * cumulative[-1], cumulative, edges) ** 2)


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


def _unique(
    first: torch.Tensor, second: torch.Tensor, distance: torch.Tensor
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each pair once, smaller position first: (P, 2) and (P,). Pairs with -1 are left out."""
    first, second, distance = (part[(first >= 0) & (second >= 0)] for part in (first, second, distance))
    low, high = torch.minimum(first, second).numpy(), torch.maximum(first, second).numpy()
    _, once = np.unique(low * (int(high.max(initial=0)) + 1) + high, return_index=True)
    return np.stack([low[once], high[once]], 1), distance.numpy()[once]


def _all_below(
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
        screened = multiplied(x.values[part], targets).neg_().add_(1).div_(2)
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
