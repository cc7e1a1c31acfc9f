"""Mixtures of clean and off-topic samples: how likely each makes the distances, by a histogram of the upper half."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from selfclean_hooks.utils.arrays import FloatArray, IntArray

MIN_SCALE = 1e-3  # of log distances
TAIL_STARTS = float(ndtri(0.8))  # standard deviations, where a tail may become heavier: the 80% quantile
NO_OFF_TOPIC = 0.5  # prior probability that there are no off-topic samples
FRACTIONS = np.array([0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.13, 0.165, 0.21])  # of off-topic samples
SCALES = np.array([0.88, 1.0, 1.14])  # of clean samples, by their 80% quantile
SCALE_ERROR = 0.1  # standard deviation of the logarithm of the scale
TAILS = np.linspace(-0.6, 1.2, 10)  # logarithm of how much a tail is stretched
TAIL_ERROR = 0.3  # standard deviation of that logarithm: 0.22 on 20 clean sets of images, others may differ more
CENTERS = np.array([1.5, 2.0, 2.5, 3.0, 3.5, 4.2, 5.5, 8.0, 12.0])  # of off-topic samples, in standard deviations
WIDTHS = np.array([0.3, 0.6, 1.2])  # of their distribution
NEARER = np.array([0.0, 0.3, 0.6])  # the fraction of them between the clean samples and that centre
NEARER_STARTS = 1.0  # standard deviations
ANYWHERE = 0.02  # the fraction of them at any distance
MOST_INFORMATIVE = 1500  # samples that the likelihood counts at most: the forms are approximate

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

    def bins(self, log_distance: FloatArray) -> IntArray:
        """(N,) bin of each sample."""
        return np.searchsorted(self.edges, log_distance, side="left")

    def masses(self, cumulative: FloatArray) -> FloatArray:
        """(..., B) probability of every bin, of the cumulative distribution at the edges."""
        return np.diff(cumulative, axis=-1, prepend=0.0)


class Fit(NamedTuple):
    """Mixtures with one fraction of off-topic samples: C distributions of clean ones, O of off-topic ones."""

    usual: bool  # whether the fraction is one that the estimate considers; the interval considers all
    log_prior: FloatArray  # (C, 1) up to a constant that all fits share
    log_likelihood: FloatArray  # (C, O) the same
    clean: FloatArray  # (C, B) probability of every bin, times the fraction of clean samples
    off_topic: FloatArray  # (O, B) the same of off-topic ones


def fit_mixtures(
    log_distance: FloatArray,
    group: IntArray,
    tail: float,
    histogram: Histogram,
    most: float = 1.0,
    evidence: Callable[[FloatArray], FloatArray] | None = None,
) -> Iterator[Fit]:
    """Mixtures whose clean samples are normal beyond the median of each group, the tail apart.

    If off-topic samples are the farthest fraction of a group, the quantiles of the clean ones are quantiles of all at a
    lower share: this is what the median and the scale are read off.

    Args:
        log_distance: (N,) high = off-topic.
        group: (N,) codes from 0.
        tail: mean of the prior on the logarithm of how much a tail is stretched.
        histogram: of the log distances.
        most: the largest fraction of off-topic samples that is usual.
        evidence: of another kind: the log-likelihood of probabilities (..., B) that the samples of a bin are clean.
    """
    parts = [np.sort(log_distance[group == code]) for code in range(group.max() + 1)]
    n, counts = len(log_distance), histogram.counts
    weight = np.array([len(part) / n for part in parts])
    prior = -((TAILS[:, None] - tail) ** 2) / (2 * TAIL_ERROR**2) - np.log(SCALES) ** 2 / (2 * SCALE_ERROR**2)
    for fraction in (0.0, *FRACTIONS):
        middle, scale = _middles_and_scales(parts, fraction)
        common = float(np.sqrt(weight @ scale**2))
        clean = clean_masses(histogram, weight, middle, _shrunk(scale, common, weight * n))
        strange = off_topic_masses(histogram, float(weight @ middle), common)
        if fraction == 0:
            strange, probability = strange[:1], NO_OFF_TOPIC
        else:
            probability = (1 - NO_OFF_TOPIC) / np.count_nonzero(most >= FRACTIONS) / len(strange)
        clean, strange = (1 - fraction) * np.maximum(clean, 1e-9 / n), fraction * strange
        likelihood = np.log(clean[:, None] + strange) @ counts * min(1.0, MOST_INFORMATIVE / n)
        if evidence is not None:
            likelihood += evidence(np.minimum.accumulate(clean[:, None] / (clean[:, None] + strange), axis=2))
        yield Fit(fraction <= most, prior.reshape(-1, 1) + np.log(probability), likelihood, clean, strange)


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
