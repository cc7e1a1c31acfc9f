"""Certified nearest neighbours of a few rows: in low precision first, and higher where that is inconclusive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.neighbors.device import PROCESSOR
from selfclean_hooks.neighbors.screen import Extent, Screen
from selfclean_hooks.neighbors.unit_vectors import UnitRows

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


SAME, OTHER, ANY = "same", "other", "any"
CHUNK = 4096  # columns that are rounded at a time


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
    if kind == ANY:
        return _Search(x, columns, k, groups, kind, above).of(rows, screen)
    rows, back = _by_group(rows, groups)  # groups are slices of both, so that they are masked as slices
    indices, distances = _Search(x, _by_group(columns, groups)[0], k, groups, kind, above).of(rows, screen)
    return indices[back], distances[back]


def screened_neighbors(screen: Screen, rows: Tensor, m: int, groups: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of other groups (N,) what is nearest to some `rows` (R,) among some columns, as far as the `screen` resolves it.

    Returns positions and the least that their distances are, ascending, each (R, m), -1 and inf where there are fewer.
    What is not listed is no nearer than the last.
    """
    rows, back = _by_group(rows, groups)
    columns = _by_group(columns, groups)[0]
    others, found = screen[columns], []
    height, width = screen.device.block(len(rows), len(columns))
    for batch in torch.split(rows, height):
        own, best = screen[batch], Candidates(len(batch), m, screen)
        for part in slices(len(columns), width):
            screened = own.distances(others[part])
            _mask_groups(screened, groups[batch], groups[columns[part]], OTHER)
            best.take(screened, part.start, more=part.start > 0)
        values, places = best.on_processor()
        found.append((_at(columns, places), own.lowest_true(values, others.extent)))
    near, lowest = (torch.cat(part) for part in zip(*found, strict=True))
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

    def of(self, rows: Tensor, screen: Screen | torch.dtype) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,), see `search_neighbors`."""
        if isinstance(screen, torch.dtype):
            height, _ = PROCESSOR.block(len(rows), len(self.columns))
            found = [self.around_mean(batch, screen) for batch in torch.split(rows, height)]
        else:
            height, width = screen.device.block(len(rows), len(self.columns))
            others = screen[self.columns]
            blocks = [(part, others[part]) for part in slices(len(self.columns), width)]
            found = [self.nearest(batch, screen[batch], blocks) for batch in torch.split(rows, height)]
        indices, distances = (torch.cat(part) for part in zip(*found, strict=True))
        return indices, distances

    def around_mean(self, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) by products in some precision around their mean, on the processor."""
        own = Screen.of(self.x[rows], dtype, self.x.values[rows].mean(0, dtype=torch.float64).float())
        parts = slices(len(self.columns), CHUNK)
        blocks = ((part, Screen.of(self.x[self.columns[part]], dtype, own.centre)) for part in parts)
        return self.nearest(rows, own, blocks)

    def nearest(self, rows: Tensor, own: Screen, others: Iterable[tuple[slice, Screen]]) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) among columns in blocks; again where screened distances cannot certify them."""
        precision, count = own.columns.dtype, len(self.columns)
        exact = precision not in NEXT
        m = min(count, self.k if exact else max(2 * self.k, self.k + 8))
        best, extent = Candidates(len(rows), m, own), Extent(0.0, 0.0, 0.0)
        for part, block in others:
            screened, columns = own.distances(block, self.above), self.columns[part]
            if self.kind != ANY:
                _mask_groups(screened, self.groups[rows], self.groups[columns], self.kind)
            if self.kind != OTHER:
                screened.masked_fill_((rows.unsqueeze(1) == columns).to(screened.device), torch.inf)
            best.take(screened, part.start, more=part.start > 0)
            extent = extent.joined(block.extent)
        values, places = best.on_processor()
        indices, distances = rank_by_distance(self.x, rows, _at(self.columns, places))
        indices = functional.pad(indices, (0, max(0, self.k - m)), value=-1)[:, : self.k]
        distances = functional.pad(distances, (0, max(0, self.k - m)), value=torch.inf)[:, : self.k]
        if not exact and m < count:
            doubt = (~own.certifies(distances[:, -1], values[:, -1], extent, self.above)).nonzero()[:, 0]
            if len(doubt):
                indices[doubt], distances[doubt] = self.around_mean(rows[doubt], NEXT[precision])
        return indices, distances


def _mask_groups(distances: Tensor, of_rows: Tensor, of_columns: Tensor, kind: str) -> None:
    """Inf for the columns of the same group as the row, or of another one; both in order of their groups."""
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
    """Candidates (R, m) in order of their distances, equal ones by position."""
    by_index = torch.argsort(candidates, dim=1)
    order = by_index.gather(1, torch.argsort(distances.gather(1, by_index), dim=1, stable=True))
    return candidates.gather(1, order), distances.gather(1, order)


def restore_order(indices: Tensor, distances: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor]:
    """Lists with samples numbered as before the sort."""
    if order is None:
        return indices, distances
    back = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)))
    return torch.where(indices >= 0, order[indices.clamp(min=0)], -1)[back], distances[back]
