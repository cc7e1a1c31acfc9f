"""Principal directions, and ridge regression on them in closed form: plain, or of the arc-cosine kernel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.neighbors.pca import Rows, blocks_of, principal_components
from selfclean_hooks.utils.arrays import FloatArray, IntArray

SHRINKAGE = 0.2  # share of the covariance within classes that is taken as the same in all directions
MAX_SQUARED_DISTANCE = 200.0  # squared distances from the nearest class mean above this are no more evidence


def log_densities(z: FloatArray, labels: IntArray, block: int = 4096) -> NDArray[np.float32]:
    """Log density of each class (N, C) up to a constant per row: normal, one covariance, sample i left out for row i.

    Class means are drawn to 0, the mean of all, as by one more sample there. Without i the covariance within classes
    is S - a r r', r its residual, so a squared distance d' S^-1 d grows by a (r' S^-1 d)^2 / (1 - a r' S^-1 r).

    Args:
        z: (N, r) rows of mean 0.
        labels: (N,) classes 0 to C - 1.
    """
    n, count = len(labels), int(labels.max()) + 1
    size = np.bincount(labels, minlength=count)
    sums = np.zeros((count, z.shape[1]))
    np.add.at(sums, labels, z)
    means = sums / (size + 1)[:, None]
    within = z - means[labels]
    s = (1 - SHRINKAGE) / n * (within.T @ within + means.T @ means)
    s += np.eye(len(s)) * (SHRINKAGE * np.sum(within**2) + 1e-6 * np.sum(z**2)) / (n * max(1, len(s)))
    white = np.linalg.cholesky(np.linalg.inv(s)) if len(s) else s
    z, means = z @ white, means @ white
    out = np.empty((n, count), np.float32)
    for rows in (slice(start, start + block) for start in range(0, n, block)):
        given, here = labels[rows], np.arange(len(labels[rows]))
        far = (z[rows] ** 2).sum(1)[:, None] - 2 * z[rows] @ means.T + (means**2).sum(1)
        residual = z[rows] - means[given]
        grown = 1 + 1 / size[given]  # the residual from the mean without the sample, in units of that with it
        own = (residual**2).sum(1)
        a = (1 - SHRINKAGE) / n * grown
        product = (residual * z[rows]).sum(1)[:, None] - residual @ means.T
        far[here, given], product[here, given] = grown**2 * own, grown * own
        far += a[:, None] * product**2 / np.maximum(1 - a * own, 0.05)[:, None]
        out[rows] = -np.minimum(far - far.min(1, keepdims=True), MAX_SQUARED_DISTANCE) / 2
    return out


RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # times the mean squared singular value
MAX_EXACT_SAMPLES = 1200  # samples up to which the regression is exact
NUM_LANDMARKS = 512  # samples that span it beyond
EIGENVALUE_TOLERANCE = 1e-6  # share of the largest eigenvalue of a kernel that float32 does not tell from 0


def principal(x: Tensor, most: int) -> tuple[NDArray[np.float32], FloatArray]:
    """Left singular vectors (N, r) of the centred rows `x` (N, D) and their singular values (r,), r <= `most`."""
    rows, start = x.numpy(), None
    if min(x.shape) > 1536:  # products of all columns would take too long
        start = torch.randn(x.shape[1], most + 32, generator=torch.Generator().manual_seed(0)).numpy()
    found = principal_components(lambda: blocks_of(rows), most, precision=np.float32, start=start, rounds=2)
    found = found.kept(1e-6 * found.squares[0])  # below lies the rounding of float32 products
    s = np.sqrt(found.squares)
    along = found.axes / s
    return np.concatenate([(block - found.mean) @ along for block in blocks_of(rows)]).astype(np.float32), s


def arc_cosine_kernel(a: Rows, b: Rows) -> Rows:
    """Kernel (N, M) in [0, 1] of unit rows (N, D) and (M, D): a wide layer of rectified random directions.

    Source: Cho & Saul, "Kernel methods for deep learning", 2009, order 1.
    """
    cosine = np.clip(a @ b.T, -1, 1)
    angle = np.arccos(cosine)
    out: Rows = (np.sin(angle) + (a.dtype.type(np.pi) - angle) * cosine) / a.dtype.type(np.pi)
    return out


def select_landmarks(x: Rows, most: int) -> Rows:
    """`most` of the rows of x, far and wide whatever their order: equally spaced along a random direction."""
    if len(x) <= most:
        return x
    along = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0)).numpy()
    ranked = np.argsort(x @ along, kind="stable")
    out: Rows = x[ranked[np.linspace(0, len(x) - 1, most).round().astype(np.int64)]]
    return out


def kernel_pca(x: Tensor) -> tuple[Rows, FloatArray]:
    """Left singular vectors (N, r) and singular values (r,) of what the kernel maps the rows `x` (N, D) to, centred.

    With more than `MAX_EXACT_SAMPLES` rows the kernel is that of its projection on the span of some of them (Nystroem).
    """
    is_small = len(x) <= MAX_EXACT_SAMPLES
    x = x.double() if is_small else x  # costs little there, and the number of threads does not show in the scores
    rows = torch.nn.functional.normalize(x - x.mean(0)).numpy()
    few = rows if is_small else select_landmarks(rows, NUM_LANDMARKS)
    k = arc_cosine_kernel(rows, few)
    k -= k.mean(0)
    if is_small:
        squares, v = torch.linalg.eigh(torch.from_numpy(k - k.mean(1, keepdims=True)))
        kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
        return v[:, kept].numpy(), squares[kept].double().sqrt().numpy()
    values, vectors = torch.linalg.eigh(torch.from_numpy(arc_cosine_kernel(few, few)))
    kept = values > EIGENVALUE_TOLERANCE * values[-1]
    root = (vectors[:, kept] / values[kept].sqrt()).numpy()
    squares, v = torch.linalg.eigh(torch.from_numpy(root.T @ (k.T @ k) @ root))
    kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
    s = squares[kept].double().sqrt().numpy()
    return k @ (root @ v[:, kept].numpy() / s.astype(np.float32)), s


def leave_one_out_ridge(
    u: Rows, s: FloatArray, targets: FloatArray | NDArray[np.bool_], block: int = 4096, scale: int = 0
) -> NDArray[np.float32]:
    """Leave-one-out predictions (N, C) of ridge regression from the rows `u * s`, strength by least squared error.

    Closed form: residual / (1 - leverage).

    Args:
        u: (N, r) orthonormal columns, each of mean 0.
        s: (r,) singular values.
        targets: (N, C) numbers or booleans.
        block: rows at a time; the result does not depend on it.
        scale: the strength is in units of s @ s over this, by default r.
    """
    rows = [slice(start, start + block) for start in range(0, len(u), block)]
    mean = np.asarray(targets.mean(0), np.float64)
    along = np.zeros((u.shape[1], targets.shape[1]))
    for r in rows:
        along += u[r].T @ (targets[r] - mean)

    def residuals(kept: FloatArray, r: slice) -> FloatArray:
        leverage = (u[r] ** 2) @ kept.astype(u.dtype) + u.dtype.type(1 / len(u))
        fitted = u[r] @ (kept[:, None] * along).astype(u.dtype)
        left: FloatArray = (targets[r] - mean - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
        return left

    shrinkage = [s**2 / (s**2 + strength * (s @ s) / max(1, scale or len(s))) for strength in RIDGE_STRENGTHS]
    errors = [sum(float((residuals(kept, r) ** 2).sum()) for r in rows) for kept in shrinkage]
    best = shrinkage[int(np.argmin(errors))]
    return np.concatenate([(targets[r] - residuals(best, r)).astype(np.float32) for r in rows])
