"""Calibration of off-topic scores: a local false discovery rate without a parameter to choose.

The distribution of clean scores is estimated from the data class by class, since classes differ in how far apart their
samples lie. In a normal distribution of m dimensions the logarithm of the distance to the k nearest is gamma
distributed with shape m / 2, as it grows with the squared distance to the centre; classes of images fall off faster,
and a shape of m^2 / 5 describes both (measured). A gamma distribution is fitted to the median and the 80% quantile of
each class. The expected and the observed number of samples are compared from the worst score on, and their ratio is
made monotone (isotonic regression). Samples that come out as off-topic are left out, and the fit is repeated until
nothing changes. So that off-topic samples do not widen the first fit, it takes the scale from the lower half of a
class.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import gammaincc, gammaincinv

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

DISTANCE_OFFSET = 1e-4  # smaller distances are all the same off-topic score
SHAPE_DIVISOR = 5.0  # the shape is the squared dimension over this
MIN_SHAPE, MAX_SHAPE = 0.1, 200.0  # from a power-law tail to a normal one
ROUNDS = 10
UPPER_QUANTILES = (0.8, 0.7, 0.8)  # per round, where the scale is measured; the first is mirrored, the last repeats
MAX_OFF_TOPIC_FRACTION = 1 / 3  # more than that is a property of the fit, not of the samples


def off_topic_calibration(score: FloatArray, labels: IntArray | None = None, dimension: float = 12.0) -> Calibration:
    """Calibration of off-topic scores.

    Args:
        score: (N,) in [0, 1], low = off-topic, of `off_topic_scores`.
        labels: (N,) class codes from 0; without them all samples are one class, and fewer are flagged.
        dimension: intrinsic dimension of the samples; 12 is usual for images.
    """
    shape = float(np.clip(dimension**2 / SHAPE_DIVISOR, MIN_SHAPE, MAX_SHAPE))
    log_distance = np.log(1 - score + DISTANCE_OFFSET)
    group = calibration_groups(len(score), labels)
    body = np.ones(len(score), bool)
    for turn in range(ROUNDS):
        clean = local_false_discovery_rate(log_distance, *fit_null(log_distance, group, body, turn, shape), shape)
        before, body = body, clean >= 0.5
        if turn + 1 >= len(UPPER_QUANTILES) and (body == before).all():
            break
    body = body if body.mean() >= 1 - MAX_OFF_TOPIC_FRACTION else np.ones(len(score), bool)
    clean = local_false_discovery_rate(log_distance, *fit_null(log_distance, group, body, ROUNDS, shape), shape)
    return make_calibration(score, clean)


MIN_CLASS_SIZE = 20  # smaller classes are fitted together


def calibration_groups(n: int, labels: IntArray | None) -> IntArray:
    """Group of every sample, (N,) codes from 0: its class, or one group for all classes that are too small."""
    if labels is None:
        return np.zeros(n, np.int64)
    codes = labels + 1  # samples without a label, -1, are a group of their own
    count = np.bincount(codes)
    named = np.where(count[codes] >= MIN_CLASS_SIZE, codes, len(count))
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


PRIOR_SAMPLES = 30  # weight of the scale common to all classes, beside a class's own samples
SCALE_MARGIN = 3.0  # standard errors, roughly, by which a scale is widened
MIN_SCALE = 0.017  # of the log distances of a class


def fit_null(
    log_distance: FloatArray, group: IntArray, body: BoolArray, turn: int, shape: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Number, median and scale of the body in every group: three of (G,). The scale is median to 80% quantile.

    The scale of a group is shrunk towards that of all groups, and widened by its standard error.
    """
    upper = UPPER_QUANTILES[min(turn, len(UPPER_QUANTILES) - 1)]
    at = upper if turn else 1 - upper
    unit = abs(gamma_quantile(at, shape) - gamma_quantile(0.5, shape)) / (
        gamma_quantile(0.8, shape) - gamma_quantile(0.5, shape)
    )
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1])
    fitted = []
    for part in parts:
        inside = body[part]
        values = log_distance[part[inside]] if inside.any() else log_distance[part]
        middle, end = np.quantile(values, (0.5, at))
        fitted.append((np.count_nonzero(inside), middle, max(abs(end - middle) / unit, MIN_SCALE)))
    number, middles, scales = np.array(fitted, np.float64).T
    common = np.sqrt(np.average(scales**2, weights=number + 1e-9))
    shrunk = np.exp((number * np.log(scales) + PRIOR_SAMPLES * np.log(common)) / (number + PRIOR_SAMPLES))
    return number, middles, shrunk * (1 + SCALE_MARGIN * len(log_distance) ** -0.5)


def gamma_quantile(share: float, shape: float) -> float:
    """Quantile of the gamma distribution with that shape and scale 1."""
    return float(gammaincinv(shape, share))


GRID_POINTS = 2048


def local_false_discovery_rate(
    log_distance: FloatArray, number: FloatArray, middle: FloatArray, scale: FloatArray, shape: float
) -> FloatArray:
    """Probability that each sample is clean, (N,), lower for larger distances; 1 for the nearer half.

    Args:
        log_distance: (N,), high = off-topic.
        number: (G,) clean samples of every group.
        middle: (G,) their medians.
        scale: (G,) from the median to the 80% quantile.
        shape: of the gamma distribution.
    """
    start = gamma_quantile(0.5, shape)
    unit = gamma_quantile(0.8, shape) - start
    clean = np.ones(len(log_distance))
    median, highest = np.median(log_distance), log_distance.max(initial=-np.inf)
    upper = np.flatnonzero(log_distance > median)
    upper = upper[np.argsort(-log_distance[upper], kind="stable")]
    grid = np.linspace(median, highest, GRID_POINTS)
    above = np.zeros(GRID_POINTS)
    for n, m, s in zip(number, middle, scale, strict=True):
        above += n * gammaincc(shape, np.maximum(start + unit * (grid - m) / s, 0))
    expected = np.interp(log_distance[upper], grid, above)  # clean samples at least as far
    clean[upper] = isotonic_regression(np.diff(expected, prepend=0.0)).x.clip(0, 1)
    return clean


def make_calibration(score: FloatArray, clean: FloatArray) -> Calibration:
    """Calibration with knots on both sides of every change of the probability."""
    order = np.argsort(score, kind="stable")
    knots, probability = score[order], np.maximum.accumulate(clean[order])
    change = np.flatnonzero(np.diff(probability)) + 1
    keep = np.unique(np.concatenate([[0], change - 1, change, [len(knots) - 1]]))
    knots, first = np.unique(knots[keep], return_index=True)
    return Calibration(knots, probability[keep][first])
