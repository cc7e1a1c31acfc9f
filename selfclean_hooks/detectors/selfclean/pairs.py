"""The nearest pairs of all, exact."""

from __future__ import annotations

import numpy as np
import torch

from selfclean_hooks.detectors.near_duplicates.pairs import unique_pairs
from selfclean_hooks.detectors.protocol import Pairs
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
    first = second = torch.empty(0, dtype=torch.int64)
    distance = torch.empty(0, dtype=torch.float32)
    samples = torch.from_numpy(rows)
    targets = x.values[samples]
    for part in torch.split(samples, max(1, (1 << 22) // max(1, len(rows)))):
        screened = matrix_product(x.values[part], targets).neg_().add_(1).div_(2)
        below = screened <= limit + 1e-6  # 1e-6: rounding of the product
        row, column = (below & (part.unsqueeze(1) < samples)).nonzero(as_tuple=True)
        row, column = part[row], samples[column]
        exact = x.distances(row, column.unsqueeze(1))[:, 0]
        near = exact <= limit
        first, second = torch.cat([first, row[near]]), torch.cat([second, column[near]])
        distance = torch.cat([distance, exact[near]])
        if len(distance) > 2 * at_most:
            distance, best = distance.sort(stable=True)
            first, second, distance = first[best[:at_most]], second[best[:at_most]], distance[:at_most]
            limit = min(limit, float(distance[-1]))
            if limit == 0:  # copies alone fill the list, and nothing is nearer
                break
    return first.numpy(), second.numpy(), distance.numpy(), limit
