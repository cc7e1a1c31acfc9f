"""Exact nearest neighbours between two sets of samples, in O(N + M) memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import rank_by_distance, search_neighbors
from selfclean_hooks.neighbors.screen import Candidates, Screen, make_screen, slices
from selfclean_hooks.neighbors.unit_vectors import UnitRows

MAX_NEIGHBORS = 8
Matches = tuple[Tensor, Tensor]  # positions and distances


def cross_nearest_neighbors(
    x: UnitRows,
    y: UnitRows,
    k: int = MAX_NEIGHBORS,
    *,
    below: float = math.inf,
    block: int = 4096,
    screen: torch.dtype | None = None,
) -> tuple[Matches, Matches]:
    """For every row of x its nearest row of y, and up to k where they are near; the same for y. O(N + M) memory.

    Certified as in `knn`: rows that a fast product cannot certify are searched again in a higher precision. Without
    `below`, rows without near neighbours would be searched again for neighbours that nothing needs.

    Args:
        x: N unit rows.
        y: M unit rows.
        k: how many neighbours at most.
        below: the nearest is found at any distance, the others of the k nearest up to this one.
        block: rows of a block; the result does not depend on it.
        screen: precision of the first pass; bfloat16 where that is fast.

    Returns:
        Positions in y and distances, each (N, k), nearest first, -1 and inf where there are none; and the same for y,
        each (M, k).
    """
    n, m = len(x), len(y)
    both = UnitRows(torch.cat([x.values, y.values]), torch.cat([x.zero, y.zero]))
    fast = make_screen(both, screen)
    xs, ys = torch.arange(n), torch.arange(n, n + m)
    of_x, of_y = Candidates(n, 3 * k, fast), Candidates(m, 3 * k, fast)
    for rows in slices(n, block):
        for columns in slices(m, block):
            screened = fast[rows].distances(fast[n + columns.start : n + columns.stop])
            of_x.take(screened, n + columns.start, rows, more=columns.start > 0)
            of_y.take(screened.T.contiguous(), rows.start, columns, more=rows.start > 0)
    to_y, near_y = _certify(both, xs, ys, of_x, fast, k, below)
    return (torch.where(to_y >= 0, to_y - n, -1), near_y), _certify(both, ys, xs, of_y, fast, k, below)


def _certify(
    both: UnitRows, own: Tensor, others: Tensor, best: Candidates, screen: Screen, k: int, below: float
) -> Matches:
    """The nearest by true distance; rows that the first pass cannot certify are searched again."""
    values, candidates = best.on_processor()
    last = values[:, -1]  # inf: nothing was left out
    indices, distances = rank_by_distance(both, own, candidates)
    indices, distances = indices[:, :k].contiguous(), distances[:, :k].contiguous()
    needed = torch.minimum(distances[:, -1], distances[:, 0].clamp(min=below))
    again = (~screen[own].certifies(needed, last, screen.extent)).nonzero()[:, 0]
    indices[again], distances[again] = search_neighbors(both, own[again], k, own, columns=others)
    far = distances >= below
    far[:, 0] = False
    return indices.masked_fill_(far, -1), distances.masked_fill_(far, torch.inf)
