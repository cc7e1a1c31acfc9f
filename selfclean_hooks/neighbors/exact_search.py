"""Certified nearest neighbours of a few rows: in low precision first, and higher where that is inconclusive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.text import Tick
from selfclean_hooks.utils.torch_internals import has_avx512_bfloat16

TILE = 32  # similarities that are screened together, by their maximum


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
                similarity = matrix_product(self.rows[rows], self.rows[columns])
                if a == b:
                    similarity.fill_diagonal_(-torch.inf)
                similarity[:, max(0, self.n - b) :] = -torch.inf  # the padding
                yield rows, columns, similarity
                done += 1
                if tick is not None:
                    tick(done, total)


def make_screen(x: UnitRows, dtype: torch.dtype | None = None) -> Screen:
    """The rows in the precision that is fastest on this processor, or in `dtype`."""
    return Screen.of(x, dtype or (torch.bfloat16 if has_fast_bfloat16() else torch.float32))


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    return torch.backends.cpu.get_cpu_capability().startswith("AVX512") and has_avx512_bfloat16()


SAME, OTHER, ANY = "same", "other", "any"


def search_neighbors(
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

    Products are computed in the precision of the `screen`, if there is one; rows that it cannot certify in float32, and
    those still uncertified in float64. `kind` restricts the answer to the "same" or to "other" `groups` (N,).
    Returns positions and distances, each (R, k), -1 and inf where there are fewer.
    """
    targets = _Targets(x, torch.arange(len(x)) if columns is None else columns, screen)
    precisions = [torch.float32, torch.float64]
    if screen is not None and screen.rows.dtype != torch.float32:
        precisions.insert(0, screen.rows.dtype)
    batches = torch.split(rows, max(1, budget // len(targets.index)))
    found = [_search_batch(targets, batch, k, groups, kind, precisions) for batch in batches]
    return torch.cat([indices for indices, _ in found]), torch.cat([distances for _, distances in found])


def _search_batch(
    targets: _Targets, rows: Tensor, k: int, groups: Tensor, kind: str, precisions: list[torch.dtype]
) -> tuple[Tensor, Tensor]:
    """One batch by products in the first precision; the rows that these cannot certify, in the next."""
    x, columns, last = targets.x, targets.index, len(precisions) == 1
    similarity, slack = targets.similarities(rows, precisions[0])
    excluded = rows.unsqueeze(1) == columns
    if kind != ANY:
        alike = groups[rows].unsqueeze(1) == groups[columns]
        excluded |= alike if kind == OTHER else ~alike
    m = min(len(columns), k if last else max(2 * k, k + 8))
    values, places = similarity.masked_fill_(excluded, -torch.inf).topk(m, dim=1)
    indices, distances = rank_by_distance(x, rows, torch.where(values > -torch.inf, columns[places], -1))
    indices = functional.pad(indices, (0, max(0, k - m)), value=-1)[:, :k]
    distances = functional.pad(distances, (0, max(0, k - m)), value=torch.inf)[:, :k]
    if not last and m < len(columns):
        kth = distances[:, -1]
        doubt = ((1 - 2 * kth < values[:, -1] + slack) & (kth > 0)).nonzero()[:, 0]
        if len(doubt):
            indices[doubt], distances[doubt] = _search_batch(targets, rows[doubt], k, groups, kind, precisions[1:])
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
            return matrix_product(self.screen.rows[rows], self.screened), self.screen.bound[rows]
        # what two float32 products may be off by
        return matrix_product(self.x.values[rows], self.exact), (self.x.values.shape[1] + 8) * 2.0**-23

    @cached_property
    def exact(self) -> Tensor:
        """(C, D) float32."""
        return self.x.values if len(self.index) == len(self.x) else self.x.values[self.index]

    @cached_property
    def screened(self) -> Tensor:
        """(C, D) in the precision of the screen."""
        rows = self.screen.rows  # type: ignore[union-attr]  # asked for only where there is a screen
        return rows[: len(self.x)] if len(self.index) == len(self.x) else rows[self.index]


def rank_by_distance(x: UnitRows, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (R, m) in order of true distance, equal ones by position; -1 is last and at infinity."""
    distances = x.distances(rows, candidates.clamp(min=0)).masked_fill_(candidates < 0, torch.inf)
    by_index = torch.argsort(candidates, dim=1)
    order = by_index.gather(1, torch.argsort(distances.gather(1, by_index), dim=1, stable=True))
    return candidates.gather(1, order), distances.gather(1, order)
