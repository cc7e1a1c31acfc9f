"""Exact nearest neighbours by cosine distance in one pass over blocks of rows, in O(N) memory.

How a result is certified. Distances are computed block by block in bfloat16 where the processor has it (`screen`). The
`m` best of every row by that are re-scored in float32. What was left out has a screened distance of at least the last
of these, so the row is exact as soon as no pair nearer than its k-th re-scored distance can be screened as far. The few
rows that fail are searched again in float32, and those that float32 products cannot certify in float64. What remains
is the rounding of a distance, about 1e-6 of it, for any block size. Copies are searched for once, and separated
clusters each on their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.clusters import separated_clusters
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.exact_search import (
    ANY,
    BUDGET,
    OTHER,
    SAME,
    order_by_distance,
    rank_by_distance,
    search_neighbors,
    smallest_per_row,
)
from selfclean_hooks.neighbors.screen import Screen, make_screen
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.text import Tick


@dataclass(frozen=True, eq=False)
class NeighborLists:
    """The nearest neighbours of every sample, nearest first. Positions are int64, -1 (at distance inf) where none."""

    indices: Tensor  # (N, k) the k nearest samples
    distances: Tensor  # (N, k) float32
    same: tuple[Tensor, Tensor] | None  # (N,) nearest sample of the same label and its distance
    other: tuple[Tensor, Tensor] | None  # (N,) nearest sample of another label and its distance
    num_fallback_rows: int  # rows that the screen could not certify

    @classmethod
    def joined(cls, found: Sequence[tuple[Tensor, Tensor]], again: Tensor) -> NeighborLists:
        """From lists of all samples and, where there are labels, of width 1, of the same and of another one."""
        same, other = [(indices[:, 0], distances[:, 0]) for indices, distances in found[1:]] or (None, None)
        return cls(*found[0], same, other, int(again.sum()))

    def of(self, kind: str) -> tuple[Tensor, Tensor]:
        """Positions and distances of the nearest of one kind, each (N, k) or (N, 1)."""
        if kind == ANY:
            return self.indices, self.distances
        nearest = self.same if kind == SAME else self.other
        assert nearest is not None
        return nearest[0].unsqueeze(1), nearest[1].unsqueeze(1)


def nearest_neighbors(
    x: UnitRows,
    k: int,
    labels: NDArray[np.int64] | None = None,
    *,
    block: int | None = None,
    screen: torch.dtype | None = None,
    tick: Tick | None = None,
) -> NeighborLists:
    """The k nearest samples of every sample, and with labels the nearest of the same and of another label.

    Args:
        x: N unit rows.
        k: how many neighbours, at most N - 1 are returned.
        labels: (N,) class of every sample.
        block: rows of a block; the result does not depend on it. By default what keeps it at 32 MiB.
        screen: precision of the first pass; bfloat16 where that is fast.
        tick: called with (rows done, all of them).
    """
    n, k = len(x), min(k, len(x) - 1)
    classes = None if labels is None else torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1))
    distinct = DistinctRows.among(x, classes)
    if len(distinct) == n:
        return _search_distinct(x, k, classes, block, screen, tick)
    some, of_some = x[distinct.first], None if classes is None else classes[distinct.first]
    found = _search_distinct(some, max(1, min(k, len(some) - 1)), of_some, block, screen, tick)
    indices, distances = distinct.expand(found.indices, found.distances, k)
    same = None if found.same is None else distinct.expand_first(found.same, among_copies=True)
    other = None if found.other is None else distinct.expand_first(found.other, among_copies=False)
    return NeighborLists(indices, distances, same, other, found.num_fallback_rows)


def _search_distinct(
    x: UnitRows, k: int, classes: Tensor | None, block: int | None, dtype: torch.dtype | None, tick: Tick | None
) -> NeighborLists:
    """The lists of rows of which none, or few, are copies: by cluster where the data consist of separated clusters."""
    n, clusters = len(x), separated_clusters(x, k + 1)
    if 2 * sum(map(len, clusters)) < n:
        return _search_blocks(x, k, classes, block, dtype, tick)
    kinds, done = (ANY,) if classes is None else (ANY, SAME, OTHER), 0
    groups = torch.zeros(n, dtype=torch.int64) if classes is None else classes
    lists = {kind: _empty_lists(n, k if kind == ANY else 1) for kind in kinds}
    for members in clusters:
        own = None if classes is None else classes[members]
        step = None if tick is None else partial(_tick_from, tick, done, n)
        found, done = _search_blocks(x[members], k, own, block, dtype, step), done + len(members)
        for kind, (indices, distances) in lists.items():
            near, distances[members] = found.of(kind)
            indices[members] = torch.where(near >= 0, members[near], -1)
    screen, again = make_screen(x, dtype), torch.zeros(n, dtype=torch.bool)
    for kind, (indices, distances) in lists.items():
        missing = (indices[:, -1] < 0).nonzero()[:, 0]
        width = indices.shape[1]
        indices[missing], distances[missing] = search_neighbors(x, missing, width, groups, kind, screen=screen)
        again[missing] = True
    if tick is not None:
        tick(n, n)
    return NeighborLists.joined(list(lists.values()), again)


def _empty_lists(n: int, k: int) -> tuple[Tensor, Tensor]:
    return torch.full((n, k), -1), torch.full((n, k), torch.inf, dtype=torch.float32)


def _tick_from(tick: Tick, before: int, total: int, done: int, _: int) -> None:
    tick(before + done, total)


def _search_blocks(
    x: UnitRows, k: int, classes: Tensor | None, block: int | None, dtype: torch.dtype | None, tick: Tick | None
) -> NeighborLists:
    """The lists by blocks of rows with all columns."""
    n, order = len(x), None
    if classes is not None:
        order = torch.argsort(classes, stable=True)  # so that every class is a slice
        x, classes = x[order], torch.unique(classes[order], return_inverse=True)[1]
    groups = torch.zeros(n, dtype=torch.int64) if classes is None else classes
    screen, ends = make_screen(x, dtype), torch.bincount(groups).cumsum(0).tolist()
    lists = [_CandidateList(n, k, _list_length(x, screen, k), ANY)]
    if classes is not None:
        lists += [_CandidateList(n, 1, 8, SAME), _CandidateList(n, 1, 8, OTHER)]
    step = max(1, BUDGET // n) if block is None else block
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        screened = screen[rows].distances(screen)
        screened[:, rows].fill_diagonal_(torch.inf)
        lists[0].take(rows, screened)
        if classes is not None:
            for part, columns in _class_slices(rows, classes, ends):
                here = screened[part.start - start : part.stop - start]
                lists[1].take(part, here[:, columns], columns.start)
                here[:, columns] = torch.inf
            lists[2].take(rows, screened)
        if tick is not None:
            tick(rows.stop, n)
    again = torch.zeros(n, dtype=torch.bool)
    for best in lists:
        again |= best.certify(x, screen, groups)
    return NeighborLists.joined([best.restore_order(order) for best in lists], again)


PROBES = 64  # rows that show how many candidates are needed
MAX_UNCERTIFIED = 0.1  # of these


def _list_length(x: UnitRows, screen: Screen, k: int) -> int:
    """How many candidates of a row are certain to hold its k nearest, of most rows: 2 k, or 4 k."""
    n = len(x)
    rows = torch.from_numpy(np.linspace(0, n - 1, min(n, PROBES)).round().astype(np.int64))
    own = screen[rows]
    screened = own.distances(screen)
    screened[torch.arange(len(rows)), rows] = torch.inf
    values, columns = smallest_per_row(screened, min(n, 2 * k))
    kth = rank_by_distance(x, rows, torch.where(values < torch.inf, columns, -1))[1][:, k - 1]
    uncertified = ~own.certifies(kth, values[:, -1], screen.extent)
    return 4 * k if uncertified.float().mean() > MAX_UNCERTIFIED else 2 * k


def _class_slices(rows: slice, classes: Tensor, ends: list[int]) -> Iterator[tuple[slice, slice]]:
    """For every class among some rows: its rows there, and all of its samples."""
    start = rows.start
    while start < rows.stop:
        code = int(classes[start])
        stop = min(rows.stop, ends[code])
        yield slice(start, stop), slice(ends[code - 1] if code else 0, ends[code])
        start = stop


CHUNK = 4096  # rows whose candidates are ordered at a time
FIRST = 4  # more than k, whose distances show which of the others come into question


class _CandidateList:
    """The m best of every row by the screen; after `certify` the k nearest, exact."""

    def __init__(self, n: int, k: int, m: int, kind: str) -> None:
        self.k, self.m, self.kind = k, min(m, n), kind
        self.indices, self.values = _empty_lists(n, self.m)

    def take(self, rows: slice, screened: Tensor, first: int = 0) -> None:
        """Take the best from the distances (R, C) of some rows to all columns that count, from `first` on."""
        values, columns = smallest_per_row(screened, self.m)
        width = values.shape[1]
        self.values[rows, :width] = values
        self.indices[rows, :width] = torch.where(values < torch.inf, first + columns, -1)

    def certify(self, x: UnitRows, screen: Screen, classes: Tensor) -> Tensor:
        """Re-score, certify and search the uncertified again. Returns which rows those were, (N,) bool."""
        n, last = len(x), self.values[:, -1].clone()  # inf: nothing was left out
        indices, distances = _empty_lists(n, self.k)
        for rows in torch.split(torch.arange(n), CHUNK):
            indices[rows], distances[rows] = self._nearest(x, screen, rows)
        self.indices, self.values = indices, distances
        uncertified = ~screen.certifies(self.values[:, -1], last, screen.extent)
        again = uncertified.nonzero()[:, 0]
        self.indices[again], self.values[again] = search_neighbors(x, again, self.k, classes, self.kind)
        return uncertified

    def _nearest(self, x: UnitRows, screen: Screen, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The k nearest of the candidates of some rows, by true distance."""
        near, indices, screened = min(self.m, self.k + FIRST), self.indices[rows], self.values[rows]
        distances = torch.full_like(screened, torch.inf)
        distances[:, :near] = x.distances(rows, indices[:, :near].clamp(min=0))
        distances.masked_fill_(indices < 0, torch.inf)
        kth = distances[:, :near].kthvalue(self.k, dim=1).values
        possible = screened <= screen[rows].highest_rounded(kth, screen.extent).unsqueeze(1)
        row, place = (possible & (indices >= 0))[:, near:].nonzero(as_tuple=True)
        place += near
        distances[row, place] = x.distances(rows[row], indices[row, place].unsqueeze(1))[:, 0]
        indices, distances = order_by_distance(indices, distances)
        return indices[:, : self.k], distances[:, : self.k]

    def restore_order(self, order: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions and distances with samples numbered as before the sort."""
        if order is None:
            return self.indices, self.values
        indices, distances = torch.empty_like(self.indices), torch.empty_like(self.values)
        indices[order] = torch.where(self.indices >= 0, order[self.indices.clamp(min=0)], -1)
        distances[order] = self.values
        return indices, distances
