"""Distances in the precision of a fast product, what they may be off by, and the lowest of each row.

Rows are rounded around a centre: with `y = (x - centre) / sqrt(2)` the distance of two of them is
`d(i, j) = q_i + q_j - y_i . y_j`, `q = |y|^2 / 2` (and a quarter more for a zero row). Six further columns put the `q`
into the product, each as three numbers of the precision, so that one product gives distances and its result is rounded
in proportion to them, not to 1. What the rounding of the rows changes is in proportion to their lengths from the
centre: near a centre amid the rows short distances are resolved as well as long ones.

Products run on the device in force, with the columns there or, where they do not fit, sent in blocks. The bounds are
computed by the processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from selfclean_hooks.neighbors.device import PROCESSOR, UNIT, Device, device
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.shared_work import SentOnce

PARTS = 3  # numbers that hold a q: three of bfloat16 have the 24 bits of a float32


@dataclass(frozen=True)
class Extent:
    """What the rows of a screen reach: the longest, the most that rounding moved one as a share of it, and `zero`."""

    longest: float
    share: float
    zero: float

    def joined(self, other: Extent) -> Extent:
        """That of the rows of both."""
        return Extent(max(self.longest, other.longest), max(self.share, other.share), max(self.zero, other.zero))


@dataclass(frozen=True, eq=False)
class Screen(SentOnce):
    """N rows in some precision around a centre. Screens of the same centre and precision can be compared."""

    columns: Tensor  # (N, D + 6): minus y, the parts of q, ones; on the device, or on the processor
    length: Tensor  # (N,) float32: of y
    moved: Tensor  # (N,) float32: how far rounding moved y
    zero: Tensor  # (N,) float32: 1/4 where a row had no length, else 0
    centre: Tensor  # (D,) float32
    device: Device
    rows: UnitRows | None = None  # all of them, where it is of their mean

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes it again, for its own device."""
        assert self.rows is not None
        return make_screen, (self.rows, self.columns.dtype)

    @classmethod
    def of(
        cls, x: UnitRows, dtype: torch.dtype, centre: Tensor, where: Device = PROCESSOR, chunk: int = 4096
    ) -> Screen:
        """Round N rows to `dtype` around a `centre` (D,), for products on a device."""
        n, dim = x.values.shape
        columns = where.empty(n, dim + 2 * PARTS, dtype)
        length, moved = (torch.empty(n, dtype=torch.float32) for _ in range(2))
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        for start in range(0, n, chunk):
            here = slice(start, start + chunk)
            y = (centre.to(exact) - x.values[here].to(exact)).mul_(0.5**0.5)
            rounded = y.to(dtype)
            block = torch.ones(len(y), dim + 2 * PARTS, dtype=dtype)
            block[:, :dim] = rounded
            squares = torch.linalg.vector_norm(y, dim=1, dtype=torch.float64).square_()
            length[here] = squares.sqrt().float()
            moved[here] = torch.linalg.vector_norm(y.sub_(rounded), dim=1)
            rest = squares / 2 + x.zero[here].double() / 4
            for part in range(PARTS):
                block[:, dim + part] = rest.to(dtype)
                rest -= block[:, dim + part].double()
            columns[here] = block
        return cls(columns, length, moved.add_(length, alpha=2.0**-22), x.zero / 4, centre, where)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, index: Tensor | slice) -> Screen:
        length, moved, zero = self.length[index], self.moved[index], self.zero[index]
        return Screen(self.columns[index], length, moved, zero, self.centre, self.device)

    def distances(self, others: Screen, above: float = 0.0) -> Tensor:
        """(N, M) to all M `others`, less `above`; of a pair as far apart as that, or farther, it is not negative.

        They are on the device.
        """
        dim, own = self.columns.shape[1] - 2 * PARTS, self.columns.to(self.device.kind)
        left = torch.ones_like(own)
        torch.neg(own[:, :dim], out=left[:, :dim])
        left[:, dim + PARTS :] = own[:, dim : dim + PARTS]
        if above:
            rest = own[:, dim : dim + PARTS].cpu().double().sum(1) - above
            for part in range(PARTS):
                rounded = rest.to(left.dtype)
                left[:, dim + PARTS + part] = rounded.to(left.device)
                rest -= rounded.double()
        return matrix_product(left, others.columns.to(self.device.kind))

    @cached_property
    def extent(self) -> Extent:
        """How far the rows reach."""
        if not len(self):
            return Extent(0.0, 0.0, 0.0)
        share = self.moved / self.length.clamp(min=1e-30)
        return Extent(*(float(part.max()) for part in (self.length, share, self.zero)))

    def certifies(self, kth: Tensor, last: Tensor, others: Extent, above: float = 0.0) -> Tensor:
        """Whether none of the columns left out is nearer than the k-th distance known, (N,).

        Args:
            kth: (N,) true distances.
            last: (N,) the lowest screened distance, less `above`, of those left out; inf: none was.
            others: the columns of the search.
            above: as given to `distances`.
        """
        return (self.highest_screened(kth, others, above) <= self._unrounded(last) + above) | (kth == 0)

    def highest_screened(self, distance: Tensor, others: Extent, above: float = 0.0) -> Tensor:
        """(N,) what a pair of a true distance (N,) may be screened as at most, before the result is rounded."""
        distance = distance.double()
        reach = (self.length.double() + (2 * distance).sqrt()).clamp(max=others.longest)
        return distance + self._error(reach, others, above)

    def highest_rounded(self, distance: Tensor, others: Extent) -> Tensor:
        """(N,) what a pair of a true distance (N,) may be screened as at most."""
        return self.highest_screened(distance, others) * (1 + 1.01 * UNIT[self.columns.dtype])

    def lowest_true(self, screened: Tensor, others: Extent) -> Tensor:
        """(N, m) distances that the pairs of screened distances (N, m) have at least, float32."""
        error = self._error(torch.full_like(self.length, others.longest, dtype=torch.float64), others, 0.0)
        return (self._unrounded(screened) - error.unsqueeze(1)).clamp_(min=0).float()

    def _unrounded(self, screened: Tensor) -> Tensor:
        """What was rounded to these, at least."""
        screened = screened.double()
        return screened * (1 - 1.01 * UNIT[self.columns.dtype] * screened.sign())

    def _error(self, reach: Tensor, others: Extent, above: float) -> Tensor:
        """(N,) how far a product may be off, with rows up to `reach` (N,) long: by rounding the rows, and as a sum.

        The other row of a pair is at most as long as the longest, and at most as this one and the distance between.
        """
        length, moved = self.length.double(), self.moved.double()
        of_rows = (moved + others.share * (length + moved)) * reach
        unit = UNIT[torch.float64] if self.columns.dtype == torch.float64 else self.device.rounding
        of_sum = (self.columns.shape[1] + 8) * unit * ((length + reach) ** 2 + self.zero + others.zero + above)
        return of_rows + of_sum


def make_screen(x: UnitRows, dtype: torch.dtype | None = None) -> Screen:
    """The rows around their mean, in the precision that is fastest on the device in force or in `dtype`."""
    where = device()
    return replace(Screen.of(x, dtype or where.precision(), x.values.mean(0), where), rows=x)


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


class Candidates:
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
        values, columns = smallest_per_row(screened, m)
        columns = torch.where(values < torch.inf, first + columns, -1)
        if more:
            values, keep = torch.cat([self.values[rows], values], 1).topk(m, dim=1, largest=False)
            columns = torch.cat([self.columns[rows], columns], 1).gather(1, keep)
        width = values.shape[1]
        self.values[rows, :width], self.columns[rows, :width] = values, columns

    def on_processor(self) -> tuple[Tensor, Tensor]:
        """Values and columns."""
        return self.values.cpu(), self.columns.cpu()


def slices(count: int, size: int) -> list[slice]:
    """Those of a size, the last one shorter, that make up so many rows or columns."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
