"""Ridge regression of labels, each sample left out for its own prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfclean_hooks.detectors.label_errors.directions import ComputedRows, parts_of
from selfclean_hooks.detectors.label_errors.predictors import class_sums
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import sum_blocks

RIDGE_STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)  # times the mean squared singular value


def leave_one_out_ridge(
    u: Rows | ComputedRows, s: FloatArray, targets: FloatArray | BoolArray, scale: int = 0
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


@dataclass(frozen=True, eq=False)
class RidgeOfClasses:
    """`Predictor` of `leave_one_out_classes`."""

    rows: Rows | ComputedRows
    mean: FloatArray  # (C,) frequencies of the classes
    along: FloatArray  # (r, C)
    kept: FloatArray  # (r,) what regularisation leaves of each direction

    def predict(self, v: Rows, given: IntArray) -> Float32Array:
        """See `Predictor`."""
        left = -self.residuals(v, given)
        left[np.arange(len(given)), given] += 1
        return left.astype(np.float32)

    def residuals(self, v: Rows, given: IntArray) -> FloatArray:
        """(n, C) of the indicators."""
        left = -self.mean - (v @ (self.kept[:, None] * self.along).astype(v.dtype))
        left[np.arange(len(given)), given] += 1
        return np.asarray(left / self.spare(v)[:, None])

    def spare(self, v: Rows) -> FloatArray:
        """(n,) one less the leverage."""
        leverage = (v**2) @ self.kept.astype(v.dtype) + v.dtype.type(1 / len(self.rows))
        return np.asarray(np.maximum(1 - leverage, 1e-6))

    def error(self, v: Rows, given: IntArray, products: Rows) -> float:
        """Sum of the squared residuals; products (r, r) of the directions."""
        if len(self.mean) <= v.shape[1]:
            return float((self.residuals(v, given) ** 2).sum())
        w = v * self.kept.astype(v.dtype)
        own = (w * self.along.T[given]).sum(1) + self.mean[given]  # fitted for the given label
        others = ((w @ products) * w).sum(1) + 2 * w @ (self.along @ self.mean) + self.mean @ self.mean
        return float(((1 - 2 * own + others) / self.spare(v) ** 2).sum())


@dataclass(frozen=True, eq=False)
class _RidgeErrors:
    """Of several strengths."""

    ridges: list[RidgeOfClasses]
    labels: IntArray
    products: Rows

    def of(self, part: slice) -> tuple[float, ...]:
        """The squared error of each, of a part of the rows."""
        v, given = self.ridges[0].rows[part], self.labels[part]
        return tuple(ridge.error(v, given, self.products) for ridge in self.ridges)


def leave_one_out_classes(u: Rows | ComputedRows, s: FloatArray, labels: IntArray) -> RidgeOfClasses:
    """`leave_one_out_ridge` of the indicators of classes (N,), without an array of all samples and classes.

    The squared error of a row is taken from products of the directions, (r, r) for every strength, where the classes
    are more than these.
    """
    n, count = len(labels), int(labels.max()) + 1
    mean, sums = np.bincount(labels, minlength=count) / n, class_sums(u, labels, count)
    along = sums.T - np.outer(sums.sum(0), mean)
    shrinkage = [s**2 / (s**2 + strength * (s @ s) / n) for strength in RIDGE_STRENGTHS]
    ridges = [RidgeOfClasses(u, mean, along, kept) for kept in shrinkage]
    errors = sum_blocks(_RidgeErrors(ridges, labels, (along @ along.T).astype(u.dtype)).of, parts_of(n))
    return ridges[int(np.argmin(errors))]
