"""The lowest screened distances of each row, kept from block to block.

The lowest m of a row lie in groups of columns whose minimum is below the m-th lowest so far: minima are many times
faster to find than the lowest m. Where these are too many groups, as in the first block, the m-th lowest of the row is
found first. The bits of floats >= 0 are ordered like integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.screening.screen import Screen
from selfclean_hooks.utils.arrays import IntArray

Bits = NDArray[np.signedinteger[Any]]


def candidates(rows: int, m: int, screen: Screen) -> Candidates:
    """None yet of so many rows, for up to `m` columns each that a screen has as nearest."""
    if screen.is_packed:
        return PackedCandidates(rows, m, screen.columns.dtype)
    return DeviceCandidates(rows, m, screen)


def infinite_bits(shape: tuple[int, ...], precision: torch.dtype) -> Bits:
    """Integers that are the bits of inf."""
    return (
        torch.full(shape if isinstance(shape, tuple) else (shape,), torch.inf, dtype=precision)
        .view(BITS[precision])
        .numpy()
    )


SPAN, EVERY = 512, 32  # columns 0, 32, 64, ... of 512 are a group: the minima of all groups are found side by side
ROWS = 1024
NONE = np.iinfo(np.int64).max
FEW_HITS = 2  # a row: to sort more takes longer than to turn the array


class PackedCandidates:
    """Of some rows the columns of lowest screened distance so far, on the processor: (R, m) integers.

    Each is the bits of a distance, ordered as distances are, and then the column; in any order.
    """

    def __init__(self, rows: int, m: int, precision: torch.dtype) -> None:
        """None yet."""
        self.precision = precision
        self.packed = np.full((rows, m), NONE)
        self.limit = infinite_bits((rows,), precision)  # only lower distances count
        self.infinite = int(infinite_bits((1,), precision)[0])

    def take(self, screened: Tensor, first: int, rows: slice | IntArray = slice(None), *, more: bool = True) -> Bits:
        """Take the best from a block of distances (R, C) of some rows to the columns from `first` on.

        Returns the bits of the minimum of each row in each `SPAN` columns, (R, S).
        """
        index, bits = np.arange(len(self.limit))[rows], screened.view(BITS[self.precision])
        starts = range(0, max(1, len(index)), ROWS)  # few rows at a time: less memory is asked for, and given back
        return np.concatenate([self._take_rows(bits[at : at + ROWS], first, index[at : at + ROWS]) for at in starts])

    def _take_rows(self, bits: Tensor, first: int, index: IntArray) -> Bits:
        """The same of the rows at `index` (R,)."""
        whole = bits.shape[1] // SPAN * SPAN
        parts = ((0, bits[:, :whole]), (whole, bits[:, whole:]))
        minima = [self._take(part, first + start, index) for start, part in parts if part.numel()]
        return np.concatenate([infinite_bits((len(index), 0), self.precision), *minima], 1)

    def _take(self, bits: Tensor, first: int, index: IntArray) -> Bits:
        """Of columns whose number is a multiple of `SPAN`, or less than that."""
        size = SPAN // EVERY if bits.shape[1] >= SPAN else 1
        groups = _lowest(torch.unflatten(bits, 1, (-1, size, EVERY)), 2) if size > 1 else bits.unsqueeze(1)
        row, group, limit = self._may_hold(bits, groups.flatten(1).numpy(), self.limit[index])
        column = group if size == 1 else group // EVERY * SPAN + group % EVERY
        of_row, of_column = bits.stride()
        length = (bits.shape[0] - 1) * of_row + (bits.shape[1] - 1) * of_column + 1
        flat = bits.as_strided((length,), (1,), bits.storage_offset()).numpy()
        members, at = np.arange(0, size * EVERY, EVERY), row * of_row + column * of_column
        taken = np.empty((len(at), size), flat.dtype)
        for place in range(size):  # faster than with the places of all in one array
            taken[:, place] = flat[place * EVERY * of_column :].take(at)
        ordered = _ordered(taken)
        inside = np.flatnonzero(ordered < limit[row][:, None])
        hit, member = _divided(inside, size)
        packed = ordered.ravel()[inside].astype(np.int64) << 32 | (first + column[hit] + members[member])
        if len(packed):
            self._merge(index, row[hit], packed)
        return _lowest(groups, 2).numpy() if size > 1 else groups.amin(2).numpy()

    def _may_hold(self, bits: Tensor, lowest: Bits, limit: Bits) -> tuple[IntArray, IntArray, Bits]:
        """Rows and groups, of (R, G), that may hold one of the m lowest, m a row or so; (R,) what these are below."""
        m = self.packed.shape[1]
        hit = lowest < np.maximum(limit, 0)[:, None]  # bits below 0 are of lower distances, but not in order
        row, group = _by_row(hit)
        few = np.where(limit < self.infinite, m, m * lowest.shape[1] // bits.shape[1])  # of a row's first block: fewer
        many = np.flatnonzero(np.bincount(row, minlength=len(hit)) > few)
        many = many[np.count_nonzero(lowest[many] < 0, axis=1) < m]
        if len(many):
            mth = np.partition(bits.numpy()[many], m - 1, axis=1)[:, m - 1]
            limit[many] = np.where(mth < 0, limit[many], np.minimum(limit[many], mth + 1))
            hit[many] = lowest[many] < limit[many, None]
            row, group = _by_row(hit)
        return row, group, limit

    def _merge(self, index: IntArray, row: IntArray, packed: IntArray) -> None:
        """Into those of the rows at `index` (R,): of some of these, ascending, further candidates."""
        m, count = self.packed.shape[1], np.bincount(row, minlength=len(index))
        touched = np.flatnonzero(count)
        place = np.arange(len(row)) - (count.cumsum() - count)[row]
        wide = np.full((len(touched), m + int(count.max())), NONE)
        wide[:, :m] = self.packed[index[touched]]
        wide[((count > 0).cumsum() - 1)[row], m + place] = packed
        wide.partition(m - 1, axis=1)
        self.packed[index[touched]] = wide[:, :m]
        self.limit[index[touched]] = np.minimum(wide[:, m - 1] >> 32, self.infinite)

    def on_processor(self) -> tuple[Tensor, Tensor]:
        """Values (R, m), ascending, and columns, -1 for none."""
        return unpacked(self.packed, self.precision)


def unpacked(packed: IntArray, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values (R, m), ascending, and columns, -1 for none, of packed candidates (R, m) in any order."""
    packed, infinite = np.sort(packed, axis=1), infinite_bits((1,), precision)[0]
    bits = _ordered(np.minimum(packed >> 32, infinite).astype(infinite.dtype))
    columns = np.where(packed == NONE, -1, packed & 0xFFFFFFFF)
    return torch.from_numpy(bits).view(precision).float(), torch.from_numpy(columns)


def _divided(at: IntArray, by: int) -> tuple[IntArray, IntArray]:
    """Quotients and rests, twice as fast as by `divmod`."""
    quotient = at // by
    return quotient, at - quotient * by


def _lowest(values: Tensor, dim: int) -> Tensor:
    """The minimum along a dimension of 2, 4, 8, ...: by halves several times as fast as along it."""
    while values.shape[dim] > 1:
        values = torch.minimum(*values.chunk(2, dim))
    return values.squeeze(dim)


def _by_row(hit: NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Rows, ascending, and columns where it is true. Of the transpose of an array these are few, or it is turned."""
    if not hit.flags.c_contiguous and np.count_nonzero(hit) < FEW_HITS * len(hit):
        column, row = _divided(np.flatnonzero(hit.T), len(hit))
        order = np.argsort(row, kind="stable")
        return row[order], column[order]
    return _divided(np.flatnonzero(hit), hit.shape[1])


def _ordered(bits: Bits) -> Bits:
    """Bits of floats in the order of these, and back."""
    top = np.iinfo(bits.dtype)
    return np.asarray(bits ^ (bits >> (top.bits - 1) & top.max))


TILE = 32  # distances that are searched together, by their minimum
BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


def smallest_per_row(distances: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The m lowest of every row (R, C), or all: (R, m) float32 values, ascending, and columns.

    They lie in the m tiles of lowest minimum. The bits of floats >= 0 are ordered like integers, whose minima are
    several times faster to find; rows where as many as m are below 0 are sorted as a whole.
    """
    width = distances.shape[1]
    m, whole = min(m, width), width // TILE * TILE
    if whole <= m * TILE:
        return _as_float(distances).topk(m, dim=1, largest=False)
    tiles = torch.unflatten(distances[:, :whole], 1, (-1, TILE))
    lowest = torch.unflatten(distances.view(BITS[distances.dtype])[:, :whole], 1, (-1, TILE)).amin(-1)
    best = _as_float(lowest.view(distances.dtype)).topk(m, dim=1, largest=False).indices
    inside = tiles.gather(1, best.unsqueeze(-1).expand(-1, -1, TILE)).flatten(1)
    values, place = _as_float(torch.cat([inside, distances[:, whole:]], 1)).topk(m, dim=1, largest=False)
    inner = place.clamp(max=m * TILE - 1)
    columns = best.gather(1, inner // TILE) * TILE + inner % TILE
    columns = torch.where(place < m * TILE, columns, place - m * TILE + whole)
    below = (values[:, -1] < 0).nonzero()[:, 0]
    if len(below):
        values[below], columns[below] = _as_float(distances[below]).topk(m, dim=1, largest=False)
    return values, columns


def _as_float(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


class DeviceCandidates:
    """Of some rows the columns of lowest screened distance so far: (R, m) values, ascending, and columns, -1 for none.

    They are on the device that screens.
    """

    def __init__(self, rows: int, m: int, screen: Screen) -> None:
        """None yet."""
        precision = torch.float64 if screen.columns.dtype == torch.float64 else torch.float32
        self.values = torch.full((rows, m), torch.inf, dtype=precision, device=screen.device.kind)
        self.columns = torch.full((rows, m), -1, dtype=torch.int64, device=screen.device.kind)

    def take(self, screened: Tensor, first: int, rows: slice = slice(None), *, more: bool) -> None:
        """Take the best from a block of distances (R, C) of some rows to the columns from `first` on.

        `more`: in addition to those of earlier blocks.
        """
        m = self.values.shape[1]
        values, columns = smallest_per_row(screened.contiguous(), m)
        columns = torch.where(values < torch.inf, first + columns, -1)
        if more:
            values, keep = torch.cat([self.values[rows], values], 1).topk(m, dim=1, largest=False)
            columns = torch.cat([self.columns[rows], columns], 1).gather(1, keep)
        width = values.shape[1]
        self.values[rows, :width], self.columns[rows, :width] = values, columns

    def on_processor(self) -> tuple[Tensor, Tensor]:
        """Values and columns."""
        return self.values.cpu(), self.columns.cpu()


Candidates = PackedCandidates | DeviceCandidates
