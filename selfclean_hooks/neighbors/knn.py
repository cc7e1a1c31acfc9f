"""Exact nearest neighbours by cosine distance in one blocked pass, in O(N) memory.

How a result is certified. Blocks of the upper triangle of `x @ x.T` are computed once, in bfloat16 where the
processor has it, and serve the rows and the columns of the block. The `m` best of every row by that screen, where
negative similarities count as 0, are re-scored in float32. What the list left out has a screened similarity of at
most its last entry, so the row is exact as soon as its k-th re-scored similarity is at least that entry plus the
screen's bound. The few rows that fail are searched again in float32, and those that float32 products cannot certify in
float64: float32 does not resolve distances below about 1e-6 (copies, or a collapsed representation).
What remains is the rounding of a distance, about 1e-6 of it, for any block size. The distances also tell the
intrinsic dimension of the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import (
    ANY,
    OTHER,
    SAME,
    TILE,
    make_screen,
    rank_by_distance,
    search_neighbors,
)
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.text import Tick

_BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


@dataclass(frozen=True, eq=False)
class NeighborLists:
    """The nearest neighbours of every sample, nearest first. Positions are int64, -1 (at distance inf) where none."""

    indices: Tensor  # (N, k) the k nearest samples
    distances: Tensor  # (N, k) float32
    same: tuple[Tensor, Tensor] | None  # (N,) nearest sample of the same label and its distance
    other: tuple[Tensor, Tensor] | None  # (N,) nearest sample of another label and its distance
    num_fallback_rows: int  # rows that the screen could not certify


def nearest_neighbors(
    x: UnitRows,
    k: int,
    labels: NDArray[np.int64] | None = None,
    *,
    block: int = 3072,
    screen: torch.dtype | None = None,
    tick: Tick | None = None,
) -> NeighborLists:
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
    order = torch.argsort(classes, stable=True)  # tiles of one class can be skipped as a whole
    x, classes = (x[order], classes[order]) if labels is not None else (x, classes)
    lists = [_CandidateList(n, k, 2 * k, ANY)]
    if labels is not None:
        lists += [_CandidateList(n, 1, 8, SAME), _CandidateList(n, 1, 8, OTHER)]
    screened = make_screen(x, screen)
    tile_classes = _tile_classes(classes)
    for rows, columns, similarity in screened.upper_triangle(block, tick):
        _offer_block(lists, rows, columns, similarity, classes, tile_classes)
        if rows != columns:
            _offer_block(lists, columns, rows, similarity.T, classes, tile_classes)
    again = torch.zeros(n, dtype=torch.bool)
    for best in lists:
        again |= best.certify(x, screened.bound, classes)
    found = [best.restore_order(order) for best in lists]
    first = [(indices[:, 0], distances[:, 0]) for indices, distances in found[1:]]
    same, other = first if first else (None, None)
    return NeighborLists(*found[0], same=same, other=other, num_fallback_rows=int(again.sum()))


def _offer_block(
    lists: list[_CandidateList], rows: slice, columns: slice, similarity: Tensor, classes: Tensor, tile_classes: Tensor
) -> None:
    """Offer a block to every list: the maxima of its tiles first."""
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


class _CandidateList:
    """The m best of every row so far, by the screen; after `certify` the k nearest, exact."""

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

    def certify(self, x: UnitRows, bound: Tensor, classes: Tensor) -> Tensor:
        """Re-score, certify and search the uncertified again. Returns which rows those were, (N,) bool."""
        last = self.values[:, -1]  # -inf: nothing was left out
        every = torch.arange(len(x))
        self.indices, distances = rank_by_distance(x, every, self.indices)
        self.indices, self.values = self.indices[:, : self.k].contiguous(), distances[:, : self.k].contiguous()
        kth = self.values[:, -1]
        uncertified = (1 - 2 * kth < last + bound) & (kth > 0)  # nothing is nearer than a copy
        again = uncertified.nonzero()[:, 0]
        self.indices[again], self.values[again] = search_neighbors(x, again, self.k, classes, self.kind)
        return uncertified

    def restore_order(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and distances with samples numbered as before the sort."""
        indices, distances = torch.empty_like(self.indices), torch.empty_like(self.values)
        indices[order] = torch.where(self.indices >= 0, order[self.indices.clamp(min=0)], -1)
        distances[order] = self.values
        return indices, distances


MAX_DIMENSION = 40.0  # with a steeper law small differences would count as proof
TINY = 1e-30


def intrinsic_dimension(distances: NDArray[np.floating], copies: IntArray | None = None) -> tuple[float, float]:
    """Intrinsic dimension of the samples, in [0.5, 40], and how heavy the tail of their steps is, 1 or more.

    In a homogeneous Poisson process the logarithms of successive distances times their rank are independent and
    exponential with mean 1 / m (E. Levina, P. Bickel, "Maximum likelihood estimation of intrinsic dimension",
    NeurIPS 2004). m is the median of the lists' estimates, each without its largest step, which may lead out of a group
    of copies. Data recorded in series (traffic signs, playing cards) has a heavy-tailed step distribution: large steps
    occur at every rank, and the mean excess over the 90% quantile is larger than m predicts.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        copies: (N,) number of leading neighbours to leave out; by default the first two, which may be copies.
    """
    n, k = distances.shape
    rank = np.arange(1, k)
    steps = np.diff(np.log(np.maximum(distances.astype(np.float64), TINY)), axis=1) / 2 * rank
    first = np.full(n, 2) if copies is None else copies + 1
    used = (rank > np.minimum(first, max(k - 4, 0))[:, None]) & (distances[:, :-1] > 0)
    count = used.sum(1)
    lists = count >= min(3, k - 1)
    if k < 3 or not lists.any():
        return 1.0, 1.0
    steps, used, count = np.where(used, steps, 0)[lists], used[lists], count[lists]
    harmonic = np.append(0.0, (1 / np.arange(1, k)).cumsum())
    # the largest of c exponential steps has a mean of 1 + 1/2 + ... + 1/c
    mean = (steps.sum(1) - steps.max(1)) / (count - harmonic[count])
    m = float(np.clip(1 / max(float(np.median(mean)), 1e-6), 0.5, MAX_DIMENSION))
    scaled = steps[used] * m
    excess = scaled - np.quantile(scaled, 0.9)
    return m, max(1.0, float(excess[excess > 0].mean()) if (excess > 0).any() else 1.0)
