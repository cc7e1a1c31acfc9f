"""Five leave-one-out predictors of labels.

None has seen a sample's own label: the vote of the neighbours, the distance to the nearest sample of each class (in the
whitened and in the plain embedding), ridge regression, and a normal density per class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from selfclean_hooks.detectors.label_errors.directions import ComputedRows, parts_of
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import sum_blocks

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


class Predictor(Protocol):
    """Predicts each class for the samples without having seen their own labels."""

    @property
    def rows(self) -> Rows | ComputedRows:
        """(N, r) that it predicts from."""

    def predict(self, v: Rows, given: IntArray) -> Float32Array:
        """(n, C) support of every class for some of the rows (n, r), whose labels are given (n,)."""


@dataclass(frozen=True, eq=False)
class NormalDensities:
    """`Predictor` of `log_densities`."""

    rows: Rows | ComputedRows
    s: FloatArray | float
    n: int
    size: IntArray  # (C,) of the classes
    means: FloatArray  # (C, r) whitened
    white: FloatArray  # (r, r)

    def predict(self, v: Rows, given: IntArray) -> Float32Array:
        """See `Predictor`."""
        here, z = np.arange(len(given)), (v * np.asarray(self.s, v.dtype)) @ self.white.astype(v.dtype)
        means = self.means.astype(v.dtype)
        far = (z**2).sum(1)[:, None] - 2 * z @ means.T + (means**2).sum(1)
        residual = z - means[given]
        grown = 1 + 1 / self.size[given]  # the residual from the mean without the sample, in units of that with it
        own = (residual**2).sum(1)
        a = (1 - SHRINKAGE) / self.n * grown
        product = (residual * z).sum(1)[:, None] - residual @ means.T
        far[here, given], product[here, given] = grown**2 * own, grown * own
        far += a[:, None] * product**2 / np.maximum(1 - a * own, 0.05)[:, None]
        out: Float32Array = np.minimum(far - far.min(1, keepdims=True), MAX_SQUARED_DISTANCE).astype(np.float32)
        return np.asarray(out / np.float32(-2))


def log_densities(u: Rows | ComputedRows, labels: IntArray, s: FloatArray | float = 1.0) -> NormalDensities:
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
    within, squares = sum_blocks(_WithinClasses(u, labels, means, s).of, parts_of(n))
    covariance = means.T @ means + within
    of_within = float(np.trace(covariance) - (means**2).sum())
    covariance *= (1 - SHRINKAGE) / n
    covariance += np.eye(len(means.T)) * (SHRINKAGE * of_within + 1e-6 * squares) / (n * max(1, len(means.T)))
    white = np.linalg.cholesky(np.linalg.inv(covariance)) if len(covariance) else covariance
    return NormalDensities(u, s, n, size, means @ white, white)


@dataclass(frozen=True, eq=False)
class _WithinClasses:
    """How rows lie around the means of their classes."""

    rows: Rows | ComputedRows
    labels: IntArray
    means: FloatArray  # (C, r)
    s: FloatArray | float

    def of(self, part: slice) -> tuple[FloatArray, float]:
        """Of a part of the rows: products of the residuals (r, r), and the sum of the squares of the rows."""
        rows = self.rows[part]
        z = rows * np.asarray(self.s, rows.dtype)
        within = z - self.means.astype(rows.dtype)[self.labels[part]]
        return within.T @ within, float((z**2).sum())


@dataclass(frozen=True, eq=False)
class _ClassSums:
    rows: Rows | ComputedRows
    labels: IntArray
    count: int

    def of(self, part: slice) -> tuple[Rows]:
        """Of a part of the rows, (C, r)."""
        given = self.labels[part]
        each = csr_array((np.ones(len(given)), (given, np.arange(len(given)))), (self.count, len(given)))
        return (each @ self.rows[part],)


def class_sums(rows: Rows | ComputedRows, labels: IntArray, classes: int) -> FloatArray:
    """(C, D) sums of the rows (N, D) of each class."""
    return np.asarray(sum_blocks(_ClassSums(rows, labels, classes).of, parts_of(len(labels)))[0])
