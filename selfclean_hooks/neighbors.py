"""Exact nearest neighbours by cosine distance in one blocked pass, in O(N) memory.

The distance of two samples is `d(i, j) = (1 - cos(x_i, x_j)) / 2`, in [0, 1]; a zero row has no direction and lies at
0.5 from everything. For unit rows `d = |x_i - x_j|^2 / 4`, the form in which every distance that leaves this file is
computed: copies come out at exactly 0 and small distances keep their relative accuracy.

How a result is certified. Blocks of the upper triangle of `x @ x.T` are computed once, in bfloat16 where the processor
has it, and serve the rows and the columns of the block. The `m` best of every row by that screen, where negative
similarities count as 0, are re-scored in float32. What the screen says is too low by at most

    bound_i = e_i + max_j e_j + rounding of the result + rounding of the sum,      e_i = |x_i - screen(x_i)|

(Cauchy-Schwarz on unit rows). What the list left out has a screened similarity of at most its last entry, so the row is
exact as soon as its k-th re-scored similarity is at least that entry plus bound_i. The few rows that fail are searched
again in float32, and those that float32 products leave in doubt in float64: of samples nearer than about 1e-6 (a copy
among them, in a collapsed representation) they tell nothing. What remains is the rounding of a distance, about 1e-6 of
it, for any block size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.progress import Tick

TILE = 32  # similarities whose maximum is looked at before any of them is
SAME, OTHER, ANY = "same", "other", "any"
_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


@dataclass(frozen=True, eq=False)
class UnitRows:
    """Vectors scaled to length 1. `zero` is 1.0 where a row had no length, else 0.0."""

    values: Tensor  # (N, D) float32
    zero: Tensor  # (N,) float32

    @classmethod
    def of(cls, vectors: NDArray[np.floating], chunk: int = 4096) -> UnitRows:
        """Scale (N, D) `vectors` to unit rows, chunk by chunk and safe from overflow; the input is left alone."""
        values = torch.empty(vectors.shape, dtype=torch.float32)
        zero = torch.empty(len(vectors), dtype=torch.float32)
        for start in range(0, len(vectors), chunk):
            part = np.array(vectors[start : start + chunk], order="C")  # a copy: torch wants it writable
            rows = torch.from_numpy(part)
            rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
            largest = rows.abs().amax(1, keepdim=True)
            rows = rows / torch.where(largest > 0, largest, 1.0)
            length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            values[start : start + chunk] = rows / torch.where(length > 0, length, 1.0)
            zero[start : start + chunk] = (length[:, 0] == 0).float()
        return cls(values, zero)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Tensor) -> UnitRows:
        return UnitRows(self.values[index], self.zero[index])

    def distances(self, rows: Tensor, columns: Tensor, budget: int = 1 << 18) -> Tensor:
        """Distances of `rows` (R,) to `columns` (R, m): (R, m) float32 in [0, 1]. Independent of how it is chunked."""
        out = torch.empty(columns.shape, dtype=torch.float32)
        step = max(1, budget // (columns.shape[1] * self.values.shape[1] + 1))
        for start in range(0, len(rows), step):
            r, c = rows[start : start + step], columns[start : start + step]
            gap = self.values.index_select(0, c.flatten()).view(*c.shape, -1)
            gap = gap.sub_(self.values[r].unsqueeze(1)).square_().sum(-1)
            out[start : start + step] = (gap + self.zero[c] + self.zero[r].unsqueeze(1)) / 4
        return out.clamp_(0, 1)


@dataclass(frozen=True, eq=False)
class Neighbors:
    """What one pass finds. Positions are int64, -1 where there is none (then the distance is inf); nearest first."""

    indices: Tensor  # (N, k) the k nearest samples
    distances: Tensor  # (N, k) float32
    same: tuple[Tensor, Tensor] | None  # (N,) nearest sample of the same label and its distance
    other: tuple[Tensor, Tensor] | None  # (N,) nearest sample of another label and its distance
    searched_again: int  # rows that the screen could not certify


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    known = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known and supports is not None and bool(supports())


def multiplied(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b.T` in the precision of the rows, whatever matmul precision and autocast are set for training."""
    if a.dtype == torch.float32:
        return torch.from_numpy(a.numpy() @ b.numpy().T)  # numpy knows of neither
    with torch.autocast("cpu", enabled=False):
        return a @ b.T


def screen_of(x: UnitRows, dtype: torch.dtype | None = None) -> Screen:
    """The rows in the precision that is fastest on this processor, or in `dtype`."""
    return Screen.of(x, dtype or (torch.bfloat16 if fast_bfloat16() else torch.float32))


def nearest(
    x: UnitRows,
    k: int,
    labels: NDArray[np.int64] | None = None,
    *,
    block: int = 3072,
    screen: torch.dtype | None = None,
    tick: Tick | None = None,
) -> Neighbors:
    """The k nearest samples of every sample, and with labels the nearest of the same and of another label.

    Args:
        x: N unit rows.
        k: how many neighbours, at most N - 1 are returned.
        labels: (N,) class of every sample.
        block: rows of a block; the result does not depend on it.
        screen: precision of the first pass; bfloat16 where that is fast.
        tick: called with (pairs of blocks done, all of them).
    """
    n, k = len(x), min(k, len(x) - 1)
    # classes are numbered from 0: -1 marks mixed tiles
    codes = np.zeros(n, np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    classes = torch.from_numpy(codes)
    order = torch.argsort(classes, stable=True)  # tiles of one class can be passed over as a whole
    x, classes = (x[order], classes[order]) if labels is not None else (x, classes)
    lists = [_List(n, k, 2 * k, ANY)]
    if labels is not None:
        lists += [_List(n, 1, 8, SAME), _List(n, 1, 8, OTHER)]
    screened = screen_of(x, screen)
    tile_classes = _tile_classes(classes)
    for rows, columns, similarity in screened.upper_triangle(block, tick):
        _offer(lists, rows, columns, similarity, classes, tile_classes)
        if rows != columns:
            _offer(lists, columns, rows, similarity.T, classes, tile_classes)
    again = torch.zeros(n, dtype=torch.bool)
    for best in lists:
        again |= best.settle(x, screened.bound, classes)
    found = [best.in_order_of(order) for best in lists]
    first = [(indices[:, 0], distances[:, 0]) for indices, distances in found[1:]]
    same, other = first if first else (None, None)
    return Neighbors(*found[0], same=same, other=other, searched_again=int(again.sum()))


def search(
    x: UnitRows,
    rows: Tensor,
    k: int,
    groups: Tensor,
    kind: str = ANY,
    columns: Tensor | None = None,
    screen: Screen | None = None,
    budget: int = 1 << 22,
) -> tuple[Tensor, Tensor]:
    """The k nearest of a few `rows` (R,) among all N, or among the `columns` given.

    Products are taken in the precision of the `screen`, if there is one; rows that this leaves in doubt in float32, and
    what is still in doubt then in float64. `kind` restricts the answer to the "same" or to "other" `groups` (N,).
    Returns positions and distances, each (R, k), -1 and inf where there are fewer.
    """
    targets = _Targets(x, torch.arange(len(x)) if columns is None else columns, screen)
    precisions = [torch.float32, torch.float64]
    if screen is not None and screen.rows.dtype != torch.float32:
        precisions.insert(0, screen.rows.dtype)
    batches = torch.split(rows, max(1, budget // len(targets.index)))
    found = [_search(targets, batch, k, groups, kind, precisions) for batch in batches]
    return torch.cat([indices for indices, _ in found]), torch.cat([distances for _, distances in found])


def _search(
    targets: _Targets, rows: Tensor, k: int, groups: Tensor, kind: str, precisions: list[torch.dtype]
) -> tuple[Tensor, Tensor]:
    """One batch by products in the first precision; the rows that these leave in doubt, in the next."""
    x, columns, last = targets.x, targets.index, len(precisions) == 1
    similarity, slack = targets.similarities(rows, precisions[0])
    excluded = rows.unsqueeze(1) == columns
    if kind != ANY:
        alike = groups[rows].unsqueeze(1) == groups[columns]
        excluded |= alike if kind == OTHER else ~alike
    m = min(len(columns), k if last else max(2 * k, k + 8))
    values, places = similarity.masked_fill_(excluded, -torch.inf).topk(m, dim=1)
    indices, distances = _rescored(x, rows, torch.where(values > -torch.inf, columns[places], -1))
    indices = functional.pad(indices, (0, max(0, k - m)), value=-1)[:, :k]
    distances = functional.pad(distances, (0, max(0, k - m)), value=torch.inf)[:, :k]
    if not last and m < len(columns):
        kth = distances[:, -1]
        doubt = ((1 - 2 * kth < values[:, -1] + slack) & (kth > 0)).nonzero()[:, 0]
        if len(doubt):
            indices[doubt], distances[doubt] = _search(targets, rows[doubt], k, groups, kind, precisions[1:])
    return indices, distances


@dataclass(eq=False)
class _Targets:
    """The columns of a search; copies of their vectors are made when they are first needed."""

    x: UnitRows
    index: Tensor  # (C,)
    screen: Screen | None

    def similarities(self, rows: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor | float]:
        """Products of `rows` (R,) with the columns, (R, C), and what they may be too low by."""
        if precision == torch.float64:  # x.y - |y|^2 / 2 is ordered as -d also where the lengths are off 1 by rounding
            left = self.x.values[rows].double()
            parts = zip(torch.split(self.exact, 4096), torch.split(self.x.zero[self.index], 4096), strict=True)
            ordered = [left @ part.double().T - (part.double().square().sum(1) + zero) / 2 for part, zero in parts]
            return torch.cat(ordered, 1), 0.0
        if self.screen is not None and precision != torch.float32:
            return multiplied(self.screen.rows[rows], self.screened), self.screen.bound[rows]
        # what two float32 products may be off by
        return multiplied(self.x.values[rows], self.exact), (self.x.values.shape[1] + 8) * 2.0**-23

    @cached_property
    def exact(self) -> Tensor:
        """(C, D) float32."""
        return self.x.values if len(self.index) == len(self.x) else self.x.values[self.index]

    @cached_property
    def screened(self) -> Tensor:
        """(C, D) in the precision of the screen."""
        rows = self.screen.rows  # type: ignore[union-attr]  # asked for only where there is a screen
        return rows[: len(self.x)] if len(self.index) == len(self.x) else rows[self.index]


def _rescored(x: UnitRows, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (R, m) in order of true distance, equal ones by position; -1 is last and at infinity."""
    distances = x.distances(rows, candidates.clamp(min=0)).masked_fill_(candidates < 0, torch.inf)
    by_index = torch.argsort(candidates, dim=1)
    order = by_index.gather(1, torch.argsort(distances.gather(1, by_index), dim=1, stable=True))
    return candidates.gather(1, order), distances.gather(1, order)


@dataclass(frozen=True, eq=False)
class Screen:
    """Unit rows in the precision of the first pass, padded to whole tiles, and what its similarities may be off by."""

    rows: Tensor  # (N padded to a multiple of TILE, D)
    n: int
    bound: Tensor  # (N,) float32

    @classmethod
    def of(cls, x: UnitRows, dtype: torch.dtype) -> Screen:
        """Round N unit rows to `dtype` and bound what that, and a product of two, may take from a similarity."""
        n, dim = x.values.shape
        rows = torch.zeros((-(-n // TILE) * TILE, dim), dtype=dtype)
        rows[:n] = x.values
        error = torch.empty(n, dtype=torch.float32)
        for start in range(0, n, 4096):
            part = x.values[start : start + 4096]
            error[start : start + 4096] = (part - part.to(dtype).float()).norm(dim=1)
        worst = error.max()
        of_result = 2.0**-9 if dtype == torch.bfloat16 else 2.0**-24
        of_sum = (dim + 8) * 2.0**-24  # 8: of the length of the rows
        return cls(rows, n, error + worst * (1 + error) + of_result + of_sum)

    def upper_triangle(self, block: int, tick: Tick | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """Row slice, column slice and (rows, columns) similarities of every block on and above the diagonal."""
        step = max(TILE, block // TILE * TILE)
        starts = range(0, len(self.rows), step)
        done, total = 0, len(starts) * (len(starts) + 1) // 2
        for a in starts:
            for b in range(a, len(self.rows), step):
                rows, columns = slice(a, min(a + step, len(self.rows))), slice(b, min(b + step, len(self.rows)))
                similarity = multiplied(self.rows[rows], self.rows[columns])
                if a == b:
                    similarity.fill_diagonal_(-torch.inf)
                similarity[:, max(0, self.n - b) :] = -torch.inf  # the padding
                yield rows, columns, similarity
                done += 1
                if tick is not None:
                    tick(done, total)


def _offer(
    lists: list[_List], rows: slice, columns: slice, similarity: Tensor, classes: Tensor, tile_classes: Tensor
) -> None:
    """Show a block to every list: the maxima of its tiles first."""
    rows = slice(rows.start, min(rows.stop, len(classes)))
    similarity = similarity[: rows.stop - rows.start].contiguous()
    # the bits of floats >= 0 are ordered like integers, whose maxima are several times faster to find in bfloat16
    bits = torch.unflatten(similarity.view(_BITS[similarity.dtype]), 1, (-1, TILE))
    highest = bits.amax(-1).clamp_(min=0).view(similarity.dtype).float()
    tile_class = tile_classes[columns.start // TILE :][: highest.shape[1]]
    mixed = tile_class == -1
    alike = classes[rows].unsqueeze(1) == tile_class
    for best in lists:
        useless = {ANY: None, SAME: ~alike & ~mixed, OTHER: alike}[best.kind]
        seen = highest if useless is None else highest.masked_fill(useless, -torch.inf)
        best.offer(rows, similarity.view(-1, TILE), seen, columns.start, classes, mixed)


def _tile_classes(classes: Tensor) -> Tensor:
    """Class of every tile of the sorted samples, -1 for a tile of several."""
    tiles = -(-len(classes) // TILE)
    padded = torch.cat([classes, classes[-1:].expand(tiles * TILE - len(classes))]).view(tiles, TILE)
    return torch.where(padded[:, 0] == padded[:, -1], padded[:, 0], -1)


class _List:
    """The m best of every row so far, by the screen; after `settle` the k nearest, exact."""

    def __init__(self, n: int, k: int, m: int, kind: str) -> None:
        self.k, self.m, self.kind = k, min(m, n), kind
        self.values = torch.full((n, self.m), -torch.inf, dtype=torch.float32)
        self.indices = torch.full((n, self.m), -1, dtype=torch.int64)

    def offer(self, rows: slice, tiles: Tensor, highest: Tensor, first: int, classes: Tensor, mixed: Tensor) -> None:
        """Take what is better than a row's last entry. A tile is opened only if its maximum is."""
        floor = self.values[rows, -1]
        if self.m <= highest.shape[1]:  # m tiles have a maximum at least that high, hence so have m entries
            sure = highest if self.kind == ANY else highest.masked_fill(mixed, -torch.inf)
            floor = torch.maximum(floor, sure.topk(self.m, dim=1).values[:, -1])
        row, tile = ((highest >= floor.unsqueeze(1)) & (highest > -torch.inf)).nonzero(as_tuple=True)
        values = tiles.index_select(0, row * highest.shape[1] + tile).float()
        column = (first + tile * TILE).unsqueeze(1) + torch.arange(TILE)
        if self.kind != ANY:
            alike = classes[column.clamp(max=len(classes) - 1)] == classes[rows][row].unsqueeze(1)
            values.masked_fill_(alike if self.kind == OTHER else ~alike, -torch.inf)
        better = values.clamp(min=0) >= floor[row].unsqueeze(1)
        entry, place = (better & (values > -torch.inf)).nonzero(as_tuple=True)
        self._merge(rows, row[entry], column[entry, place], values[entry, place].clamp(min=0))

    def _merge(self, rows: slice, row: Tensor, column: Tensor, value: Tensor) -> None:
        """Merge entries (row within the slice, column, value) into the lists of `rows`."""
        if len(row) == 0:
            return
        order = torch.argsort(value, descending=True)
        order = order[torch.argsort(row[order], stable=True)]
        row, column, value = row[order], column[order], value[order]
        count = torch.bincount(row, minlength=rows.stop - rows.start)
        rank = torch.arange(len(row)) - (count.cumsum(0) - count)[row]
        row, column, value, rank = (t[rank < self.m] for t in (row, column, value, rank))
        width = int(rank.max()) + 1
        values = torch.cat([self.values[rows], torch.full((len(count), width), -torch.inf, dtype=torch.float32)], 1)
        indices = torch.cat([self.indices[rows], torch.full((len(count), width), -1)], 1)
        values[row, self.m + rank] = value
        indices[row, self.m + rank] = column
        self.values[rows], keep = values.topk(self.m, dim=1)
        self.indices[rows] = indices.gather(1, keep)

    def settle(self, x: UnitRows, bound: Tensor, classes: Tensor) -> Tensor:
        """Re-score, certify and search the uncertified again. Returns which rows those were, (N,) bool."""
        last = self.values[:, -1]  # -inf: nothing was left out
        every = torch.arange(len(x))
        self.indices, distances = _rescored(x, every, self.indices)
        self.indices, self.values = self.indices[:, : self.k].contiguous(), distances[:, : self.k].contiguous()
        kth = self.values[:, -1]
        open_ = (1 - 2 * kth < last + bound) & (kth > 0)  # nothing is nearer than a copy
        again = open_.nonzero()[:, 0]
        self.indices[again], self.values[again] = search(x, again, self.k, classes, self.kind)
        return open_

    def in_order_of(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and distances with samples numbered as before the sort."""
        indices, distances = torch.empty_like(self.indices), torch.empty_like(self.values)
        indices[order] = torch.where(self.indices >= 0, order[self.indices.clamp(min=0)], -1)
        distances[order] = self.values
        return indices, distances
