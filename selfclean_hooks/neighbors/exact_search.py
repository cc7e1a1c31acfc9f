"""Certified nearest neighbours of a few rows: in low precision first, and higher where that is inconclusive."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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


SAME, OTHER, ANY = "same", "other", "any"
BUDGET = 1 << 24  # distances that are held at a time
CHUNK = 4096  # columns that are rounded at a time


def search_neighbors(
    x: UnitRows,
    rows: Tensor,
    k: int,
    groups: Tensor,
    kind: str = ANY,
    columns: Tensor | None = None,
    screen: Screen | torch.dtype = torch.float32,
    budget: int = BUDGET,
    above: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The k nearest of a few `rows` (R,) among all N, or among the `columns` given.

    Products are computed with the `screen` of all N, or in that precision around the mean of the rows. Rows that this
    cannot certify are searched in the next higher precision, last float64. `kind` restricts the answer to the "same" or
    to "other" `groups` (N,). Where no row is nearer to a column than `above`, distances are resolved from there on.
    Returns positions and distances, each (R, k), -1 and inf where there are fewer.
    """
    columns = torch.arange(len(x)) if columns is None else columns
    if kind != ANY:  # groups are slices of both, so that they are masked as slices
        rows, back = _by_group(rows, groups)
        columns = _by_group(columns, groups)[0]
    search, found = _Search(x, columns, k, groups, kind, above), []
    screened = screen[columns] if isinstance(screen, Screen) else None
    for batch in torch.split(rows, max(1, budget // max(1, len(columns)))):
        if isinstance(screen, Screen) and screened is not None:
            own = screen[batch]
            found.append(search.nearest(batch, own, own.distances(screened, above), screened.extent))
        elif isinstance(screen, torch.dtype):
            found.append(search.around_mean(batch, screen))
    indices, distances = (torch.cat(part) for part in zip(*found, strict=True))
    return (indices, distances) if kind == ANY else (indices[back], distances[back])


def screened_neighbors(
    screen: Screen, rows: Tensor, m: int, groups: Tensor, columns: Tensor, budget: int = BUDGET
) -> tuple[Tensor, Tensor]:
    """Of other groups (N,) what is nearest to some `rows` (R,) among some columns, as far as the `screen` resolves it.

    Returns positions and the least that their distances are, ascending, each (R, m), -1 and inf where there are fewer.
    What is not listed is no nearer than the last.
    """
    rows, back = _by_group(rows, groups)
    columns = _by_group(columns, groups)[0]
    others, found = screen[columns], []
    for batch in torch.split(rows, max(1, budget // max(1, len(columns)))):
        own = screen[batch]
        screened = own.distances(others)
        _mask_groups(screened, groups[batch], groups[columns], OTHER)
        values, places = smallest_per_row(screened, m)
        found.append((torch.where(values < torch.inf, columns[places], -1), own.lowest_true(values, others.extent)))
    near, lowest = (torch.cat(part) for part in zip(*found, strict=True))
    missing = (0, m - near.shape[1])
    return functional.pad(near, missing, value=-1)[back], functional.pad(lowest, missing, value=torch.inf)[back]


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

    def around_mean(self, rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) by products in some precision around their mean."""
        own = Screen.of(self.x[rows], dtype, self.x.values[rows].mean(0, dtype=torch.float64).float())
        near, extent = [], Extent(0.0, 0.0, 0.0)
        for part in torch.split(self.columns, CHUNK):
            others = Screen.of(self.x[part], dtype, own.centre)
            near.append(own.distances(others, self.above))
            extent = extent.joined(others.extent)
        return self.nearest(rows, own, torch.cat(near, 1), extent)

    def nearest(self, rows: Tensor, own: Screen, screened: Tensor, extent: Extent) -> tuple[Tensor, Tensor]:
        """The nearest of `rows` (R,) by their screened distances (R, C); again where these cannot certify them."""
        precision = own.columns.dtype
        if self.kind != ANY:
            _mask_groups(screened, self.groups[rows], self.groups[self.columns], self.kind)
        if self.kind != OTHER:
            screened.masked_fill_(rows.unsqueeze(1) == self.columns, torch.inf)
        exact, count = precision not in NEXT, len(self.columns)
        m = min(count, self.k if exact else max(2 * self.k, self.k + 8))
        values, places = smallest_per_row(screened, m)
        indices, distances = rank_by_distance(self.x, rows, torch.where(values < torch.inf, self.columns[places], -1))
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
