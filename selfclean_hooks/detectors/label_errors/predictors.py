"""Five leave-one-out predictors of labels.

None has seen a sample's own label: the vote of the neighbours, the distance to the nearest sample of each class (in the
whitened and in the plain embedding), ridge regression, and a normal density per class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from selfclean_hooks.detectors.label_errors.directions import KernelRows, parts_of
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

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


def log_densities(u: Rows, labels: IntArray, s: FloatArray | float = 1.0) -> Predictor:
    """Log density of each class up to a constant per row: normal, one covariance, sample i left out for row i.

    Class means are shrunk towards 0, the mean of all, as if by one more sample there. Without i the covariance within
    classes is S - a r r', r its residual, so a squared distance d' S^-1 d grows by a (r' S^-1 d)^2 / (1 - a r' S^-1 r).

    Args:
        u: (N, r) rows of mean 0.
        labels: (N,) classes 0 to C - 1.
        s: (r,) that the columns are multiplied with.
    """
    n, count = len(labels), int(labels.max()) + 1
    size = np.bincount(labels, minlength=count)
    means = class_sums(u, labels, count) * s / (size + 1)[:, None]
    covariance, squares = means.T @ means, 0.0
    for part in parts_of(n):
        z = u[part] * s
        within = z - means[labels[part]]
        covariance, squares = covariance + within.T @ within, squares + float((z**2).sum())
    of_within = float(np.trace(covariance) - (means**2).sum())
    covariance *= (1 - SHRINKAGE) / n
    covariance += np.eye(len(means.T)) * (SHRINKAGE * of_within + 1e-6 * squares) / (n * max(1, len(means.T)))
    white = np.linalg.cholesky(np.linalg.inv(covariance)) if len(covariance) else covariance
    means = means @ white

    def density(rows: slice) -> Float32Array:
        given, here, z = labels[rows], np.arange(len(labels[rows])), (u[rows] * s) @ white
        far = (z**2).sum(1)[:, None] - 2 * z @ means.T + (means**2).sum(1)
        residual = z - means[given]
        grown = 1 + 1 / size[given]  # the residual from the mean without the sample, in units of that with it
        own = (residual**2).sum(1)
        a = (1 - SHRINKAGE) / n * grown
        product = (residual * z).sum(1)[:, None] - residual @ means.T
        far[here, given], product[here, given] = grown**2 * own, grown * own
        far += a[:, None] * product**2 / np.maximum(1 - a * own, 0.05)[:, None]
        out: Float32Array = np.minimum(far - far.min(1, keepdims=True), MAX_SQUARED_DISTANCE).astype(np.float32)
        return np.asarray(out / np.float32(-2))

    return density


def class_sums(rows: Rows | KernelRows, labels: IntArray, classes: int) -> FloatArray:
    """(C, D) sums of the rows (N, D) of each class."""
    total = np.zeros((classes, rows.shape[1]))
    for part in parts_of(len(labels)):
        given = labels[part]
        total += csr_array((np.ones(len(given)), (given, np.arange(len(given)))), (classes, len(given))) @ rows[part]
    return total


RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # times the mean squared singular value


def leave_one_out_ridge(
    u: Rows | KernelRows, s: FloatArray, targets: FloatArray | BoolArray, scale: int = 0
) -> Float32Array:
    """Leave-one-out predictions (N, C) of ridge regression from the rows `u * s`, strength by least squared error.

    Closed form: residual / (1 - leverage).

    Args:
        u: (N, r) orthonormal columns, each of mean 0.
        s: (r,) singular values.
        targets: (N, C) regression targets or booleans.
        scale: the strength is in units of s @ s over this, by default r.
    """
    mean, parts = np.asarray(targets.mean(0), np.float64), parts_of(len(u))
    along = np.zeros((u.shape[1], targets.shape[1]))
    for part in parts:
        along += u[part].T @ (targets[part] - mean)

    def residuals(kept: FloatArray, v: Rows, part: slice) -> FloatArray:
        leverage = (v**2) @ kept.astype(v.dtype) + v.dtype.type(1 / len(u))
        fitted = v @ (kept[:, None] * along).astype(v.dtype)
        left: FloatArray = (targets[part] - mean - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
        return left

    shrinkage = [s**2 / (s**2 + strength * (s @ s) / max(1, scale or len(s))) for strength in RIDGE_STRENGTHS]
    errors = np.zeros(len(shrinkage))
    for part in parts:
        v = u[part]
        errors += [float((residuals(kept, v, part) ** 2).sum()) for kept in shrinkage]
    best = shrinkage[int(np.argmin(errors))]
    return np.concatenate([(targets[part] - residuals(best, u[part], part)).astype(np.float32) for part in parts])


def leave_one_out_classes(u: Rows | KernelRows, s: FloatArray, labels: IntArray) -> Predictor:
    """`leave_one_out_ridge` of the indicators of classes (N,), without an array of all samples and classes.

    The squared error of a row is taken from products of the directions, (r, r) for every strength, where the classes
    are more than these.
    """
    n, count = len(labels), int(labels.max()) + 1
    mean, sums = np.bincount(labels, minlength=count) / n, class_sums(u, labels, count)
    along = sums.T - np.outer(sums.sum(0), mean)

    def residuals(kept: FloatArray, v: Rows, given: IntArray) -> FloatArray:
        left = -mean - (v @ (kept[:, None] * along).astype(v.dtype))
        left[np.arange(len(given)), given] += 1
        return np.asarray(left / spare(kept, v)[:, None])

    def spare(kept: FloatArray, v: Rows) -> FloatArray:
        leverage = (v**2) @ kept.astype(v.dtype) + v.dtype.type(1 / n)
        return np.asarray(np.maximum(1 - leverage, 1e-6))

    def error(kept: FloatArray, v: Rows, given: IntArray) -> float:
        if count <= u.shape[1]:
            return float((residuals(kept, v, given) ** 2).sum())
        w = v * kept.astype(v.dtype)
        own = (w * along.T[given]).sum(1) + mean[given]  # fitted for the given label
        others = ((w @ products) * w).sum(1) + 2 * w @ (along @ mean) + mean @ mean
        return float(((1 - 2 * own + others) / spare(kept, v) ** 2).sum())

    products = (along @ along.T).astype(u.dtype)
    shrinkage = [s**2 / (s**2 + strength * (s @ s) / n) for strength in RIDGE_STRENGTHS]
    errors = np.zeros(len(shrinkage))
    for part in parts_of(n):
        v = u[part]
        errors += [error(kept, v, labels[part]) for kept in shrinkage]
    best = shrinkage[int(np.argmin(errors))]

    def predict(rows: slice) -> Float32Array:
        given = labels[rows]
        left = -residuals(best, u[rows], given)
        left[np.arange(len(given)), given] += 1
        return left.astype(np.float32)

    return predict
