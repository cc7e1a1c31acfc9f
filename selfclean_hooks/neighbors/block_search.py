"""The nearest neighbours of all rows, block by block: listed by the screen, and ranked by their true distances.

The distances of two blocks are those of either to the other, so the processor computes each once, in tiles that its
caches hold. An accelerator computes blocks of rows with all columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import ANY, mask_kind, order_by_distance, rank_by_distance
from selfclean_hooks.neighbors.screening.candidates import Bits, PackedCandidates, candidates, unpacked
from selfclean_hooks.neighbors.screening.lower_bounds import LowerBounds, RangeMinima
from selfclean_hooks.neighbors.screening.screen import Screen, slices
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.shared_work import SentOnce, map_blocks, workers
from selfclean_hooks.utils.text import Tick

PROBES = 64  # rows that show how many candidates are needed
MAX_UNCERTIFIED = 0.02  # of these: to search for one again takes as long as to list many candidates of fifty
TILE = 2048  # rows and columns of a tile
Found = tuple[Tensor, Tensor, Tensor]  # positions and distances (R, k), and which rows are not certified (R,)


def list_length(x: UnitRows, screen: Screen, k: int) -> int:
    """How many candidates of a row are certain to hold its k nearest, of most rows: 2 k, or 4 k."""
    n = len(x)
    if n <= TILE:  # to find out would take longer
        return min(n, 4 * k)
    rows = torch.from_numpy(np.linspace(0, n - 1, min(n, PROBES)).round().astype(np.int64))
    own, best = screen[rows], candidates(len(rows), min(n, 2 * k), screen)
    for columns in slices(n, screen.device.block(len(rows), n)[1]):
        screened = own.distances(screen[columns])
        here = ((rows >= columns.start) & (rows < columns.stop)).nonzero()[:, 0]
        screened[here, rows[here] - columns.start] = torch.inf
        best.take(screened, columns.start, more=columns.start > 0)
    values, near = best.on_processor()
    kth = rank_by_distance(x, screen.positions(rows), screen.positions(near))[1][:, k - 1]
    uncertified = ~own.certifies(kth, values[:, -1], screen.extent)
    return min(n, 4 * k if uncertified.float().mean() > MAX_UNCERTIFIED else 2 * k)


MANY = 32  # times k, candidates of rows that fewer do not certify
FIRST = 4  # more than k, whose distances show which of the others come into question


@dataclass(frozen=True, eq=False)
class BlockSearch:
    """What is searched for of N rows, in the order of the screen, in which every group is a slice."""

    x: UnitRows
    screen: Screen
    groups: Tensor  # (N,) codes from 0, ascending
    kinds: tuple[tuple[str, int, int], ...]  # of neighbours; how many; how many candidates are listed by the screen

    def nearest(self, block: int | None, tick: Tick | None) -> tuple[list[Found], LowerBounds | None]:
        """Of each kind the nearest of all rows, in the order of the screen; and bounds, where tiles give them."""
        n, screen, bounds = len(self.x), self.screen, None
        if screen.is_packed:
            tiles = slices(n, block or min(TILE, math.isqrt(screen.device.budget)))
            parts, bounds = self._of_tiles(tiles, tick)
        else:
            parts = map_blocks(self.of_rows, slices(n, block or screen.device.block(n, n)[0]), tick)
        return [_joined(part) for part in zip(*parts, strict=True)], bounds

    def _of_tiles(self, tiles: list[slice], tick: Tick | None) -> tuple[list[list[Found]], LowerBounds]:
        """Of each tile's rows, from distances that are computed once for both rows and columns."""
        taken, others = TakenTiles(self, tiles[0].stop), itertools.combinations(tiles, 2)
        # similar rows stand together: these first, so that few others come into question
        map_blocks(taken.take, [*zip(tiles, tiles, strict=True), *others], tick)
        if workers() > 1 and len(tiles) > 1:
            for best, minima in map_blocks(taken.of_process, range(workers()))[1:]:
                taken.add(best, minima)
        parts = map_blocks(self.ranked, [(rows, [part.packed[rows] for part in taken.best]) for rows in tiles])
        return parts, taken.minima.bounds(self.screen)

    def ranked(self, part: tuple[slice, list[IntArray]]) -> list[Found]:
        """Of each kind the nearest of some rows among packed candidates (R, m)."""
        (rows, packed), precision = part, self.screen.columns.dtype
        own, lists = self.screen[rows], zip(self.kinds, packed, strict=True)
        places = torch.arange(rows.start, rows.stop)
        return [self._certified(own, places, k, *unpacked(near, precision)) for (_, k, _), near in lists]

    def of_rows(self, rows: slice) -> list[Found]:
        """Of each kind the nearest of some rows, from their distances to all columns."""
        screen, n = self.screen, len(self.x)
        height = rows.stop - rows.start
        own, best = screen[rows], [candidates(height, m, screen) for _, _, m in self.kinds]
        for columns in slices(n, screen.device.block(height, n)[1]):
            first, more = columns.start, columns.start > 0
            screened = own.distances(screen[columns])
            start, stop = max(rows.start, first), min(rows.stop, columns.stop)
            if start < stop:
                itself = screened[_within(slice(start, stop), rows), _within(slice(start, stop), columns)]
                itself.fill_diagonal_(torch.inf)
            best[0].take(screened, first, more=more)
            if len(best) == 1:
                continue
            for part, inside in self.group_slices(rows, columns):
                of_group = screened[_within(part, rows), _within(inside, columns)]
                best[1].take(of_group, inside.start, _within(part, rows), more=more)
                of_group.fill_(torch.inf)
            best[2].take(screened, first, more=more)
        kinds = zip(self.kinds, best, strict=True)
        places = torch.arange(rows.start, rows.stop)
        return [self._certified(own, places, k, *one.on_processor()) for (_, k, _), one in kinds]

    @cached_property
    def _ends(self) -> list[int]:
        """Where the samples of each group end."""
        return torch.bincount(self.groups).cumsum(0).tolist()

    def group_slices(self, rows: slice, columns: slice) -> Iterator[tuple[slice, slice]]:
        """For every group among some rows: its rows there, and its samples among some columns, if there are any."""
        start = rows.start
        while start < rows.stop:
            code = int(self.groups[start])
            stop = min(rows.stop, self._ends[code])
            first = max(columns.start, self._ends[code - 1] if code else 0)
            last = min(columns.stop, self._ends[code])
            if first < last:
                yield slice(start, stop), slice(first, last)
            start = stop

    def again(self, places: Tensor, kind: str, k: int) -> Found:
        """The nearest of a few rows (R,), ascending, among many candidates."""
        own, best = self.screen[places], candidates(len(places), min(len(self.x), MANY * k), self.screen)
        budget = TILE**2 if self.screen.is_packed else None  # what one tile needs, by then all else is held
        for columns in slices(len(self.x), self.screen.device.block(len(places), len(self.x), budget)[1]):
            screened = own.distances(self.screen[columns])
            if kind != ANY:
                mask_kind(screened, kind, self.groups[places], self.groups[columns])
            here = ((places >= columns.start) & (places < columns.stop)).nonzero()[:, 0]
            screened[here, places[here] - columns.start] = torch.inf
            best.take(screened, columns.start, more=columns.start > 0)
        return self._certified(own, places, k, *best.on_processor())

    def _certified(self, own: Screen, places: Tensor, k: int, values: Tensor, near: Tensor) -> Found:
        """The k nearest of the candidates (R, m) by true distance, and where one that is left out may be nearer."""
        extent, m = self.screen.extent, values.shape[1]
        positions, candidate = self.screen.positions(places), self.screen.positions(near)
        first = min(m, k + FIRST)
        distances = torch.full_like(values, torch.inf)
        distances[:, :first] = self.x.distances(positions, candidate[:, :first].clamp(min=0))
        distances.masked_fill_(candidate < 0, torch.inf)
        kth = distances[:, :first].kthvalue(k, dim=1).values
        possible = values <= own.highest_rounded(kth, extent).unsqueeze(1)
        row, place = (possible & (candidate >= 0))[:, first:].nonzero(as_tuple=True)
        place += first
        distances[row, place] = self.x.distances(positions[row], candidate[row, place].unsqueeze(1))[:, 0]
        indices, distances = order_by_distance(candidate, distances)
        indices, distances = indices[:, :k].clone(), distances[:, :k].clone()  # the rest is let go
        return indices, distances, ~own.certifies(distances[:, -1], values[:, -1], extent)


class TakenTiles(SentOnce):
    """Candidates of all rows, and minima, from the tiles that this process has seen."""

    def __init__(self, search: BlockSearch, tile: int) -> None:
        """None yet, of tiles of so many rows."""
        n, precision = len(search.x), search.screen.columns.dtype
        self.search, self.tile = search, tile
        self.best = [PackedCandidates(n, m, precision) for _, _, m in search.kinds]
        self.minima = RangeMinima(n, tile, precision)
        self.left = torch.empty(tile, search.screen.columns.shape[1], dtype=precision)  # factor of a product
        self.left_rows: slice | None = None  # which often are those of the next tile too
        self.tile_memory = torch.empty(tile * tile, dtype=precision)  # to ask for it anew for every tile takes longer

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process has seen none."""
        return TakenTiles, (self.search, self.tile)

    def take(self, tile: tuple[slice, slice]) -> None:
        """Take candidates of rows among columns, and of the columns among the rows where they are others."""
        rows, columns = tile
        screened, (every, *of_class) = self._distances(rows, columns), self.best
        sides = [(screened, rows, columns)]
        if rows == columns:
            screened.fill_diagonal_(torch.inf)
        else:
            sides.append((screened.T, columns, rows))
        for part, own, others in sides:
            self.minima.put(own, others.start, every.take(part, others.start, own))
        if not of_class:
            return
        for own, others in self.search.group_slices(rows, columns):
            of_group = screened[_within(own, rows), _within(others, columns)]
            of_class[0].take(of_group, others.start, own)
            if rows != columns:
                of_class[0].take(of_group.T, own.start, others)
            of_group.fill_(torch.inf)
        for part, own, others in sides:
            of_class[1].take(part, others.start, own)

    def _distances(self, rows: slice, columns: slice) -> Tensor:
        """As screened, until the next call."""
        screen, height, width = self.search.screen, rows.stop - rows.start, columns.stop - columns.start
        if self.left_rows != rows:
            self.left_rows = rows
            screen[rows].left_factor(out=self.left[:height])
        out = self.tile_memory[: height * width].view(height, width)
        return matrix_product(self.left[:height], screen.columns[columns], out)

    def of_process(self, _process: int) -> tuple[list[IntArray], Bits]:
        """What this process has found, packed."""
        return [part.packed for part in self.best], self.minima.bits

    def add(self, best: list[IntArray], minima: Bits) -> None:
        """What another process has found."""
        for part, more in zip(self.best, best, strict=True):
            part.packed = np.partition(np.concatenate([part.packed, more], 1), more.shape[1] - 1, axis=1)
            part.packed = part.packed[:, : more.shape[1]]
        np.minimum(self.minima.bits, minima, out=self.minima.bits)


def _joined(parts: Sequence[Found]) -> Found:
    """Of all rows, from those of some."""
    indices, distances, uncertified = (torch.cat(part) for part in zip(*parts, strict=True))
    return indices, distances, uncertified


def _within(part: slice, whole: slice) -> slice:
    """A part of a slice, as one of the rows or columns at that."""
    return slice(part.start - whole.start, part.stop - whole.start)
