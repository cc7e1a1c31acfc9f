"""Calibration of off-topic scores: how far clean samples reach is not known, so everything that fits is averaged.

The logarithm of the distance of clean samples is close to normal beyond its median, in each class or over all. How
heavy the tail is differs from data set to data set, and decides how many of the farthest are off-topic. So a mixture is
fitted: clean samples with a tail of some weight, and a fraction of off-topic samples somewhere beyond. Its likelihood
is computed for every combination of a grid, on a histogram of the upper half, and weighted with a prior. What results
is the probability of every score to be clean, averaged over the combinations, and the combinations with the fewest and
with the most off-topic samples that the data do not exclude: where off-topic samples form a group of their own these
agree, and where the tail may as well belong to the clean samples they do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.utils.arrays import FloatArray, IntArray

DISTANCE_OFFSET = 1e-4  # smaller distances are all the same off-topic score
MIN_SCALE = 1e-3  # of log distances
TAIL_STARTS = float(ndtri(0.8))  # standard deviations, where a tail may become heavier: the 80% quantile
NO_OFF_TOPIC = 0.5  # prior probability that there are no off-topic samples
FRACTIONS = np.array([0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.13, 0.165, 0.21])  # of off-topic samples
MAX_FRACTION_UNLABELED = 0.1  # of these, where more may be a class
SCALES = np.array([0.88, 1.0, 1.14])  # of clean samples, by their 80% quantile
SCALE_ERROR = 0.1  # standard deviation of the logarithm of the scale
TAILS = np.linspace(-0.6, 1.2, 10)  # logarithm of how much a tail is stretched
# the logarithm on 20 clean sets of images of 7 to 30 dimensions: standard deviation (0.22 there, other sets may differ
# more), and mean over all and within classes
TAIL_ERROR, TAIL_OF_ALL, TAIL_OF_CLASSES = 0.3, 0.0, 0.15
TAIL_BY_DIMENSION = 1.3  # over the dimension: added. In few dimensions the distance of a normal has a heavy tail
CENTERS = np.array([1.5, 2.0, 2.5, 3.0, 3.5, 4.2, 5.5, 8.0, 12.0])  # of off-topic samples, in standard deviations
WIDTHS = np.array([0.3, 0.6, 1.2])  # of their distribution
NEARER = np.array([0.0, 0.3, 0.6])  # the fraction of them between the clean samples and that centre
NEARER_STARTS = 1.0  # standard deviations
ANYWHERE = 0.02  # the fraction of them at any distance
MOST_INFORMATIVE = 1500  # samples that the likelihood counts at most: the forms are approximate
EXCLUDED = 0.02  # posterior probability on either side that the interval leaves out,
FLATTENED = 2 / 3  # by this power of the likelihood 29 of 32 sets are covered, by all of it 27

UNKNOWN = "the farthest samples may be off-topic or the tail of the others: no group of them lies apart"
FEW_DIMENSIONS = "the samples vary in so few directions that how far the farthest reach is not known"
MIN_DIMENSION = 3.0  # intrinsic; points of a plane have heavier tails than any in the grid
CERTAIN_FRACTION = 0.1  # of the flags, or else of the estimated number, that must be off-topic in every case
MAX_OPEN_FRACTION = 0.15  # of all samples that may or may not be off-topic


def off_topic_calibration(score: FloatArray, labels: IntArray | None = None, dimension: float = 12.0) -> Calibration:
    """Calibration of off-topic scores, with the least and the greatest probability of being clean.

    Args:
        score: (N,) in [0, 1], low = off-topic, of `off_topic_scores`.
        labels: (N,) class codes from 0; without them all samples are one class.
        dimension: intrinsic dimension of the samples; 12 is usual for images.
    """
    if len(score) < 2 or dimension < MIN_DIMENSION:
        nothing, everything = np.zeros(1), np.ones(1)
        return Calibration(nothing, everything, nothing, everything, FEW_DIMENSIONS if len(score) > 1 else "")
    log_distance = np.log(1 - score + DISTANCE_OFFSET)
    histogram = Histogram.of(log_distance)
    nulls = [(np.zeros(len(score), np.int64), TAIL_OF_ALL)]
    group = class_groups(len(score), labels, MIN_CLASS_SIZE)
    if group.any():
        nulls.append((group, TAIL_OF_CLASSES))
    most = MAX_FRACTION_UNLABELED if labels is None else 1.0
    more = TAIL_BY_DIMENSION / dimension
    fits = [fit for codes, tail in nulls for fit in fit_mixtures(log_distance, codes, tail + more, histogram, most)]
    clean, low, high = average(fits, histogram.counts)
    knots, (clean, low, high) = _as_knots(histogram.middles, clean, low, high)
    probabilities = [np.interp(score, knots, values) for values in (clean, low, high)]
    return Calibration(knots, clean, low, high, _why_unknown(*probabilities))


MIN_CLASS_SIZE = 20  # smaller classes are fitted together


def class_groups(n: int, labels: IntArray | None, least: int) -> IntArray:
    """Group of every sample, (N,) codes from 0: its class, or one group for all classes that are too small."""
    if labels is None:
        return np.zeros(n, np.int64)
    codes = labels + 1  # samples without a label, -1, are a group of their own
    count = np.bincount(codes)
    named = np.where(count[codes] >= least, codes, len(count))
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


BINS = 48  # at most, beyond the median
MIN_BINS = 8
BIN_WIDTH = 0.14  # standard deviations


class Histogram(NamedTuple):
    """Log distances: one bin up to the median, and bins of equal width beyond, of which the last has no end."""

    edges: FloatArray  # (B,) upper ends but that of the last, which is infinite
    counts: FloatArray  # (B,)
    middles: FloatArray  # (B,) ascending

    @classmethod
    def of(cls, log_distance: FloatArray) -> Histogram:
        """Up to 48 bins; 0.14 standard deviations wide, as far as the median and the 70% quantile tell these."""
        median, above = np.quantile(log_distance, (0.5, 0.7))
        width = BIN_WIDTH * max((above - median) / ndtri(0.7), MIN_SCALE)
        number = int(np.clip(np.ceil((log_distance.max() - median) / width), MIN_BINS, BINS))
        edges = np.append(median + width * np.arange(number), np.inf)
        counts = np.bincount(np.searchsorted(edges, log_distance, side="left"), minlength=number + 1)
        return cls(edges, counts.astype(np.float64), median + width * (np.arange(number + 1) - 0.5))

    def masses(self, cumulative: FloatArray) -> FloatArray:
        """(..., B) probability of every bin, of the cumulative distribution at the edges."""
        return np.diff(cumulative, axis=-1, prepend=0.0)


class Fit(NamedTuple):
    """Mixtures with one fraction of off-topic samples: C distributions of clean ones, O of off-topic ones."""

    log_prior: FloatArray  # (C, 1) up to a constant that all fits share
    log_likelihood: FloatArray  # (C, O) the same
    clean: FloatArray  # (C, B) probability of every bin, times the fraction of clean samples
    off_topic: FloatArray  # (O, B) the same of off-topic ones


def fit_mixtures(
    log_distance: FloatArray, group: IntArray, tail: float, histogram: Histogram, most: float = 1.0
) -> Iterator[Fit]:
    """Mixtures whose clean samples are normal beyond the median of each group, the tail apart.

    If off-topic samples are the farthest fraction of a group, the quantiles of the clean ones are quantiles of all at a
    lower share: this is what the median and the scale are read off.

    Args:
        log_distance: (N,) high = off-topic.
        group: (N,) codes from 0.
        tail: mean of the prior on the logarithm of how much a tail is stretched.
        histogram: of the log distances.
        most: the largest fraction of off-topic samples to consider.
    """
    fractions = FRACTIONS[most >= FRACTIONS]
    parts = [np.sort(log_distance[group == code]) for code in range(group.max() + 1)]
    n, counts = len(log_distance), histogram.counts
    weight = np.array([len(part) / n for part in parts])
    prior = -((TAILS[:, None] - tail) ** 2) / (2 * TAIL_ERROR**2) - np.log(SCALES) ** 2 / (2 * SCALE_ERROR**2)
    for fraction in (0.0, *fractions):
        middle, scale = _middles_and_scales(parts, fraction)
        common = float(np.sqrt(weight @ scale**2))
        clean = clean_masses(histogram, weight, middle, _shrunk(scale, common, weight * n))
        strange = off_topic_masses(histogram, float(weight @ middle), common)
        if fraction == 0:
            strange, probability = strange[:1], NO_OFF_TOPIC
        else:
            probability = (1 - NO_OFF_TOPIC) / len(fractions) / len(strange)
        clean, strange = (1 - fraction) * np.maximum(clean, 1e-9 / n), fraction * strange
        likelihood = np.log(clean[:, None] + strange) @ counts * min(1.0, MOST_INFORMATIVE / n)
        yield Fit(prior.reshape(-1, 1) + np.log(probability), likelihood, clean, strange)


FEW_SAMPLES = 10  # of so many the scale may be half of the true one


def _middles_and_scales(parts: list[FloatArray], fraction: float) -> tuple[FloatArray, FloatArray]:
    shares = np.array([0.5, 0.8]) * (1 - fraction)
    middle, upper = np.array([np.quantile(part, shares) for part in parts]).T
    widened = 1 + FEW_SAMPLES / sum(map(len, parts))
    return middle, np.maximum(widened * (upper - middle) / TAIL_STARTS, MIN_SCALE)


PRIOR_SAMPLES = 30  # weight of the scale common to all classes, beside a class's own samples


def _shrunk(scale: FloatArray, common: float, number: FloatArray) -> FloatArray:
    """The scales of the groups, shrunk towards the common one: of few samples a scale is not known well."""
    return np.asarray(np.exp((number * np.log(scale) + PRIOR_SAMPLES * np.log(common)) / (number + PRIOR_SAMPLES)))


def clean_masses(histogram: Histogram, weight: FloatArray, middle: FloatArray, scale: FloatArray) -> FloatArray:
    """(tails * scales, B) probability of every bin for clean samples, by G groups' weights, medians and scales."""
    deviation = (histogram.edges[:-1] - middle[:, None]) / scale[:, None] / SCALES[:, None, None]
    beyond = np.maximum(deviation - TAIL_STARTS, 0)
    stretched = deviation - beyond + beyond * np.exp(-TAILS)[:, None, None, None]
    cumulative = np.einsum("tsge,g->tse", ndtr(stretched), weight).reshape(-1, deviation.shape[-1])
    return histogram.masses(np.pad(cumulative, ((0, 0), (0, 1)), constant_values=1.0))


def off_topic_masses(histogram: Histogram, middle: float, scale: float) -> FloatArray:
    """(O, B) probability of every bin for off-topic samples, by the median and the scale of clean ones."""
    ends = histogram.edges[:-1]
    centers = middle + scale * CENTERS
    centers = centers[: max(1, np.count_nonzero(centers < histogram.middles[-1] + scale))]  # none beyond all samples
    far = ndtr((ends - centers[:, None, None]) / (scale * WIDTHS[:, None]))
    start = middle + scale * NEARER_STARTS
    room = np.maximum(centers - start, 0.3 * scale)
    near = np.clip((ends - start) / room[:, None], 0, 1)[:, None]
    anywhere = np.arange(len(ends)) / len(ends)  # all bins beyond the median are equally wide
    mixed = [(1 - part - ANYWHERE) * far + part * near + ANYWHERE * anywhere for part in NEARER]
    cumulative = np.concatenate(mixed).reshape(-1, len(ends))
    return histogram.masses(np.pad(cumulative, ((0, 0), (0, 1)), constant_values=1.0))


NEGLIGIBLE = 1e-5  # of the weight of the best combination


def average(fits: list[Fit], counts: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Three of (B,): probability that the samples of a bin are clean, the least, and the greatest one.

    The probability of each combination falls with the distance: where a single far sample is likelier clean than one
    nearer by, it is not. The least and the greatest are averages over the combinations with the most and the fewest
    off-topic samples, by a flattened likelihood: none of the forms is the true one.
    """
    best = max(float(fit.log_likelihood.max()) for fit in fits)

    def log_weight(fit: Fit, power: float) -> FloatArray:
        return fit.log_prior + power * (fit.log_likelihood - best)

    least = max(float(log_weight(fit, FLATTENED).max()) for fit in fits) + np.log(NEGLIGIBLE)
    kept = [np.nonzero(log_weight(fit, FLATTENED) > least) for fit in fits]
    whole, flat = (
        np.exp(np.concatenate([log_weight(fit, power)[at] for fit, at in zip(fits, kept, strict=True)]))
        for power in (1.0, FLATTENED)
    )
    curves = [fit.clean[c] / (fit.clean[c] + fit.off_topic[o]) for fit, (c, o) in zip(fits, kept, strict=True)]
    curve = np.minimum.accumulate(np.concatenate(curves), axis=1)
    order = np.argsort((1 - curve) @ counts, kind="stable")
    place = flat[order].cumsum() / flat.sum()
    fewest, most = order[: max(1, np.count_nonzero(place <= EXCLUDED))], order[place >= 1 - EXCLUDED]
    averaged = (w[at] @ curve[at] / w[at].sum() for at, w in ((order, whole), (fewest, flat), (most, flat)))
    clean, high, low = (np.minimum.accumulate(values.clip(0, 1)) for values in averaged)  # but for rounding it is so
    return clean, np.minimum(low, clean), np.maximum(high, clean)


def _as_knots(log_distance: FloatArray, *probabilities: FloatArray) -> tuple[FloatArray, list[FloatArray]]:
    """Scores, ascending, and the probabilities at these."""
    score = (1 + DISTANCE_OFFSET - np.exp(log_distance[::-1])).clip(0, 1)
    score, first = np.unique(score, return_index=True)
    return score, [values[::-1][first] for values in probabilities]


def _why_unknown(clean: FloatArray, low: FloatArray, high: FloatArray) -> str:
    """Why the number cannot be estimated: all that would be flagged may be clean, or too much is left open."""
    flagged = clean < 0.5
    nothing_sure = flagged.any() and (1 - high[flagged]).mean() < CERTAIN_FRACTION
    nothing_known = (1 - high).sum() < CERTAIN_FRACTION * (1 - clean).sum()
    return UNKNOWN if nothing_sure or (nothing_known and (1 - low).mean() > MAX_OPEN_FRACTION) else ""
