"""Principal directions of rows, in their own space and in that of a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.projection.principal_components import (
    BLOCK,
    Rows,
    blocks_of,
    principal_components,
    rows_that_show,
)
from selfclean_hooks.neighbors.unit_vectors import SharedRows, matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray
from selfclean_hooks.utils.shared_work import SentOnce, sum_blocks
from selfclean_hooks.utils.torch_settings import eigenvectors

MOST_HELD = 1 << 27  # bytes of computed rows; more are computed each time


def parts_of(n: int, least: int = 1) -> list[slice]:
    """Some of n rows at a time, in whole blocks, and at least so many."""
    step = BLOCK * -(-least // BLOCK)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


@dataclass(frozen=True, eq=False)
class ComputedRows(SentOnce):
    """Rows (N, r) that are computed from others, a part when it is read: all may not fit into memory.

    Each process holds the parts that it has read, where all would fit.
    """

    x: SharedRows | ComputedRows  # N
    of: Callable[[Rows], Rows]  # of rows (n, D) those (n, r)
    width: int  # r
    held: dict[int, Rows] = field(default_factory=dict)
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        return len(self.x), self.width

    def __len__(self) -> int:
        return len(self.x)

    def __reduce__(self) -> tuple[Any, ...]:
        return ComputedRows, (self.x, self.of, self.width)

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, _ = rows.indices(len(self))
        first = range(start - start % BLOCK, stop, BLOCK)
        parts = [self.part(at)[max(0, start - at) : stop - at] for at in first]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def part(self, start: int) -> Rows:
        """The part from there on."""
        found = self.held.get(start)
        if found is None:
            found = self.of(self._source(start))
            if len(self) * self.width * self.dtype.itemsize <= MOST_HELD:
                self.held[start] = found
        return found

    def _source(self, start: int) -> Rows:
        """What a part is computed from. If that is computed itself, it is let go: this part is held in its place."""
        if isinstance(self.x, SharedRows):
            return self.x.values[start : start + BLOCK].numpy()
        found = self.x.part(start)
        self.x.held.pop(start, None)
        return found


@dataclass(frozen=True, eq=False)
class _Projection:
    """From rows (n, D) to their places along r directions."""

    mean: Rows  # (D,)
    along: Rows  # (D, r)

    def __call__(self, x: Rows) -> Rows:
        return _product(x - self.mean, self.along.T)


def left_singular_vectors(x: SharedRows, most: int) -> tuple[ComputedRows, FloatArray]:
    """Left singular vectors (N, r) of the centred rows `x` (N, D) and their singular values (r,), r <= `most`.

    Of more than 8,192 rows they are estimated from as many.
    """
    rows, start = rows_that_show(x.values.numpy()), None
    if min(rows.shape) > 1536:  # products of all columns would take too long
        start = torch.randn(rows.shape[1], most + 32, generator=torch.Generator().manual_seed(0)).numpy()
    found = principal_components(lambda: blocks_of(rows), most, precision=np.float32, start=start, rounds=2)
    found = found.kept(1e-6 * found.squares[0])  # below lies the rounding of float32 products
    s = np.sqrt(found.squares * len(x) / len(rows))
    project = _Projection(found.mean.astype(np.float32), (found.axes / s).astype(np.float32))
    return ComputedRows(x, project, len(s)), s


MAX_EXACT_SAMPLES = 1200  # up to which kernel PCA is exact
NUM_LANDMARKS = 512  # samples that span it beyond
EIGENVALUE_TOLERANCE = 1e-6  # times the largest eigenvalue of a kernel; float32 does not tell less from 0


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Of rows (n, D) and the landmarks: (n, L)."""

    mean: Tensor  # (D,)
    landmarks: Rows  # (L, D) unit rows

    def __call__(self, x: Rows) -> Rows:
        return arc_cosine_kernel(_directions(torch.from_numpy(x), self.mean), self.landmarks)


@dataclass(frozen=True, eq=False)
class _KernelMoments:
    """Sums over rows of their kernel with the landmarks (N, L) and of its products, around some mean (L,)."""

    kernel: ComputedRows
    mean: Rows

    def of(self, part: slice) -> tuple[FloatArray, Rows]:
        """(L,) and (L, L) of a part of the rows."""
        k = self.kernel[part] - self.mean
        return k.sum(0, dtype=np.float64), k.T @ k


def kernel_pca(x: SharedRows) -> tuple[Rows | ComputedRows, FloatArray]:
    """Kernel PCA of the rows `x` (N, D) with the arc-cosine kernel: left singular vectors (N, r), singular values (r,).

    With more than `MAX_EXACT_SAMPLES` rows, those of the projection onto the span of some of them (Nystroem).
    """
    if len(x) <= MAX_EXACT_SAMPLES:  # in double precision scores do not depend on the number of threads
        rows = _directions(x.values.double(), x.values.double().mean(0))
        k = arc_cosine_kernel(rows, rows)
        k -= k.mean(0)
        squares, v = eigenvectors(torch.from_numpy(k - k.mean(1, keepdims=True)))
        kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
        return v[:, kept].numpy(), squares[kept].double().sqrt().numpy()
    mean, parts = x.values.mean(0), parts_of(len(x))
    landmarks = _directions(x.values[torch.from_numpy(landmark_positions(x.values, mean))], mean)
    values, vectors = eigenvectors(torch.from_numpy(arc_cosine_kernel(landmarks, landmarks)))
    kept = values > EIGENVALUE_TOLERANCE * values[-1]
    root = (vectors[:, kept] / values[kept].sqrt()).numpy()
    kernel = ComputedRows(x, _Kernel(mean, landmarks), len(landmarks))
    some = kernel[parts[0]].mean(0)  # near the mean of all: products around it lose no digits
    total, gram = sum_blocks(_KernelMoments(kernel, some).of, parts)
    gram -= np.outer(total, total) / len(x)
    squares, v = eigenvectors(torch.from_numpy((root.T @ gram @ root).astype(np.float32)))
    kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
    s = squares[kept].double().sqrt().numpy()
    along = root @ v[:, kept].numpy() / s.astype(np.float32)
    return ComputedRows(kernel, _Projection((some + total / len(x)).astype(np.float32), along), len(s)), s


def _directions(x: Tensor, mean: Tensor) -> Rows:
    """Unit rows (n, D) from the mean."""
    rows = x - mean
    return np.asarray(rows.div_(rows.norm(dim=1, keepdim=True).clamp_(min=1e-12)).numpy())


def landmark_positions(x: Tensor, mean: Tensor) -> IntArray:
    """Positions equally spaced along a random direction: representative whatever the order of the rows."""
    weights = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0)).numpy()
    along = np.concatenate([_directions(x[part], mean) @ weights for part in parts_of(len(x))])
    some = np.linspace(0, len(x) - 1, min(len(x), NUM_LANDMARKS)).round().astype(np.int64)
    return np.asarray(np.argsort(along, kind="stable")[some])


def _product(a: Rows, b: Rows) -> Rows:
    """a @ b.T (N, M) of rows (N, D) and (M, D)."""
    return np.asarray(matrix_product(torch.from_numpy(a), torch.from_numpy(b)).numpy())


def arc_cosine_kernel(a: Rows, b: Rows) -> Rows:
    """Kernel (N, M) in [0, 1] of unit rows (N, D) and (M, D): a wide layer of rectified random directions.

    Source: Cho & Saul, "Kernel methods for deep learning", 2009, order 1.
    """
    cosine = _product(a, b)
    np.clip(cosine, -1, 1, out=cosine)
    angle = np.arccos(cosine)
    cosine *= a.dtype.type(np.pi) - angle
    cosine += np.sin(angle, out=angle)
    cosine /= a.dtype.type(np.pi)
    return cosine
