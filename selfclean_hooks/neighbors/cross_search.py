"""Exact nearest neighbours between two sets of samples, in O(N + M) memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import order_by_distance, search_neighbors
from selfclean_hooks.neighbors.screening.candidates import candidates
from selfclean_hooks.neighbors.screening.screen import Screen, make_screen, slices
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.shared_work import map_blocks

MAX_NEIGHBORS = 8
Matches = tuple[Tensor, Tensor]  # positions and distances


def cross_nearest_neighbors(
    x: UnitRows,
    y: UnitRows,
    k: int = MAX_NEIGHBORS,
    *,
    below: float = math.inf,
    block: int | None = None,
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
        block: rows of a block; the result does not depend on it. By default what keeps it at 32 MiB.
        screen: precision of the first pass; bfloat16 where that is fast.

    Returns:
        Positions in y and distances, each (N, k), nearest first, -1 and inf where there are none; and the same for y,
        each (M, k).
    """
    n, both = len(x), UnitRows(torch.cat([x.values, y.values]), torch.cat([x.zero, y.zero]))
    fast, of_x, of_y = make_screen(both, screen), slice(0, n), slice(n, n + len(y))
    return (
        _CrossSearch(both, fast, of_x, of_y, k, below).nearest(block),
        _CrossSearch(both, fast, of_y, of_x, k, below).nearest(block),
    )


@dataclass(frozen=True, eq=False)
class _CrossSearch:
    """What is searched for: the nearest to some rows among others of both sets."""

    both: UnitRows
    screen: Screen
    rows: slice
    columns: slice
    k: int
    below: float

    def nearest(self, block: int | None) -> Matches:
        """Positions among the columns and distances."""
        n, m = (part.stop - part.start for part in (self.rows, self.columns))
        parts = slices(n, block or self.screen.device.block(n, m)[0])
        indices, distances, doubtful = (
            torch.cat(found) for found in zip(*map_blocks(self.certified, parts), strict=True)
        )
        again = doubtful.nonzero()[:, 0]
        columns = torch.arange(self.columns.start, self.columns.stop)
        indices[again], distances[again] = search_neighbors(
            self.both, self.rows.start + again, self.k, again, columns=columns
        )
        far = distances >= self.below
        far[:, 0] = False
        indices = torch.where(indices >= 0, indices - self.columns.start, -1)
        return indices.masked_fill_(far, -1), distances.masked_fill_(far, torch.inf)

    def certified(self, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest by true distance to some of the rows, (R, k) each, and which of these rows are in doubt (R,)."""
        screen, rows = self.screen, slice(self.rows.start + part.start, self.rows.start + part.stop)
        own, best = screen[rows], candidates(part.stop - part.start, 3 * self.k, screen)
        for start, columns in self._blocks(len(own)):
            best.take(own.distances(columns), start, more=start > self.columns.start)
        values, near = best.on_processor()
        indices, distances = self._ranked(own, torch.arange(rows.start, rows.stop), values, near)
        needed = torch.minimum(distances[:, -1], distances[:, 0].clamp(min=self.below))
        return indices, distances, ~own.certifies(needed, values[:, -1], screen.extent)  # inf: nothing was left out

    def _ranked(self, own: Screen, rows: Tensor, values: Tensor, candidates: Tensor) -> Matches:
        """The k nearest of the candidates (R, m); inf for those that are neither near nor the nearest."""
        first = self.both.distances(rows, candidates[:, :1].clamp(min=0))[:, 0]
        highest = own.highest_rounded(first.clamp(min=self.below), self.screen.extent)
        row, place = ((values <= highest.unsqueeze(1)) & (candidates >= 0)).nonzero(as_tuple=True)
        distances = torch.full_like(values, torch.inf, dtype=torch.float32)
        distances[row, place] = self.both.distances(rows[row], candidates[row, place].unsqueeze(1))[:, 0]
        indices, distances = order_by_distance(candidates, distances)
        return indices[:, : self.k].clone(), distances[:, : self.k].clone()

    def _blocks(self, height: int) -> Iterator[tuple[int, Screen]]:
        """The columns in blocks for so many rows, and where each block starts."""
        width = self.columns.stop - self.columns.start
        for part in slices(width, self.screen.device.block(height, width)[1]):
            start, stop = (self.columns.start + end for end in (part.start, part.stop))
            yield start, self.screen[start:stop]
