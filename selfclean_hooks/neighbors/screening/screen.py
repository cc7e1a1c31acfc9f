"""Distances in the precision of a fast product, and what they may be off by.

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

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.screening.device import PROCESSOR, UNIT, Device, device
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
    order: Tensor | None = None  # (N,) in which they stand here

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes it again, for its own device."""
        assert self.rows is not None
        return make_screen, (self.rows, self.columns.dtype, self.order)

    @classmethod
    def of(
        cls,
        x: UnitRows,
        dtype: torch.dtype,
        centre: Tensor,
        where: Device = PROCESSOR,
        order: Tensor | None = None,
        chunk: int = 512,
    ) -> Screen:
        """Round N rows, in some order (N,), to `dtype` around a `centre` (D,), for products on a device."""
        n, dim = x.values.shape
        columns = where.empty(n, dim + 2 * PARTS, dtype)
        length, moved = (torch.empty(n, dtype=torch.float32) for _ in range(2))
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        for start in range(0, n, chunk):
            here = slice(start, start + chunk)
            some: slice | Tensor = here if order is None else order[here]
            y = (centre.to(exact) - x.values[some].to(exact)).mul_(0.5**0.5)
            rounded = y.to(dtype)
            block = torch.ones(len(y), dim + 2 * PARTS, dtype=dtype)
            block[:, :dim] = rounded
            # a fifth of the time that torch takes for sums in double precision
            squares = torch.from_numpy(np.einsum("ij,ij->i", y.numpy(), y.numpy(), dtype=np.float64))
            length[here] = squares.sqrt().float()
            moved[here] = 0.0 if rounded is y else torch.linalg.vector_norm(y.sub_(rounded), dim=1)
            rest = squares / 2 + x.zero[some].double() / 4
            for part in range(PARTS):
                block[:, dim + part] = rest.to(dtype)
                rest -= block[:, dim + part].double()
            columns[here] = block
        zero = (x.zero if order is None else x.zero[order]) / 4
        return cls(columns, length, moved.add_(length, alpha=2.0**-22), zero, centre, where)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def is_packed(self) -> bool:
        """Whether a distance of it and a position have room in one integer of the processor."""
        return self.device.kind.type == "cpu" and self.columns.dtype != torch.float64

    def __getitem__(self, index: Tensor | slice) -> Screen:
        length, moved, zero = self.length[index], self.moved[index], self.zero[index]
        return Screen(self.columns[index], length, moved, zero, self.centre, self.device)

    def positions(self, at: Tensor) -> Tensor:
        """Which of the rows stand at some places, -1 at -1."""
        return at if self.order is None else torch.where(at >= 0, self.order[at], -1)

    def distances(self, others: Screen, above: float = 0.0) -> Tensor:
        """(N, M) to all M `others`, less `above`; of a pair as far apart as that, or farther, it is not negative.

        They are on the device.
        """
        left = self._left if above == 0 else self.left_factor(above)
        return matrix_product(left, others.columns.to(self.device.kind))

    @cached_property
    def _left(self) -> Tensor:
        return self.left_factor()

    def left_factor(self, above: float = 0.0, out: Tensor | None = None) -> Tensor:
        """The rows as the left factor of a product that gives distances less `above`, in `out` if that is given."""
        dim, own = self.columns.shape[1] - 2 * PARTS, self.columns.to(self.device.kind)
        left = torch.empty_like(own) if out is None else out
        torch.neg(own[:, :dim], out=left[:, :dim])
        left[:, dim : dim + PARTS] = 1
        left[:, dim + PARTS :] = own[:, dim : dim + PARTS]
        if above:
            rest = own[:, dim : dim + PARTS].cpu().double().sum(1) - above
            for part in range(PARTS):
                rounded = rest.to(left.dtype)
                left[:, dim + PARTS + part] = rounded.to(left.device)
                rest -= rounded.double()
        return left

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
        return (self.highest_screened(kth, others, above) <= self.unrounded(last) + above) | (kth == 0)

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
        return (self.unrounded(screened) - self.largest_error(others).unsqueeze(1)).clamp_(min=0).float()

    def largest_error(self, others: Extent) -> Tensor:
        """(N,) how far a product of each row with any other may be off, before it is rounded."""
        return self._error(torch.full_like(self.length, others.longest, dtype=torch.float64), others, 0.0)

    def unrounded(self, screened: Tensor) -> Tensor:
        """What was rounded to these screened distances, at least, float64."""
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


def make_screen(x: UnitRows, dtype: torch.dtype | None = None, order: Tensor | None = None) -> Screen:
    """The rows around their mean, in the precision that is fastest on the device in force or in `dtype`.

    They stand in some `order` (N,), if one is given.
    """
    where = device()
    screen = Screen.of(x, dtype or where.precision(), x.values.mean(0), where, order)
    return replace(screen, rows=x, order=order)


def slices(count: int, size: int) -> list[slice]:
    """Those of a size, the last one shorter, that make up so many rows or columns."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
