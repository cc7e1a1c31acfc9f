"""A direction that the farthest samples have in common: much of what is off-topic comes from one other source.

Distances count differences in all directions alike. Samples of another source, such as drawings among photographs,
differ from the rest in a direction of their own, the nearer ones of them as well, and whatever label they were given.
The farthest samples of the classes are far in a direction each. So Fisher's linear discriminant ("The use of multiple
measurements in taxonomic problems", 1936) is fitted to the farthest samples and the rest, and every sample is projected
by one that was fitted to other classes than its own. Where the farthest agree, the projections are one more distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.detectors.off_topic.distances import evenly_spaced
from selfclean_hooks.neighbors.unit_vectors import matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

FAR_FRACTIONS = (0.05, 0.03, 0.02, 0.01, 0.005)  # of all samples, the farthest: the most that agree are taken
MIN_FAR, MIN_OTHERS = 10, 5  # samples, and those of them in other folds: of fewer a direction says little
DOUBTFUL = 3  # times as many of the farthest are not among the rest
MAX_REST = 4096  # samples that stand for the rest where there are more
FOLDS = 5
RIDGE = 0.3  # of the mean variance, added to each
ROUNDS = 2  # what the first direction finds makes the second one clearer; a third changes little
# agreement that counts for nothing, and fully. Without off-topic samples it is up to 3.1 in sets of digits, clothes,
# drawings and CIFAR-10, and 3.9 among photographs; with 1 to 10% of them the median is 8
BY_CHANCE, IN_COMMON = 3.0, 5.0
LESS_CLEAR = 0.4  # of the agreement of fewer samples, which are purer
MIN_SPREAD, LEAST_VARIANCE = 1e-6, 1e-12
FARTHEST = 8.0  # spreads; how much farther a projection is says no more


class Direction(NamedTuple):
    """What the farthest samples differ in."""

    number: int  # of the farthest samples
    projection: FloatArray  # (N,) in standard deviations of the rest, from their median
    agreement: float  # mean projection of the farthest


def add_discriminant(units: FloatArray, weight: float, rows: Tensor, labels: IntArray) -> tuple[FloatArray, bool]:
    """A distance and the projections, averaged; and whether these count.

    Args:
        units: (N,) log distances, in units of their spread; high = off-topic.
        weight: of them. That of the projections is between 0 and 1, by how far the farthest samples agree.
        rows: (N, R) whitened.
        labels: (N,) class codes from 0, -1: none.
    """
    fold = folds(labels)
    found = _clearest(units, rows, fold)
    share = 0.0 if found is None else float(np.clip((found.agreement - BY_CHANCE) / (IN_COMMON - BY_CHANCE), 0, 1))
    if found is None or not share:
        return units, False
    blended = units
    for _ in range(ROUNDS):
        found = direction(blended, rows, fold, found.number) or found
        middle, upper = np.quantile(found.projection, (0.5, 0.8))
        apart = np.minimum((found.projection - middle) / max(upper - middle, MIN_SPREAD), FARTHEST)
        blended = (weight * units + share * apart) / (weight + share)
    return blended, True


def _clearest(units: FloatArray, rows: Tensor, fold: IntArray) -> Direction | None:
    """The direction of the most samples that agree in full, and not far less than fewer do; or the clearest one."""
    numbers = [round(fraction * len(units)) for fraction in FAR_FRACTIONS] if rows.shape[1] else []
    tried = [one for number in numbers if number >= MIN_FAR and (one := direction(units, rows, fold, number))]
    most = max((one.agreement for one in tried), default=0.0)
    enough = max(IN_COMMON, LESS_CLEAR * most)
    return next((one for one in tried if one.agreement >= min(enough, most)), None)


def folds(labels: IntArray) -> IntArray:
    """(N,) fold of every sample: that of its class. Classes are shared out from the largest, to the smallest fold."""
    codes, inverse, size = np.unique(labels, return_inverse=True, return_counts=True)
    total, fold = np.zeros(min(FOLDS, len(codes)), np.int64), np.zeros(len(codes), np.int64)
    for code in np.argsort(-size, kind="stable"):
        fold[code] = total.argmin()
        total[fold[code]] += size[code]
    return np.asarray(fold[inverse], np.int64)


def direction(distance: FloatArray, rows: Tensor, fold: IntArray, number: int) -> Direction | None:
    """From the rest to the farthest samples of other folds than a sample's own; None where these are too few.

    Args:
        distance: (N,) high = far.
        rows: (N, R).
        fold: (N,) codes from 0.
        number: of samples that are the farthest.
    """
    order = np.argsort(-distance, kind="stable")
    far, rest = order[:number], order[DOUBTFUL * number :]
    if number - np.bincount(fold[far]).max() < MIN_OTHERS:
        return None
    rest = rest[evenly_spaced(len(rest), MAX_REST)]
    values, parts = rows.numpy(), range(int(fold.max()) + 1)
    directions, middles = np.zeros((len(parts), rows.shape[1])), np.zeros(len(parts))
    centred, of = values[rest].astype(np.float64), fold[rest]
    centre = centred.mean(0)
    centred -= centre
    total = centred.T @ centred
    for part in parts:
        left_out = centred[of == part]
        count = len(centred) - len(left_out)
        if count < MIN_OTHERS:
            return None
        mean = -left_out.sum(0) / count
        # what is left of all: a fifth of the products that each covariance by itself would take
        covariance = (total - left_out.T @ left_out - count * np.outer(mean, mean)) / (count - 1)
        covariance += (RIDGE * np.trace(covariance) / len(covariance) + LEAST_VARIANCE) * np.eye(len(covariance))
        beyond = values[far[fold[far] != part]].mean(0, dtype=np.float64) - centre
        across = np.linalg.solve(covariance, beyond - mean)
        along = (centred @ across)[of != part]
        spread = max(float(along.std()), LEAST_VARIANCE)
        directions[part], middles[part] = across / spread, (np.median(along) + centre @ across) / spread
    projected = matrix_product(rows, torch.from_numpy(directions.astype(np.float32))).numpy()
    projection = projected[np.arange(len(fold)), fold] - middles[fold]
    projection -= np.median(projection)
    return Direction(number, projection.astype(np.float64), float(projection[far].mean()))
