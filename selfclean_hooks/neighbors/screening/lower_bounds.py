"""How near the rows of a range may be to a row, at least: kept of every row and range while all pairs are screened."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.screening.candidates import SPAN, Bits, PackedCandidates, infinite_bits
from selfclean_hooks.neighbors.screening.screen import Screen, slices
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, IntArray

MOST_RANGES = 128
MOST_ROWS = 4096  # that are searched at a time


class RangeMinima:
    """The lowest screened distance of each of N rows to those in each range of as many."""

    def __init__(self, n: int, tile: int, precision: torch.dtype) -> None:
        """None yet; rows and columns come in tiles."""
        self.precision, self.width, self.is_fine = precision, tile, tile % SPAN == 0
        if self.is_fine:
            self.width = SPAN
            while n > MOST_RANGES * self.width:
                self.width *= 2
        self.bits = infinite_bits((n, -(-n // self.width)), precision)

    def put(self, rows: slice, first: int, minima: Bits) -> None:
        """Minima (R, S) of some rows, each of `SPAN` columns from the first on."""
        if not self.is_fine:
            minima = minima.min(1, keepdims=True)
        for place, part in enumerate(minima.T):
            lowest = self.bits[rows, (first + place * SPAN) // self.width]
            np.minimum(lowest, part, out=lowest)

    def bounds(self, screen: Screen) -> LowerBounds:
        """When all are put."""
        values = torch.from_numpy(self.bits).clamp_(min=0).view(self.precision)  # bits below 0: of a distance below 0
        return LowerBounds(screen, values, self.width, _places(screen))


def _places(screen: Screen) -> IntArray:
    order = torch.arange(len(screen)) if screen.order is None else screen.order
    return torch.empty_like(order).index_copy_(0, order, torch.arange(len(order))).numpy()


@dataclass(frozen=True, eq=False)
class BetweenRanges:
    """How near any row of a range may be to a range, each (G, G): of all groups, and of all but the nearest one.

    A row of group A is no nearer to the rows of others in a range than these are to the range that it stands in. That
    is a bound where they stand among rows of A, of which its own minimum in that range is.
    """

    first: Float32Array
    of: IntArray  # the group of which the first is
    second: Float32Array

    def others(self, ranges: IntArray, group: IntArray) -> Float32Array:
        """How near samples of some groups, in some ranges (R,), may be to those of other groups in each, (R, G)."""
        is_own = self.of[:, ranges] == group
        return np.asarray(np.where(is_own, self.second[:, ranges], self.first[:, ranges]).T)


@dataclass(frozen=True, eq=False)
class LowerBounds:
    """Of N samples, where they stand in the order of a screen, and how near those that stand in a range may be."""

    screen: Screen  # U rows
    minima: Tensor  # (U, G) the lowest screened distance to rows of each range, but itself
    width: int  # rows of a range
    place: IntArray  # (N,) of each sample

    def at(self, of: Tensor) -> LowerBounds:
        """Those of other samples, each of which is one (M,) of these."""
        return LowerBounds(self.screen, self.minima, self.width, self.place[of.numpy()])

    @cached_property
    def _sample_at(self) -> IntArray:
        """(U,) the sample at each place, the last one of copies; -1 where there is none."""
        sample = np.full(len(self.screen), -1)
        sample[self.place] = np.arange(len(self.place))
        return sample

    @cached_property
    def _error(self) -> Tensor:
        return self.screen.largest_error(self.screen.extent).unsqueeze(1)

    def _lowest(self, place: Tensor | slice) -> Float32Array:
        """How near the rows of each range may be to those at some places, (R, G)."""
        lower = self.screen.unrounded(self.minima[place]) - self._error[place]
        return lower.clamp_(min=0).float().numpy()

    def between(self, group: IntArray) -> BetweenRanges:
        """How near ranges may be to each other, in samples of different groups (N,)."""
        count = self.minima.shape[1]
        first, second = (np.full((count, count), np.inf, np.float32) for _ in range(2))
        of = np.full((count, count), -1)
        for at, part in enumerate(slices(len(self.screen), self.width)):
            samples = self._sample_at[part]
            lower, codes = self._lowest(part)[samples >= 0], group[samples[samples >= 0]]
            if len(codes):
                of[at] = codes[lower.argmin(0)]
                first[at] = lower.min(0)
                second[at] = np.where(codes[:, None] == of[at], np.float32(np.inf), lower).min(0)
        return BetweenRanges(first, of, second)

    def outside(self, samples: IntArray, group: IntArray, between: BetweenRanges) -> tuple[Float32Array, BoolArray]:
        """How near to samples (R,) those of other groups (N,) may be in each range, and which ranges hold only these.

        Both (R, G); inf where all in a range are of the sample's group.
        """
        place = self.place[samples]
        lower = np.maximum(self._lowest(torch.from_numpy(place)), between.others(place // self.width, group[samples]))
        there = np.flatnonzero(self._sample_at >= 0)
        codes, own = np.unique(group[samples], return_inverse=True)
        number = np.full(int(group.max()) + 1, len(codes))
        number[codes] = np.arange(len(codes))
        ranges = lower.shape[1]
        cell = number[group[self._sample_at[there]]] * ranges + there // self.width
        held = np.bincount(cell, minlength=(len(codes) + 1) * ranges).reshape(-1, ranges)
        lower[(held == held.sum(0))[own]] = np.inf
        return lower, (held == 0)[own]

    def search(
        self, samples: IntArray, ranges: IntArray, group: IntArray, m: int
    ) -> tuple[IntArray, IntArray, Float32Array]:
        """Of samples (P,) what is nearest in a range each (P,) among other groups (N,), as far as screened.

        Returns the samples, each once (R,), the nearest in all its ranges (R, m) and the least that their distances
        are, ascending; -1 and inf where there are fewer.
        """
        some, at = np.unique(samples, return_inverse=True)
        best = PackedCandidates(len(some), m, self.screen.columns.dtype)
        order = np.argsort(ranges, kind="stable")
        for pairs in np.split(order, np.flatnonzero(np.diff(ranges[order])) + 1):
            columns = slice(int(ranges[pairs[0]]) * self.width, (int(ranges[pairs[0]]) + 1) * self.width)
            others = self._sample_at[columns]
            for rows in np.array_split(at[pairs], -(-len(pairs) // MOST_ROWS)):
                screened = self.screen[torch.from_numpy(self.place[some[rows]])].distances(self.screen[columns])
                hidden = (others < 0) | (group[others] == group[some[rows]][:, None])
                best.take(screened.masked_fill_(torch.from_numpy(hidden), torch.inf), columns.start, rows)
        values, near = (part.numpy() for part in best.on_processor())
        place = torch.from_numpy(self.place[some])
        lower = (self.screen.unrounded(torch.from_numpy(values)) - self._error[place]).clamp_(min=0).float()
        return some, np.where(near >= 0, self._sample_at[near], -1), lower.numpy()
