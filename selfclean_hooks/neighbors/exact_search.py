"""Certified nearest neighbours of a few rows: in low precision first, and higher where that is inconclusive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.torch_internals import has_avx512_bfloat16

TILE = 32  # similarities that are screened together, by their maximum
BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True, eq=False)
class Screen:
    """Unit rows in the precision of the first pass, and what its similarities may be off by."""

    rows: Tensor  # (N, D)
    bound: Tensor  # (N,) float32

    @classmethod
    def of(cls, x: UnitRows, dtype: torch.dtype) -> Screen:
        """Round N unit rows to `dtype` and bound what that, and a product of two, may take from a similarity."""
        n, dim = x.values.shape
        rows = x.values.to(dtype)
        error = torch.empty(n, dtype=torch.float32)
        for start in range(0, n, 4096):
            part = x.values[start : start + 4096]
            error[start : start + 4096] = (part - part.to(dtype).float()).norm(dim=1)
        worst = error.max()
        of_result = 2.0**-9 if dtype == torch.bfloat16 else 2.0**-24
        of_sum = (dim + 8) * 2.0**-24  # 8: of the length of the rows
        return cls(rows, error + worst * (1 + error) + of_result + of_sum)

    def similarities(self, rows: slice) -> Tensor:
        """(R, N) of some rows with all; -inf with themselves."""
        similarity = matrix_product(self.rows[rows], self.rows)
        similarity[:, rows].fill_diagonal_(-torch.inf)
        return similarity


def make_screen(x: UnitRows, dtype: torch.dtype | None = None) -> Screen:
    """The rows in the precision that is fastest on this processor, or in `dtype`."""
    return Screen.of(x, dtype or (torch.bfloat16 if has_fast_bfloat16() else torch.float32))


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and has_avx512_bfloat16()


def largest_per_row(similarity: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """The m highest of every row (R, C), or all: (R, m) float32 values, descending, and columns.

    They lie in the m tiles of highest maximum. The bits of floats >= 0 are ordered like integers, whose maxima are
    several times faster to find; rows where that is not enough, as fewer than m are >= 0, are sorted as a whole.
    """
    width = similarity.shape[1]
    m, whole = min(m, width), width // TILE * TILE
    if whole <= m * TILE:
        return _as_float(similarity).topk(m, dim=1)
    tiles = torch.unflatten(similarity[:, :whole], 1, (-1, TILE))
    highest = torch.unflatten(similarity.view(BITS[similarity.dtype])[:, :whole], 1, (-1, TILE)).amax(-1)
    best = _as_float(highest.view(similarity.dtype)).topk(m, dim=1).indices
    inside = tiles.gather(1, best.unsqueeze(-1).expand(-1, -1, TILE)).flatten(1)
    values, place = _as_float(torch.cat([inside, similarity[:, whole:]], 1)).topk(m, dim=1)
    inner = place.clamp(max=m * TILE - 1)
    columns = best.gather(1, inner // TILE) * TILE + inner % TILE
    columns = torch.where(place < m * TILE, columns, place - m * TILE + whole)
    weak = (values[:, -1] < 0).nonzero()[:, 0]
    if len(weak):
        values[weak], columns[weak] = _as_float(similarity[weak]).topk(m, dim=1)
    return values, columns


def _as_float(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


SAME, OTHER, ANY = "same", "other", "any"


def search_neighbors(
    x: UnitRows,
    rows: Tensor,
    k: int,
    groups: Tensor,
    kind: str = ANY,
    columns: Tensor | None = None,
    screen: Screen | None = None,
    budget: int = 1 << 24,
) -> tuple[Tensor, Tensor]:
    """The k nearest of a few `rows` (R,) among all N, or among the `columns` given.

    Products are computed in the precision of the `screen`, if there is one; rows that it cannot certify in float32, and
    those still uncertified in float64. `kind` restricts the answer to the "same" or to "other" `groups` (N,).
    Returns positions and distances, each (R, k), -1 and inf where there are fewer.
    """
    columns = torch.arange(len(x)) if columns is None else columns
    if kind != ANY:  # groups are slices of both, so that they are masked as slices
        rows, back = _by_group(rows, groups)
        columns = _by_group(columns, groups)[0]
    targets = _Targets(x, columns, screen)
    precisions = [torch.float32, torch.float64]
    if screen is not None and screen.rows.dtype != torch.float32:
        precisions.insert(0, screen.rows.dtype)
    batches = torch.split(rows, max(1, budget // len(columns)))
    found = [_search_batch(targets, batch, k, groups, kind, precisions) for batch in batches]
    indices, distances = (torch.cat(part) for part in zip(*found, strict=True))
    return (indices, distances) if kind == ANY else (indices[back], distances[back])


def _by_group(index: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (R,) in order of their groups, and where each is then."""
    order = torch.argsort(groups[index], stable=True)
    return index[order], torch.argsort(order)


def _search_batch(
    targets: _Targets, rows: Tensor, k: int, groups: Tensor, kind: str, precisions: list[torch.dtype]
) -> tuple[Tensor, Tensor]:
    """One batch by products in the first precision; the rows that these cannot certify, in the next."""
    x, columns, last = targets.x, targets.index, len(precisions) == 1
    similarity, slack = targets.similarities(rows, precisions[0])
    if kind != ANY:
        _mask_groups(similarity, groups[rows], groups[columns], kind)
    if kind != OTHER:
        similarity.masked_fill_(rows.unsqueeze(1) == columns, -torch.inf)
    m = min(len(columns), k if last else max(2 * k, k + 8))
    values, places = largest_per_row(similarity, m)
    indices, distances = rank_by_distance(x, rows, torch.where(values > -torch.inf, columns[places], -1))
    indices = functional.pad(indices, (0, max(0, k - m)), value=-1)[:, :k]
    distances = functional.pad(distances, (0, max(0, k - m)), value=torch.inf)[:, :k]
    if not last and m < len(columns):
        kth = distances[:, -1]
        doubt = ((1 - 2 * kth < values[:, -1] + slack) & (kth > 0)).nonzero()[:, 0]
        if len(doubt):
            indices[doubt], distances[doubt] = _search_batch(targets, rows[doubt], k, groups, kind, precisions[1:])
    return indices, distances


def _mask_groups(similarity: Tensor, of_rows: Tensor, of_columns: Tensor, kind: str) -> None:
    """-inf for the columns of the same group as the row, or of another one; both in order of their groups."""
    values, count = torch.unique_consecutive(of_rows, return_counts=True)
    ends = torch.stack([count.cumsum(0), *(torch.searchsorted(of_columns, values, right=r) for r in (False, True))], 1)
    start = 0
    for stop, first, end in ends.tolist():
        if kind == OTHER:
            similarity[start:stop, first:end] = -torch.inf
        else:
            similarity[start:stop, :first] = -torch.inf
            similarity[start:stop, end:] = -torch.inf
        start = stop


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
            return matrix_product(self.screen.rows[rows], self.screened), self.screen.bound[rows]
        # what two float32 products may be off by
        return matrix_product(self.x.values[rows], self.exact), (self.x.values.shape[1] + 8) * 2.0**-23

    @cached_property
    def exact(self) -> Tensor:
        """(C, D) float32."""
        return self.x.values[self.index]

    @cached_property
    def screened(self) -> Tensor:
        """(C, D) in the precision of the screen."""
        return self.screen.rows[self.index]  # type: ignore[union-attr]  # asked for only where there is a screen


def rank_by_distance(x: UnitRows, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (R, m) in order of true distance, equal ones by position; -1 is last and at infinity."""
    distances = x.distances(rows, candidates.clamp(min=0)).masked_fill_(candidates < 0, torch.inf)
    by_index = torch.argsort(candidates, dim=1)
    order = by_index.gather(1, torch.argsort(distances.gather(1, by_index), dim=1, stable=True))
    return candidates.gather(1, order), distances.gather(1, order)
