"""Exact nearest neighbours by cosine distance in one pass over blocks of rows, in O(N) memory.

How a result is certified. Distances are computed block by block in bfloat16 where the device has it (`screen`). The
`m` best of every row by that are re-scored in float32. What was left out has a screened distance of at least the last
of these, so the row is exact as soon as no pair nearer than its k-th re-scored distance can be screened as far. The few
rows that fail are searched again in float32, and those that float32 products cannot certify in float64. What remains
is the rounding of a distance, about 1e-6 of it, for any block size. Copies are searched for once, and separated
clusters each on their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.clusters import separated_clusters
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.exact_search import (
    ANY,
    OTHER,
    SAME,
    order_by_distance,
    rank_by_distance,
    restore_order,
    search_neighbors,
)
from selfclean_hooks.neighbors.screen import Candidates, Screen, make_screen, slices
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.shared_work import map_blocks
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
        tick: progress, called with (steps done, all steps).
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
    widths = {kind: (n, k if kind == ANY else 1) for kind in kinds}
    lists = {
        kind: (torch.full(size, -1), torch.full(size, torch.inf, dtype=torch.float32)) for kind, size in widths.items()
    }
    for members in clusters:
        own = None if classes is None else classes[members]
        step = None if tick is None else partial(_tick_part, tick, done, len(members), n)
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


def _tick_part(tick: Tick, before: int, part: int, total: int, done: int, of: int) -> None:
    """So much of a part of all rows is done, after others."""
    tick(before + part * done // of, total)


def _search_blocks(
    x: UnitRows, k: int, classes: Tensor | None, block: int | None, dtype: torch.dtype | None, tick: Tick | None
) -> NeighborLists:
    """The lists by blocks of rows with all columns."""
    n, order = len(x), None
    if classes is not None:
        order = torch.argsort(classes, stable=True)  # so that every class is a slice
        x, classes = x[order], torch.unique(classes[order], return_inverse=True)[1]
    groups = torch.zeros(n, dtype=torch.int64) if classes is None else classes
    screen = make_screen(x, dtype)
    kinds = ((ANY, k, _list_length(x, screen, k)), *(() if classes is None else ((SAME, 1, 8), (OTHER, 1, 8))))
    blocks = slices(n, block or screen.device.block(n, n)[0])
    found = map_blocks(_BlockSearch(x, screen, groups, kinds).nearest, blocks, tick)
    lists, again = [], torch.zeros(n, dtype=torch.bool)
    for (kind, width, _), parts in zip(kinds, zip(*found, strict=True), strict=True):
        indices, distances, uncertified = (torch.cat(part) for part in zip(*parts, strict=True))
        missing = uncertified.nonzero()[:, 0]
        indices[missing], distances[missing] = search_neighbors(x, missing, width, groups, kind)
        lists.append(restore_order(indices, distances, order))
        again |= uncertified
    return NeighborLists.joined(lists, again)


PROBES = 64  # rows that show how many candidates are needed
MAX_UNCERTIFIED = 0.1  # of these


def _list_length(x: UnitRows, screen: Screen, k: int) -> int:
    """How many candidates of a row are certain to hold its k nearest, of most rows: 2 k, or 4 k."""
    n = len(x)
    rows = torch.from_numpy(np.linspace(0, n - 1, min(n, PROBES)).round().astype(np.int64))
    own, best = screen[rows], Candidates(len(rows), min(n, 2 * k), screen)
    for columns in slices(n, screen.device.block(len(rows), n)[1]):
        screened = own.distances(screen[columns])
        here = ((rows >= columns.start) & (rows < columns.stop)).nonzero()[:, 0]
        screened[here, rows[here] - columns.start] = torch.inf
        best.take(screened, columns.start, more=columns.start > 0)
    values, near = best.on_processor()
    kth = rank_by_distance(x, rows, near)[1][:, k - 1]
    uncertified = ~own.certifies(kth, values[:, -1], screen.extent)
    return min(n, 4 * k if uncertified.float().mean() > MAX_UNCERTIFIED else 2 * k)


FIRST = 4  # more than k, whose distances show which of the others come into question


@dataclass(frozen=True, eq=False)
class _BlockSearch:
    """What is searched for of N rows, which are sorted by group."""

    x: UnitRows
    screen: Screen
    groups: Tensor  # (N,) codes from 0
    kinds: tuple[tuple[str, int, int], ...]  # of neighbours; how many; how many candidates are listed by the screen

    @cached_property
    def ends(self) -> list[int]:
        """Where the samples of each group end."""
        return torch.bincount(self.groups).cumsum(0).tolist()

    def nearest(self, rows: slice) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each kind: positions and true distances (R, k) of the nearest, and which rows are not certified (R,)."""
        screen, n = self.screen, len(self.x)
        height = rows.stop - rows.start
        own, best = screen[rows], [Candidates(height, m, screen) for _, _, m in self.kinds]
        for columns in slices(n, screen.device.block(height, n)[1]):
            first, more = columns.start, columns.start > 0
            screened = own.distances(screen[columns])
            start, stop = max(rows.start, first), min(rows.stop, columns.stop)
            if start < stop:
                itself = screened[start - rows.start : stop - rows.start, start - first : stop - first]
                itself.fill_diagonal_(torch.inf)
            best[0].take(screened, first, more=more)
            if len(best) == 1:
                continue
            for part, inside in self._group_slices(rows, columns):
                here = slice(part.start - rows.start, part.stop - rows.start)
                of_group = screened[here, inside.start - first : inside.stop - first]
                best[1].take(of_group, inside.start, here, more=more)
                of_group.fill_(torch.inf)
            best[2].take(screened, first, more=more)
        kinds = zip(self.kinds, best, strict=True)
        return [self._certified(own, rows, k, *one.on_processor()) for (_, k, _), one in kinds]

    def _group_slices(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """For every group among some rows: its rows there, and its samples among some columns, if there are any."""
        start = rows.start
        while start < rows.stop:
            code = int(self.groups[start])
            stop = min(rows.stop, self.ends[code])
            first = max(columns.start, self.ends[code - 1] if code else 0)
            last = min(columns.stop, self.ends[code])
            if first < last:
                yield slice(start, stop), slice(first, last)
            start = stop

    def _certified(
        self, own: Screen, rows: slice, k: int, values: Tensor, candidates: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The k nearest of the candidates (R, m) by true distance, and where one that is left out may be nearer."""
        extent, m = self.screen.extent, values.shape[1]
        positions, near = torch.arange(rows.start, rows.stop), min(m, k + FIRST)
        distances = torch.full_like(values, torch.inf)
        distances[:, :near] = self.x.distances(positions, candidates[:, :near].clamp(min=0))
        distances.masked_fill_(candidates < 0, torch.inf)
        kth = distances[:, :near].kthvalue(k, dim=1).values
        possible = values <= own.highest_rounded(kth, extent).unsqueeze(1)
        row, place = (possible & (candidates >= 0))[:, near:].nonzero(as_tuple=True)
        place += near
        distances[row, place] = self.x.distances(positions[row], candidates[row, place].unsqueeze(1))[:, 0]
        indices, distances = order_by_distance(candidates, distances)
        indices, distances = indices[:, :k].clone(), distances[:, :k].clone()  # the rest is let go
        return indices, distances, ~own.certifies(distances[:, -1], values[:, -1], extent)
