"""Unit vectors, and the one form in which distances between them are computed.

The distance of two samples is `d(i, j) = (1 - cos(x_i, x_j)) / 2`, in [0, 1]; a zero row has no direction and lies at
0.5 from everything. For unit rows `d = |x_i - x_j|^2 / 4`: copies come out at exactly 0, and small distances keep
their relative accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from selfclean_hooks.utils.arrays import Float32Array, FloatArray
from selfclean_hooks.utils.shared_work import SentOnce
from selfclean_hooks.utils.torch_settings import full_sums, without_autocast

BINS = 1 << 16
MOST_BLANK = 256  # contents that get a direction


def pair_distance_quantile(x: UnitRows, budget: int = 1 << 22) -> Callable[[float], float]:
    """Quantile function of all pair distances strictly inside of (0, 1), from a histogram.

    All pairs where N^2 <= `budget`, else those of evenly spaced rows with all others. The bins are even in the square
    root of the distance, so that small distances, which a threshold is fitted to, are resolved to a fraction of a
    percent. Distances below the rounding of a dot product count as 0. All is computed when it is first asked for.
    """

    @cache
    def cumulative() -> FloatArray:
        return np.concatenate([[0.0], _pair_histogram(x, budget).cumsum()])

    def quantile(p: float) -> float:
        if (total := cumulative()[-1]) == 0:
            return np.nan
        return float(np.interp(p * total, cumulative(), np.linspace(0, 1, BINS + 1)) ** 2)

    return quantile


def _pair_histogram(x: UnitRows, budget: int) -> FloatArray:
    """How many pairs there are in each of `BINS` ranges of the root of the distance."""
    n = len(x)
    rows = torch.from_numpy(np.linspace(0, n - 1, min(n, max(1, budget // n))).astype(np.int64))
    counts = torch.zeros(BINS, dtype=torch.float64)
    for part in torch.split(rows, max(1, (1 << 22) // n)):
        similarity = matrix_product(x.values[part], x.values)
        similarity[torch.arange(len(part)), part] = 1  # itself: distance 0
        root = similarity.neg_().add_(1).div_(2).clamp_(0, 1).sqrt_()
        counts += torch.histc(root, BINS, 0, 1).double()
    rounding = x.values.shape[1] ** 0.5 * 2.0**-23  # of a float32 product: distances below are not resolved
    counts[: int(BINS * rounding**0.5) + 1] = 0
    return np.asarray(counts.numpy())


@dataclass(frozen=True, eq=False)
class SharedRows(SentOnce):
    """Rows that processes are sent once."""

    values: Tensor  # (N, D) float32

    def __len__(self) -> int:
        return len(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_arrays, (type(self), *(getattr(self, part.name).numpy() for part in fields(self)))


@dataclass(frozen=True, eq=False)
class UnitRows(SharedRows):
    """Vectors scaled to length 1. `zero` is 1.0 where a row had no length, else 0.0."""

    zero: Tensor  # (N,) float32

    @classmethod
    def of(cls, vectors: NDArray[np.floating] | UnitRows, chunk: int = 512) -> UnitRows:
        """Scale (N, D) `vectors` to unit rows, chunk by chunk and safe from overflow; the input is left alone."""
        if isinstance(vectors, UnitRows):
            return vectors
        values = torch.empty(vectors.shape, dtype=torch.float32)
        zero = torch.empty(len(vectors), dtype=torch.float32)
        for start in range(0, len(vectors), chunk):
            out = values[start : start + chunk]
            rows = torch.empty_like(out, dtype=torch.float64) if vectors.dtype == np.float64 else out
            np.copyto(rows.numpy(), vectors[start : start + chunk])
            largest = torch.maximum(rows.amax(1, keepdim=True), rows.amin(1, keepdim=True).neg_())
            length = torch.linalg.vector_norm(rows.div_(torch.where(largest > 0, largest, 1.0)), dim=1, keepdim=True)
            out.copy_(rows.div_(torch.where(length > 0, length, 1.0)))
            zero[start : start + chunk] = (length[:, 0] == 0).float()
        return cls(values, zero)

    def __getitem__(self, index: Tensor) -> UnitRows:
        return UnitRows(self.values[index], self.zero[index])

    def distances(self, rows: Tensor, columns: Tensor, budget: int = 1 << 18) -> Tensor:
        """Distances of `rows` (R,) to `columns` (R, m): (R, m) float32 in [0, 1]. Independent of how it is chunked."""
        out = torch.empty(columns.shape, dtype=torch.float32)
        dim = self.values.shape[1]
        step = max(1, budget // (columns.shape[1] * dim + 1))
        for r, c, part in zip(*(torch.split(each, step) for each in (rows, columns, out)), strict=True):
            gap = self.values.index_select(0, c.flatten()).view(*c.shape, dim)
            torch.sum(gap.sub_(self.values.index_select(0, r).unsqueeze(1)).square_(), -1, out=part)
        return out.add_(self.zero[columns]).add_(self.zero[rows].unsqueeze(1)).div_(4).clamp_(0, 1)


def _from_arrays(kind: type[SharedRows], *parts: Float32Array) -> SharedRows:
    """Those of arrays, as they are sent to another process."""
    return kind(*map(torch.from_numpy, parts))


def matrix_product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """`a @ b.T` in the precision of the rows, whatever matmul precision and autocast are set for training.

    It is written to `out`, if that is given.
    """
    if a.device.type == "cpu" and a.dtype == torch.float32:  # neither library knows of these settings
        out = torch.empty(len(a), len(b), dtype=torch.float32) if out is None else out
        if _has_onednn() and _is_large(a, b):
            return _by_onednn(a, b, out)
        np.matmul(a.numpy(), b.numpy().T, out=out.numpy())
        return out
    with without_autocast(), full_sums(a.device):
        return torch.mm(a, b.T, out=out)


ROWS_COPIED = 1024
LEAST_ROWS, LEAST_TERMS = 64, 1 << 26  # of a product: smaller ones take longer to lay out than to compute


def _is_large(a: Tensor, b: Tensor) -> bool:
    return min(len(a), len(b)) >= LEAST_ROWS and len(a) * len(b) * a.shape[1] >= LEAST_TERMS


def _has_onednn() -> bool:
    """Whether torch has a library that uses AVX-512 of any processor; numpy's does so of those that it knows."""
    is_there = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return is_there and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _by_onednn(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """`a @ b.T` of float32, up to twice as fast as by numpy; some rows at a time, as they are copied."""
    laid_out = b.to_mkldnn()
    with without_autocast():
        for rows, part in zip(torch.split(a, ROWS_COPIED), torch.split(out, ROWS_COPIED), strict=True):
            part.copy_(functional.linear(rows.to_mkldnn(), laid_out).to_dense())
    return out


def lengths_between(rows: Tensor, centres: Tensor) -> Tensor:
    """Lengths (N, S) between rows (N, D) and centres (S, D), right to 1e-6."""
    a, b = rows.double(), centres.double()
    squares = matrix_product(a, b).mul_(-2).add_(a.square().sum(1, keepdim=True)).add_(b.square().sum(1))
    return squares.clamp_(min=0).sqrt_().float()


def repeated_blanks(parts: Iterable[tuple[NDArray[np.floating], Sequence[str]]]) -> list[str]:
    """Contents that several samples share whose vector is zero, the most frequent first.

    Args:
        parts: (N, D) vectors and N contents of each data set.
    """
    blank = Counter(contents[row] for vectors, contents in parts for row in zero_rows(vectors))
    return [content for content, count in blank.most_common(MOST_BLANK) if count > 1 and content]


def with_blank_directions(
    vectors: NDArray[np.floating], contents: Sequence[str], blanks: Sequence[str]
) -> NDArray[np.floating]:
    """(N, D + K): the zero rows of each of the K contents in `blanks` get a direction of their own.

    So copies of a blank image lie at distance 0 from each other, and at 0.5 from everything else as other zero rows do.
    """
    if not blanks:
        return vectors
    position = {content: at for at, content in enumerate(blanks)}
    further = np.zeros((len(vectors), len(blanks)), vectors.dtype)
    for row in zero_rows(vectors):
        if contents[row] in position:
            further[row, position[contents[row]]] = 1
    return np.concatenate([vectors, further], axis=1)


def zero_rows(vectors: NDArray[np.floating], chunk: int = 4096) -> list[int]:
    """Rows of (N, D) that are zero, found without an (N, D) of bools."""
    found = [~vectors[start : start + chunk].any(1) for start in range(0, len(vectors), chunk)]
    rows: list[int] = np.concatenate(found).nonzero()[0].tolist()
    return rows
