"""A direction that the farthest samples have in common: much of what is off-topic comes from one other source.

Distances count differences in all directions alike. Samples of another source, such as drawings among photographs,
differ from the rest in a direction of their own, and the nearer ones of them differ in it too; the farthest samples of
classes are far in a direction each. So Fisher's linear discriminant ("The use of multiple measurements in taxonomic
problems", 1936) is fitted to the farthest samples and the rest, and each sample is projected by one that was fitted
without it. Where the farthest agree in a direction, the projections are one more distance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.neighbors.unit_vectors import matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

FAR_FRACTION = 0.03  # of all samples: the farthest
MIN_FAR = 10  # samples; of fewer a direction says little
DOUBTFUL = 3  # times as many of the farthest are not among the rest
MAX_REST = 4096  # samples that stand for the rest where there are more
FOLDS = 5
MIN_OTHERS = 5  # of the farthest, in the other folds
MIN_SPREAD = 1e-6
RIDGE = 0.3  # of the mean variance, added to each
ROUNDS = 2  # what the first direction finds makes the second one clearer; a third changes little
# mean projection of the farthest, in standard deviations of the rest: up to 3.5 in sets of drawings, glyphs and clothes
# without off-topic samples, 4.1 among photographs; most sets with 5% of them have 5 to 30
BY_CHANCE, IN_COMMON = 4.0, 6.0
FARTHEST = 8.0  # spreads; how much farther a projection is says no more


def add_discriminant(units: FloatArray, weight: float, rows: Tensor, labels: IntArray) -> tuple[FloatArray, bool]:
    """A distance and the projections, averaged; and whether these count.

    Args:
        units: (N,) log distances, in units of their spread; high = off-topic.
        weight: of them. That of the projections is between 0 and 1, by how far the farthest samples agree.
        rows: (N, R) whitened.
        labels: (N,) class codes from 0, -1: none.
    """
    number = round(FAR_FRACTION * len(units))
    fold = folds(labels)
    if number < MIN_FAR or not rows.shape[1] or not fold.any():
        return units, False
    blended, share = units, 0.0
    for _ in range(ROUNDS):
        order = np.argsort(-blended, kind="stable")
        far, rest = order[:number], order[DOUBTFUL * number :]
        if len(far) - np.bincount(fold[far]).max() < MIN_OTHERS:
            break
        projection = project(rows, far, rest, fold)
        middle, upper = np.quantile(projection, (0.5, 0.8))
        if not share:
            agree = float(projection[far].mean() - middle)
            share = float(np.clip((agree - BY_CHANCE) / (IN_COMMON - BY_CHANCE), 0, 1))
        apart = np.minimum((projection - middle) / max(upper - middle, MIN_SPREAD), FARTHEST)
        blended = (weight * units + share * apart) / (weight + share)
    return blended, share > 0


def folds(labels: IntArray) -> IntArray:
    """(N,) fold of every sample: that of its class. Classes are shared out from the largest, to the smallest fold."""
    codes, inverse, size = np.unique(labels, return_inverse=True, return_counts=True)
    total, fold = np.zeros(min(FOLDS, len(codes)), np.int64), np.zeros(len(codes), np.int64)
    for code in np.argsort(-size, kind="stable"):
        fold[code] = total.argmin()
        total[fold[code]] += size[code]
    return np.asarray(fold[inverse], np.int64)


def project(rows: Tensor, far: IntArray, rest: IntArray, fold: IntArray) -> FloatArray:
    """(N,) projections on the direction from the rest to far samples of the other folds, in deviations of the rest.

    Args:
        rows: (N, R).
        far: positions of the farthest samples.
        rest: positions of the others, in any order that depends on the samples alone.
        fold: (N,) codes from 0.
    """
    rest = rest[np.linspace(0, len(rest) - 1, min(len(rest), MAX_REST)).round().astype(np.int64)]
    values, number = rows.numpy(), int(fold.max()) + 1
    directions, middles = np.zeros((number, rows.shape[1])), np.zeros(number)
    for k in range(number):
        one, other = (values[at[fold[at] != k]].astype(np.float64) for at in (far, rest))
        covariance = np.atleast_2d(np.cov(other.T))
        covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        direction = np.linalg.solve(covariance, one.mean(0) - other.mean(0))
        along = other @ direction
        directions[k], middles[k] = direction / along.std(), np.median(along) / along.std()
    projected = matrix_product(rows, torch.from_numpy(directions.astype(np.float32))).numpy()
    return np.asarray(projected[np.arange(len(fold)), fold] - middles[fold], np.float64)
