"""Exact nearest neighbours between two sets of samples, in O(N + M) memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import rank_by_distance, search_neighbors, smallest_per_row
from selfclean_hooks.neighbors.screen import Screen, make_screen
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
    of_x, of_y = _CandidateList.of(n, 3 * k), _CandidateList.of(m, 3 * k)
    for a in range(0, n, block):
        for b in range(n, n + m, block):
            rows, columns = slice(a, min(a + block, n)), slice(b, min(b + block, n + m))
            screened = fast[rows].distances(fast[columns])
            of_x.offer(rows, screened, b)
            of_y.offer(slice(b - n, columns.stop - n), screened.T.contiguous(), a)
    to_y, near_y = _certify(both, xs, ys, of_x, fast, k, below)
    return (torch.where(to_y >= 0, to_y - n, -1), near_y), _certify(both, ys, xs, of_y, fast, k, below)


@dataclass(eq=False)
class _CandidateList:
    """The lowest distances of every row so far."""

    values: Tensor  # (N, m) float32, inf: none
    indices: Tensor  # (N, m)

    @classmethod
    def of(cls, n: int, m: int) -> _CandidateList:
        return cls(torch.full((n, m), torch.inf), torch.full((n, m), -1))

    def offer(self, rows: slice, screened: Tensor, first: int) -> None:
        """Take what is better from a block (R, C) whose first column is sample `first`."""
        m = self.values.shape[1]
        values, columns = smallest_per_row(screened, m)
        values = torch.cat([self.values[rows], values], 1)
        self.values[rows], keep = values.topk(m, dim=1, largest=False)
        self.indices[rows] = torch.cat([self.indices[rows], first + columns], 1).gather(1, keep)


def _certify(
    both: UnitRows, own: Tensor, others: Tensor, best: _CandidateList, screen: Screen, k: int, below: float
) -> Matches:
    """The nearest by true distance; rows that the first pass cannot certify are searched again."""
    last = best.values[:, -1]  # inf: nothing was left out
    indices, distances = rank_by_distance(both, own, best.indices)
    indices, distances = indices[:, :k].contiguous(), distances[:, :k].contiguous()
    needed = torch.minimum(distances[:, -1], distances[:, 0].clamp(min=below))
    again = (~screen[own].certifies(needed, last, screen.extent)).nonzero()[:, 0]
    indices[again], distances[again] = search_neighbors(both, own[again], k, own, columns=others)
    far = distances >= below
    far[:, 0] = False
    return indices.masked_fill_(far, -1), distances.masked_fill_(far, torch.inf)
