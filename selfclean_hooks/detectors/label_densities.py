"""Normal densities of the classes with one covariance, each sample left out of what it is measured by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHRINK = 0.2  # share of the covariance within classes that is taken as the same in all directions
FAR = 200.0  # squared distances from the nearest class mean above this are no more evidence


def log_densities(z: Floats, labels: Ints, block: int = 4096) -> NDArray[np.float32]:
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
    s = (1 - SHRINK) / n * (within.T @ within + means.T @ means)
    s += np.eye(len(s)) * (SHRINK * np.sum(within**2) + 1e-6 * np.sum(z**2)) / (n * max(1, len(s)))
    white = np.linalg.cholesky(np.linalg.inv(s)) if len(s) else s
    z, means = z @ white, means @ white
    out = np.empty((n, count), np.float32)
    for rows in (slice(start, start + block) for start in range(0, n, block)):
        given, here = labels[rows], np.arange(len(labels[rows]))
        far = (z[rows] ** 2).sum(1)[:, None] - 2 * z[rows] @ means.T + (means**2).sum(1)
        residual = z[rows] - means[given]
        grown = 1 + 1 / size[given]  # the residual from the mean without the sample, in units of that with it
        own = (residual**2).sum(1)
        a = (1 - SHRINK) / n * grown
        product = (residual * z[rows]).sum(1)[:, None] - residual @ means.T
        far[here, given], product[here, given] = grown**2 * own, grown * own
        far += a[:, None] * product**2 / np.maximum(1 - a * own, 0.05)[:, None]
        out[rows] = -np.minimum(far - far.min(1, keepdims=True), FAR) / 2
    return out
