"""Exact nearest neighbours by cosine distance in one pass over blocks of rows, in O(N) memory.

How a result is certified. Distances are computed block by block in bfloat16 where the device has it (`screen`). The
`m` best of every row by that are re-scored in float32. What was left out has a screened distance of at least the last
of these, so the row is exact as soon as no pair nearer than its k-th re-scored distance can be screened as far. The few
rows that fail get longer lists, then are searched in float32, and those that float32 products cannot certify in
float64. What remains is the rounding of a distance, about 1e-6 of it, for any block size. Copies are searched for once,
and separated clusters each on their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.block_search import BlockSearch, list_length
from selfclean_hooks.neighbors.clusters import separated_clusters, similar_together
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.exact_search import ANY, OTHER, SAME, search_neighbors
from selfclean_hooks.neighbors.screening.lower_bounds import LowerBounds
from selfclean_hooks.neighbors.screening.screen import make_screen
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
    bounds: LowerBounds | None = None  # on distances that are not listed, where all were computed in one process

    @classmethod
    def joined(
        cls, found: Sequence[tuple[Tensor, Tensor]], again: Tensor, bounds: LowerBounds | None = None
    ) -> NeighborLists:
        """From lists of all samples and, where there are labels, of width 1, of the same and of another one."""
        same, other = [(indices[:, 0], distances[:, 0]) for indices, distances in found[1:]] or (None, None)
        return cls(*found[0], same, other, int(again.sum()), bounds)

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
    bounds = None if found.bounds is None else found.bounds.at(distinct.of)
    return NeighborLists(indices, distances, same, other, found.num_fallback_rows, bounds)


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


LISTED = 24  # candidates for the nearest of a class
FEW, BATCH = 0.05, 256  # share of the rows, for which longer lists are tried; of more the screen resolves too little


def _search_blocks(
    x: UnitRows, k: int, classes: Tensor | None, block: int | None, dtype: torch.dtype | None, tick: Tick | None
) -> NeighborLists:
    """The lists by blocks of rows and columns."""
    n, order = len(x), similar_together(x, classes)
    groups = torch.zeros(n, dtype=torch.int64) if classes is None else classes
    screen = make_screen(x, dtype, order)
    kinds = ((ANY, k, list_length(x, screen, k)), *(() if classes is None else ((SAME, 1, LISTED), (OTHER, 1, LISTED))))
    search = BlockSearch(x, screen, torch.unique(groups[order], return_inverse=True)[1], kinds)
    found, bounds = search.nearest(block, tick)
    lists, again = [], torch.zeros(n, dtype=torch.bool)
    for (kind, width, _), (near, far, uncertified) in zip(kinds, found, strict=True):
        indices, distances, few = torch.empty_like(near), torch.empty_like(far), uncertified.nonzero()[:, 0]
        again[order[few]] = True
        for some in torch.split(few, BATCH) if len(few) <= FEW * n else ():
            near[some], far[some], uncertified[some] = search.again(some, kind, width)
        missing = order[uncertified]
        indices[order], distances[order] = near, far
        indices[missing], distances[missing] = search_neighbors(x, missing, width, groups, kind)
        lists.append((indices, distances))
    return NeighborLists.joined(lists, again, bounds)
