"""Five leave-one-out predictors of labels, and the principal directions that they rest on.

None has seen a sample's own label: the vote of the neighbours, the distance to the nearest sample of each class (in the
whitened and in the plain embedding), ridge regression, and a normal density per class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from selfclean_hooks.neighbors.projection import BLOCK, Rows, blocks_of, principal_components
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.torch_settings import eigenvectors

COPY_RATIO = 0.3  # a neighbour nearer than this times the 10th distance is a copy: its label is no independent evidence
MIN_DISTANCE_RATIO = 0.5  # below this times the 10th distance, nearer is no more evidence
PRIOR_VOTES = 1.0  # votes distributed by the class frequencies


def voters_and_log_distances(distances: Float32Array) -> tuple[BoolArray, FloatArray]:
    """(N, k) which neighbours vote, all but copies, and (N, k) their log distances, clipped from below."""
    finite = np.where(np.isfinite(distances), distances, 0.0).astype(np.float64)
    reference = finite[:, : min(10, finite.shape[1])].max(1, keepdims=True)
    tiny = np.finfo(np.float64).tiny
    return (finite > COPY_RATIO * reference), np.log(np.maximum(finite, MIN_DISTANCE_RATIO * reference) + tiny)


def log_votes(labels: IntArray, votes: BoolArray, prior: FloatArray, classes: IntArray) -> FloatArray:
    """Log of the votes for some classes (R, M) with `PRIOR_VOTES` votes spread by the class frequencies.

    Args:
        labels: (R, k) labels of the neighbours, -1 for none.
        votes: (R, k) which of these vote.
        prior: (C,) class frequencies.
        classes: (R, M) of each row.
    """
    counts = PRIOR_VOTES * prior[classes]
    for place in range(labels.shape[1]):
        counts += votes[:, [place]] & (labels[:, [place]] == classes)
    logs: FloatArray = np.log(np.maximum(counts, np.finfo(np.float64).tiny))
    return logs


def class_proximity(labels: IntArray, votes: BoolArray, log_distance: FloatArray, classes: IntArray) -> FloatArray:
    """Minus the log distance to the nearest voter of some classes (R, M); of one without, the end of the list."""
    out = np.repeat(-log_distance.max(1, keepdims=True), classes.shape[1], axis=1)
    for place in range(labels.shape[1] - 1, -1, -1):  # nearest last, so that it stays
        here = votes[:, [place]] & (labels[:, [place]] == classes)
        np.copyto(out, -log_distance[:, [place]], where=here)
    return out


SHRINKAGE = 0.2  # fraction of the covariance within classes that is assumed equal in all directions
MAX_SQUARED_DISTANCE = 200.0  # from the nearest class mean; beyond it distance is no more evidence


Predictor = Callable[[slice], Float32Array]  # of some rows: (R, C) support of every class


def log_densities(z: FloatArray, labels: IntArray) -> Predictor:
    """Log density of each class up to a constant per row: normal, one covariance, sample i left out for row i.

    Class means are shrunk towards 0, the mean of all, as if by one more sample there. Without i the covariance within
    classes is S - a r r', r its residual, so a squared distance d' S^-1 d grows by a (r' S^-1 d)^2 / (1 - a r' S^-1 r).

    Args:
        z: (N, r) rows of mean 0.
        labels: (N,) classes 0 to C - 1.
    """
    n, count = len(labels), int(labels.max()) + 1
    size = np.bincount(labels, minlength=count)
    means = class_sums(z, labels, count) / (size + 1)[:, None]
    within = z - means[labels]
    s = (1 - SHRINKAGE) / n * (within.T @ within + means.T @ means)
    s += np.eye(len(s)) * (SHRINKAGE * np.sum(within**2) + 1e-6 * np.sum(z**2)) / (n * max(1, len(s)))
    white = np.linalg.cholesky(np.linalg.inv(s)) if len(s) else s
    z, means = z @ white, means @ white

    def density(rows: slice) -> Float32Array:
        given, here = labels[rows], np.arange(len(labels[rows]))
        far = (z[rows] ** 2).sum(1)[:, None] - 2 * z[rows] @ means.T + (means**2).sum(1)
        residual = z[rows] - means[given]
        grown = 1 + 1 / size[given]  # the residual from the mean without the sample, in units of that with it
        own = (residual**2).sum(1)
        a = (1 - SHRINKAGE) / n * grown
        product = (residual * z[rows]).sum(1)[:, None] - residual @ means.T
        far[here, given], product[here, given] = grown**2 * own, grown * own
        far += a[:, None] * product**2 / np.maximum(1 - a * own, 0.05)[:, None]
        out: Float32Array = np.minimum(far - far.min(1, keepdims=True), MAX_SQUARED_DISTANCE).astype(np.float32)
        return np.asarray(out / np.float32(-2))

    return density


def class_sums(rows: Rows, labels: IntArray, classes: int) -> FloatArray:
    """(C, D) sums of the rows (N, D) of each class."""
    of_class = csr_array((np.ones(len(labels), rows.dtype), (labels, np.arange(len(labels)))), (classes, len(labels)))
    return np.asarray(of_class @ rows, np.float64)


RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # times the mean squared singular value


def leave_one_out_ridge(
    u: Rows, s: FloatArray, targets: FloatArray | BoolArray, block: int = 4096, scale: int = 0
) -> Float32Array:
    """Leave-one-out predictions (N, C) of ridge regression from the rows `u * s`, strength by least squared error.

    Closed form: residual / (1 - leverage).

    Args:
        u: (N, r) orthonormal columns, each of mean 0.
        s: (r,) singular values.
        targets: (N, C) regression targets or booleans.
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


def leave_one_out_classes(u: Rows, s: FloatArray, labels: IntArray, block: int = 4096) -> Predictor:
    """`leave_one_out_ridge` of the indicators of classes (N,), without an array of all samples and classes.

    The squared error of a row is taken from products of the directions, (r, r) for every strength, where the classes
    are more than these.
    """
    n, count = len(labels), int(labels.max()) + 1
    mean = np.bincount(labels, minlength=count) / n
    along = class_sums(u, labels, count).T - np.outer(u.sum(0, dtype=np.float64), mean)
    every = [slice(start, start + block) for start in range(0, n, block)]

    def residuals(kept: FloatArray, rows: slice) -> FloatArray:
        given = labels[rows]
        left = -mean - (u[rows] @ (kept[:, None] * along).astype(u.dtype))
        left[np.arange(len(given)), given] += 1
        return np.asarray(left / spare(kept, rows)[:, None])

    def spare(kept: FloatArray, rows: slice) -> FloatArray:
        leverage = (u[rows] ** 2) @ kept.astype(u.dtype) + u.dtype.type(1 / n)
        return np.asarray(np.maximum(1 - leverage, 1e-6))

    def error(kept: FloatArray, rows: slice) -> float:
        if count <= u.shape[1]:
            return float((residuals(kept, rows) ** 2).sum())
        v, given = u[rows] * kept.astype(u.dtype), labels[rows]
        own = (v * along.T[given]).sum(1) + mean[given]  # fitted for the given label
        others = ((v @ products) * v).sum(1) + 2 * v @ (along @ mean) + mean @ mean
        return float(((1 - 2 * own + others) / spare(kept, rows) ** 2).sum())

    products = (along @ along.T).astype(u.dtype)
    shrinkage = [s**2 / (s**2 + strength * (s @ s) / n) for strength in RIDGE_STRENGTHS]
    best = shrinkage[int(np.argmin([sum(error(kept, rows) for rows in every) for kept in shrinkage]))]

    def predict(rows: slice) -> Float32Array:
        given, left = labels[rows], -residuals(best, rows)
        left[np.arange(len(given)), given] += 1
        return left.astype(np.float32)

    return predict


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
EIGENVALUE_TOLERANCE = 1e-6  # times the largest eigenvalue of a kernel; float32 does not tell less from 0


def kernel_pca(x: Tensor) -> tuple[Rows, FloatArray]:
    """Kernel PCA of the rows `x` (N, D) with the arc-cosine kernel: left singular vectors (N, r), singular values (r,).

    With more than `MAX_EXACT_SAMPLES` rows, those of the projection onto the span of some of them (Nystroem).
    """
    is_small = len(x) <= MAX_EXACT_SAMPLES
    x = x.double() if is_small else x  # cheap there, and makes the scores independent of the number of threads
    rows = torch.nn.functional.normalize(x - x.mean(0)).numpy()
    landmarks = rows if is_small else select_landmarks(rows, NUM_LANDMARKS)
    k = np.empty((len(rows), len(landmarks)), rows.dtype)
    for start in range(0, len(rows), BLOCK):  # its terms need four times as much memory
        part = slice(start, start + BLOCK)
        k[part] = arc_cosine_kernel(rows[part], landmarks)
    k -= k.mean(0)
    if is_small:
        squares, v = eigenvectors(torch.from_numpy(k - k.mean(1, keepdims=True)))
        kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
        return v[:, kept].numpy(), squares[kept].double().sqrt().numpy()
    values, vectors = eigenvectors(torch.from_numpy(arc_cosine_kernel(landmarks, landmarks)))
    kept = values > EIGENVALUE_TOLERANCE * values[-1]
    root = (vectors[:, kept] / values[kept].sqrt()).numpy()
    squares, v = eigenvectors(torch.from_numpy(root.T @ (k.T @ k) @ root))
    kept = squares > EIGENVALUE_TOLERANCE * squares[-1]
    s = squares[kept].double().sqrt().numpy()
    return k @ (root @ v[:, kept].numpy() / s.astype(np.float32)), s


def arc_cosine_kernel(a: Rows, b: Rows) -> Rows:
    """Kernel (N, M) in [0, 1] of unit rows (N, D) and (M, D): a wide layer of rectified random directions.

    Source: Cho & Saul, "Kernel methods for deep learning", 2009, order 1.
    """
    cosine = np.clip(a @ b.T, -1, 1)
    angle = np.arccos(cosine)
    out: Rows = (np.sin(angle) + (a.dtype.type(np.pi) - angle) * cosine) / a.dtype.type(np.pi)
    return out


def select_landmarks(x: Rows, most: int) -> Rows:
    """`most` of the rows of x, equally spaced along a random direction: representative whatever their order."""
    if len(x) <= most:
        return x
    along = torch.randn(x.shape[1], generator=torch.Generator().manual_seed(0)).numpy()
    ranked = np.argsort(x @ along, kind="stable")
    out: Rows = x[ranked[np.linspace(0, len(x) - 1, most).round().astype(np.int64)]]
    return out
