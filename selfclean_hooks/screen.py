"""Products of all vectors in a fast precision, and a bound on what they may be off by.

What the screen says of row i is too low by at most

    bound_i = e_i + max_j e_j + rounding of the result + rounding of the sum,      e_i = |x_i - screen(x_i)|

(Cauchy-Schwarz on unit rows).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from selfclean_hooks.progress import Tick
from selfclean_hooks.vectors import UnitRows, multiplied

TILE = 32  # similarities whose maximum is looked at before any of them is


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
                similarity = multiplied(self.rows[rows], self.rows[columns])
                if a == b:
                    similarity.fill_diagonal_(-torch.inf)
                similarity[:, max(0, self.n - b) :] = -torch.inf  # the padding
                yield rows, columns, similarity
                done += 1
                if tick is not None:
                    tick(done, total)


def screen_of(x: UnitRows, dtype: torch.dtype | None = None) -> Screen:
    """The rows in the precision that is fastest on this processor, or in `dtype`."""
    return Screen.of(x, dtype or (torch.bfloat16 if fast_bfloat16() else torch.float32))


def fast_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than float32 ones."""
    known = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    supports = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return known and supports is not None and bool(supports())
