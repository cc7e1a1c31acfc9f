"""How likely a sample with a given off-topic score is fine: a local false discovery rate without a knob.

What the scores of clean samples look like is read off the data class by class, since classes differ in how far apart
their samples lie. In a normal cloud of m dimensions the logarithm of the distance to the k nearest is gamma distributed
with shape m / 2, as it grows with the squared distance to the centre; classes of pictures fall off faster, and a shape
of
m^2 / 5 describes them and such clouds alike (measured). A gamma distribution is laid through the median and the 80%
quantile of each class. The expected and the observed number of samples are compared from the worst score on, and their
ratio is made monotone (isotonic regression). Samples that come out as off-topic are left out, and all is fitted again
until nothing changes. The first fit must not be drawn wide by off-topic samples, so it takes the scale from the lower
half of a class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import gammaincc, gammaincinv

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.near_duplicates.local_scale import intrinsic_dimension
from selfclean_hooks.detectors.off_topic.branches import off_topic_scores
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

MAX_FALSE_FLAG_RATE = 0.6  # share of wrong flags at most, as estimated: the estimate is a cautious one


@dataclass(frozen=True)
class BranchOffTopic:
    """How far a sample, with its branch of the tree, lies from the rest; flagged where that is more than a tail."""

    issue: str = "off_topic"
    neighbors: int = 20  # that the dimension is read off

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = off_topic_scores(geometry.x, geometry.tree, geometry.labels)
        m, _ = intrinsic_dimension(geometry.neighbors.distances.numpy()[:, : self.neighbors])
        calibration = off_topic_calibration(score, geometry.labels, m)
        automatic = min(calibration.best_f1_threshold(score), calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(score, automatic, calibration=calibration)


MIN_CLASS_SIZE = 20  # members of a class that is looked at on its own; smaller ones are taken together
PRIOR_SAMPLES = 30  # samples that the scale common to all classes counts for beside a class's own
SCALE_MARGIN = 3.0  # standard errors, roughly, by which a scale is widened
UPPER_QUANTILES = (
    0.8,
    0.7,
    0.8,
)  # quantile of each round that the scale is read off; the first is mirrored, the last repeats
ROUNDS = 10
MIN_SCALE = 0.017  # a class whose log distances differ by less is taken to spread that much
DISTANCE_OFFSET = 1e-4  # distances below tell nothing about being off-topic
MAX_OFF_TOPIC_FRACTION = 1 / 3  # more than that is a finding about the fit, not about the samples
SHAPE_DIVISOR = 5.0  # the shape is the squared dimension over this
MIN_SHAPE, MAX_SHAPE = 0.1, 200.0  # from a tail like a power's to a normal one
GRID_POINTS = 2048


def off_topic_calibration(score: FloatArray, labels: IntArray | None = None, dimension: float = 12.0) -> Calibration:
    """Calibration of off-topic scores.

    Args:
        score: (N,) in [0, 1], low = off-topic, of `off_topic_scores`.
        labels: (N,) class codes from 0; without them all samples are one class, and less is found.
        dimension: intrinsic dimension of the samples; 12 is usual for pictures.
    """
    shape = float(np.clip(dimension**2 / SHAPE_DIVISOR, MIN_SHAPE, MAX_SHAPE))
    strange = np.log(1 - score + DISTANCE_OFFSET)
    group = calibration_groups(len(score), labels)
    body = np.ones(len(score), bool)
    for turn in range(ROUNDS):
        clean = local_false_discovery_rate(strange, *fit_null(strange, group, body, turn, shape), shape)
        before, body = body, clean >= 0.5
        if turn + 1 >= len(UPPER_QUANTILES) and (body == before).all():
            break
    body = body if body.mean() >= 1 - MAX_OFF_TOPIC_FRACTION else np.ones(len(score), bool)
    clean = local_false_discovery_rate(strange, *fit_null(strange, group, body, ROUNDS, shape), shape)
    return make_calibration(score, clean)


def calibration_groups(n: int, labels: IntArray | None) -> IntArray:
    """Group of every sample, (N,) codes from 0: its class, or one for all classes that are too small."""
    if labels is None:
        return np.zeros(n, np.int64)
    codes = labels + 1  # samples without a label, -1, are a group of their own
    count = np.bincount(codes)
    named = np.where(count[codes] >= MIN_CLASS_SIZE, codes, len(count))
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


def fit_null(
    strange: FloatArray, group: IntArray, body: BoolArray, turn: int, shape: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Number, median and scale of the body in every group: three of (G,). The scale is median to 80% quantile.

    The scale of a group is drawn to that of all, and widened by what chance may have taken from it.
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
        values = strange[part[inside]] if inside.any() else strange[part]
        middle, end = np.quantile(values, (0.5, at))
        fitted.append((np.count_nonzero(inside), middle, max(abs(end - middle) / unit, MIN_SCALE)))
    number, middles, scales = np.array(fitted, np.float64).T
    common = np.sqrt(np.average(scales**2, weights=number + 1e-9))
    drawn = np.exp((number * np.log(scales) + PRIOR_SAMPLES * np.log(common)) / (number + PRIOR_SAMPLES))
    return number, middles, drawn * (1 + SCALE_MARGIN * len(strange) ** -0.5)


def gamma_quantile(share: float, shape: float) -> float:
    """Of the gamma distribution with that shape and scale 1."""
    return float(gammaincinv(shape, share))


def local_false_discovery_rate(
    strange: FloatArray, number: FloatArray, middle: FloatArray, scale: FloatArray, shape: float
) -> FloatArray:
    """Probability that each sample is fine, (N,), the lower the stranger; 1 for the less strange half.

    Args:
        strange: (N,), high = off-topic.
        number: (G,) clean samples of every group.
        middle: (G,) their medians.
        scale: (G,) from there to their 80% quantiles.
        shape: of the gamma distribution.
    """
    start = gamma_quantile(0.5, shape)
    unit = gamma_quantile(0.8, shape) - start
    clean = np.ones(len(strange))
    median, highest = np.median(strange), strange.max(initial=-np.inf)
    upper = np.flatnonzero(strange > median)
    upper = upper[np.argsort(-strange[upper], kind="stable")]
    grid = np.linspace(median, highest, GRID_POINTS)
    above = np.zeros(GRID_POINTS)
    for n, m, s in zip(number, middle, scale, strict=True):
        above += n * gammaincc(shape, np.maximum(start + unit * (grid - m) / s, 0))
    expected = np.interp(strange[upper], grid, above)  # clean samples at least as strange
    clean[upper] = isotonic_regression(np.diff(expected, prepend=0.0)).x.clip(0, 1)
    return clean


def make_calibration(score: FloatArray, clean: FloatArray) -> Calibration:
    """The scores where the probability changes, from below and from above."""
    order = np.argsort(score, kind="stable")
    knots, fine = score[order], np.maximum.accumulate(clean[order])
    change = np.flatnonzero(np.diff(fine)) + 1
    keep = np.unique(np.concatenate([[0], change - 1, change, [len(knots) - 1]]))
    knots, first = np.unique(knots[keep], return_index=True)
    return Calibration(knots, fine[keep][first])
