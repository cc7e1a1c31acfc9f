"""Certified nearest neighbours of a few rows: in low precision first, and higher where that is inconclusive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.neighbors.screening.candidates import candidates
from selfclean_hooks.neighbors.screening.device import PROCESSOR, Device
from selfclean_hooks.neighbors.screening.screen import Extent, Screen, slices
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.shared_work import map_blocks

SAME, OTHER, ANY = "same", "other", "any"
CHUNK = 1024  # columns that are rounded at a time
NO_POSITION = 0xFFFFFFFF  # -1 in 32 bits


def search_neighbors(
    x: UnitRows,
    rows: Tensor,
    k: int,
    groups: Tensor,
    kind: str = ANY,
    columns: Tensor | None = None,
    screen: Screen | torch.dtype = torch.float32,
    above: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The k nearest of a few `rows` (R,) among all N, or among the `columns` given.

    Products are computed with the `screen` of all N, or in that precision around the mean of the rows. Rows that this
    cannot certify are searched in the next higher precision, last float64. `kind` restricts the answer to the "same" or
    to "other" `groups` (N,). Where no row is nearer to a column than `above`, distances are resolved from there on.
    Returns positions and distances, each (R, k), -1 and inf where there are fewer.
    """
    columns = torch.arange(len(x)) if columns is None else columns
    if not len(rows):
        return torch.empty((0, k), dtype=torch.int64), torch.empty((0, k), dtype=torch.float32)
    if kind == ANY:
        return _Search(x, columns, k, groups, kind, above, screen).nearest(rows)
    rows, back = _by_group(rows, groups)  # groups are slices of both, so that they are masked as slices
    indices, distances = _Search(x, _by_group(columns, groups)[0], k, groups, kind, above, screen).nearest(rows)
    return indices[back], distances[back]


def screened_neighbors(screen: Screen, rows: Tensor, m: int, groups: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of other groups (N,) what is nearest to some `rows` (R,) among some columns, as far as the `screen` resolves it.

    Returns positions and the least that their distances are, ascending, each (R, m), -1 and inf where there are fewer.
    What is not listed is no nearer than the last.
    """
    assert screen.rows is not None
    rows, back = _by_group(rows, groups)
    search = _Search(screen.rows, _by_group(columns, groups)[0], m, groups, OTHER, 0.0, screen)
    near, lowest = search.mapped(search.screened, rows)
    return near[back], lowest[back]


def _at(columns: Tensor, places: Tensor) -> Tensor:
    """What stands at some places, -1 at -1."""
    return torch.where(places >= 0, columns[places], -1) if len(columns) else places


def _by_group(index: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (R,) in order of their groups, and where each is then."""
    order = torch.argsort(groups[index], stable=True)
    return index[order], torch.argsort(order)


NEXT = {torch.bfloat16: torch.float32, torch.float32: torch.float64}


@dataclass(frozen=True, eq=False)
class _Search:
    """What is searched for: the k nearest of some kind among the columns."""

    x: UnitRows
    columns: Tensor  # (C,)
    k: int
    groups: Tensor  # (N,)
    kind: str
    above: float  # no column of that kind is nearer than this to any row
    screen: Screen | torch.dtype  # of all N, or the precision of one around the mean of the rows

    @property
    def device(self) -> Device:
        """That computes the products."""
        return self.screen.device if isinstance(self.screen, Screen) else PROCESSOR

    def mapped(self, work: Callable[[Tensor], tuple[Tensor, Tensor]], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Two tensors that work makes of rows (R,), in blocks."""
        height, _ = self.device.block(len(rows), len(self.columns))
        first, second = zip(*map_blocks(work, torch.split(rows, height)), strict=True)
        return torch.cat(first), torch.cat(second)

    def nearest(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,), see `search_neighbors`."""
        return self.mapped(self.certified, rows)

    def certified(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of a block of rows."""
        if isinstance(self.screen, torch.dtype):
            few = len(self.columns) <= self.candidate_count(self.screen)
            return self.ranked(rows) if few else self.around_mean(rows, self.screen)
        return self.among(rows, self.screen[rows], self.blocks(len(rows)))

    def candidate_count(self, precision: torch.dtype) -> int:
        """How many candidates a row has that are ranked by their true distances."""
        return self.k if precision not in NEXT else max(2 * self.k, self.k + 8)

    def ranked(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) among so few columns that all of them are candidates."""
        left_out = rows.unsqueeze(1) == self.columns
        if self.kind != ANY:  # else there need be no groups
            same = self.groups[rows].unsqueeze(1) == self.groups[self.columns]
            left_out = same if self.kind == OTHER else left_out | ~same
        return self.padded(*rank_by_distance(self.x, rows, torch.where(left_out, -1, self.columns)))

    def padded(self, indices: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
        """The first k of each row (R, m), -1 and inf where m is less."""
        short = (0, max(0, self.k - indices.shape[1]))
        indices = functional.pad(indices, short, value=-1)[:, : self.k]
        return indices, functional.pad(distances, short, value=torch.inf)[:, : self.k]

    def screened(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the screen has as nearest to a block of rows, see `screened_neighbors`."""
        assert isinstance(self.screen, Screen)
        own = self.screen[rows]
        values, places, extent = self.candidates(rows, own, self.blocks(len(rows)), self.k)
        return _at(self.columns, places), own.lowest_true(values, extent)

    def blocks(self, height: int) -> Iterator[tuple[slice, Screen]]:
        """The columns in blocks of the screen, for so many rows."""
        width = self.device.block(height, len(self.columns))[1]
        return ((part, self.others[part]) for part in slices(len(self.columns), width))

    @cached_property
    def others(self) -> Screen:
        """The columns of the screen."""
        assert isinstance(self.screen, Screen)
        return self.screen[self.columns]

    def around_mean(self, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) by products in some precision around their mean, on the processor."""
        own = Screen.of(self.x[rows], dtype, self.x.values[rows].mean(0, dtype=torch.float64).float())
        parts = slices(len(self.columns), CHUNK)
        blocks = ((part, Screen.of(self.x[self.columns[part]], dtype, own.centre)) for part in parts)
        return self.among(rows, own, blocks)

    def among(self, rows: Tensor, own: Screen, others: Iterable[tuple[slice, Screen]]) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) among columns in blocks; again where screened distances cannot certify them."""
        precision, count = own.columns.dtype, len(self.columns)
        m = min(count, self.candidate_count(precision))
        values, places, extent = self.candidates(rows, own, others, m)
        indices, distances = self.padded(*rank_by_distance(self.x, rows, _at(self.columns, places)))
        if precision in NEXT and m < count:
            doubt = (~own.certifies(distances[:, -1], values[:, -1], extent, self.above)).nonzero()[:, 0]
            if len(doubt):
                indices[doubt], distances[doubt] = self.around_mean(rows[doubt], NEXT[precision])
        return indices, distances

    def candidates(
        self, rows: Tensor, own: Screen, others: Iterable[tuple[slice, Screen]], m: int
    ) -> tuple[Tensor, Tensor, Extent]:
        """The m lowest screened distances (R, m) of that kind, and which of the columns they are to, -1: none."""
        best, extent = candidates(len(rows), m, own), Extent(0.0, 0.0, 0.0)
        for part, block in others:
            screened, columns = own.distances(block, self.above), self.columns[part]
            if self.kind != ANY:
                mask_kind(screened, self.kind, self.groups[rows], self.groups[columns])
            if self.kind != OTHER:
                screened.masked_fill_((rows.unsqueeze(1) == columns).to(screened.device), torch.inf)
            best.take(screened, part.start, more=part.start > 0)
            extent = extent.joined(block.extent)
        return *best.on_processor(), extent


def mask_kind(distances: Tensor, kind: str, of_rows: Tensor, of_columns: Tensor) -> None:
    """Inf for columns that are not of a kind: of the same group as the row, or of another; both are in their order."""
    values, count = torch.unique_consecutive(of_rows, return_counts=True)
    ends = torch.stack([count.cumsum(0), *(torch.searchsorted(of_columns, values, right=r) for r in (False, True))], 1)
    start = 0
    for stop, first, end in ends.tolist():
        if kind == OTHER:
            distances[start:stop, first:end] = torch.inf
        else:
            distances[start:stop, :first] = torch.inf
            distances[start:stop, end:] = torch.inf
        start = stop


def rank_by_distance(x: UnitRows, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (R, m) in order of true distance, equal ones by position; -1 is last and at infinity."""
    return order_by_distance(
        candidates, x.distances(rows, candidates.clamp(min=0)).masked_fill_(candidates < 0, torch.inf)
    )


def order_by_distance(candidates: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (R, m) in order of their distances, equal ones by position; -1, which are at infinity, are last.

    The bits of floats >= 0 are ordered like integers: with the position behind them one sort does for both.
    """
    bits = distances.contiguous().numpy().view(np.int32).astype(np.int64)
    packed = np.sort(bits << 32 | candidates.numpy() & NO_POSITION, axis=1)
    found = packed & NO_POSITION
    found[found == NO_POSITION] = -1
    return torch.from_numpy(found), torch.from_numpy((packed >> 32).astype(np.int32).view(np.float32))
