"""Principal directions of rows, in their own space and in that of a kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.projection.principal_components import BLOCK, Rows, blocks_of, principal_components
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.torch_settings import eigenvectors


def parts_of(n: int) -> list[slice]:
    """Some of n rows at a time."""
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


def left_singular_vectors(x: Tensor, most: int) -> tuple[Float32Array, FloatArray]:
    """Left singular vectors (N, r) of the centred rows `x` (N, D) and their singular values (r,), r <= `most`."""
    rows, start = x.numpy(), None
    if min(x.shape) > 1536:  # products of all columns would take too long
        start = torch.randn(x.shape[1], most + 32, generator=torch.Generator().manual_seed(0)).numpy()
    found = principal_components(lambda: blocks_of(rows), most, precision=np.float32, start=start, rounds=2)
    found = found.kept(1e-6 * found.squares[0])  # below lies the rounding of float32 products
    s = np.sqrt(found.squares)
    mean, along = found.mean.astype(np.float32), (found.axes / s).astype(np.float32)
    return np.concatenate([(block - mean) @ along for block in blocks_of(rows)]), s


MAX_EXACT_SAMPLES = 1200  # up to which kernel PCA is exact
NUM_LANDMARKS = 512  # samples that span it beyond
MOST_HELD = 1 << 28  # bytes of rows in the kernel's space; more are computed each time
EIGENVALUE_TOLERANCE = 1e-6  # times the largest eigenvalue of a kernel; float32 does not tell less from 0


@dataclass(frozen=True, eq=False)
class KernelRows:
    """Rows (N, r) that are computed each time they are read, some at a time: all may not fit into memory."""

    x: Tensor  # (N, D)
    mean: Tensor  # (D,) of these
    landmarks: Rows  # (L, D) unit rows
    along: Rows  # (L, r)
    centre: Rows  # (r,)
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """N and r."""
        return len(self.x), len(self.centre)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Rows:
        near = arc_cosine_kernel(_directions(self.x[rows], self.mean), self.landmarks)
        return np.asarray(near @ self.along - self.centre)


def kernel_pca(x: Tensor) -> tuple[Rows | KernelRows, FloatArray]:
    """Kernel PCA of the rows `x` (N, D) with the arc-cosine kernel: left singular vectors (N, r), singular values (r,).

    With more than `MAX_EXACT_SAMPLES` rows, those of the projection onto the span of some of them (Nystroem).
    """
    if len(x) <= MAX_EXACT_SAMPLES:  # in double precision scores do not depend on the number of threads
        rows = _directions(x.double(), x.double().mean(0))
        k = arc_cosine_kernel(rows, rows)
        k -= k.mean(0)
        squares, v = eigenvectors(torch.from_numpy(k - k.mean(1, keepdims=True)))
        kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
        return v[:, kept].numpy(), squares[kept].double().sqrt().numpy()
    mean, parts = x.mean(0), parts_of(len(x))
    landmarks = _directions(x[torch.from_numpy(landmark_positions(x, mean))], mean)
    kernel = KernelRows(x, mean, landmarks, np.eye(len(landmarks), dtype=np.float32), np.zeros(1, np.float32))
    some = kernel[parts[0]].mean(0)  # near the mean of all: products around it lose no digits
    total, gram = np.zeros(len(landmarks)), np.zeros((len(landmarks), len(landmarks)))
    for part in parts:
        k = kernel[part] - some
        total, gram = total + k.sum(0, dtype=np.float64), gram + k.T @ k
    gram -= np.outer(total, total) / len(x)
    values, vectors = eigenvectors(torch.from_numpy(arc_cosine_kernel(landmarks, landmarks)))
    kept = values > EIGENVALUE_TOLERANCE * values[-1]
    root = (vectors[:, kept] / values[kept].sqrt()).numpy()
    squares, v = eigenvectors(torch.from_numpy((root.T @ gram @ root).astype(np.float32)))
    kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
    s = squares[kept].double().sqrt().numpy()
    along = root @ v[:, kept].numpy() / s.astype(np.float32)
    found = replace(kernel, along=along, centre=((some + total / len(x)) @ along).astype(np.float32))
    fits = 4 * len(x) * len(s) <= MOST_HELD
    return np.concatenate([found[part] for part in parts]) if fits else found, s


def _directions(x: Tensor, mean: Tensor) -> Rows:
    """Unit rows (n, D) from the mean."""
    return np.asarray(torch.nn.functional.normalize(x - mean).numpy())


def landmark_positions(x: Tensor, mean: Tensor) -> IntArray:
    """Positions equally spaced along a random direction: representative whatever the order of the rows."""
    weights = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0)).numpy()
    along = np.concatenate([_directions(x[part], mean) @ weights for part in parts_of(len(x))])
    some = np.linspace(0, len(x) - 1, min(len(x), NUM_LANDMARKS)).round().astype(np.int64)
    return np.asarray(np.argsort(along, kind="stable")[some])


def arc_cosine_kernel(a: Rows, b: Rows) -> Rows:
    """Kernel (N, M) in [0, 1] of unit rows (N, D) and (M, D): a wide layer of rectified random directions.

    Source: Cho & Saul, "Kernel methods for deep learning", 2009, order 1.
    """
    cosine = np.clip(a @ b.T, -1, 1)
    angle = np.arccos(cosine)
    out: Rows = (np.sin(angle) + (a.dtype.type(np.pi) - angle) * cosine) / a.dtype.type(np.pi)
    return out
