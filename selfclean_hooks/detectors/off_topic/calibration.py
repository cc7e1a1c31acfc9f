"""Calibration of off-topic scores: how far clean samples reach is not known, so everything that fits is averaged.

The logarithm of the distance of clean samples is close to normal beyond its median, in each class or over all. How
heavy the tail is differs from data set to data set, and decides how many of the farthest are off-topic. So a mixture is
fitted: clean samples with a tail of some weight, and a fraction of off-topic samples somewhere beyond. Its likelihood
is computed for every combination of a grid, by the distances and by how often labels of neighbours agree, and weighted
with a prior. What results is the probability of every score to be clean, averaged over the combinations, and the
combinations with the fewest and with the most off-topic samples that the data do not exclude: where off-topic samples
form a group of their own these agree, and where the tail may as well belong to the clean samples they do not.
"""

from __future__ import annotations

import numpy as np

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.off_topic.class_agreement import ClassAgreement
from selfclean_hooks.detectors.off_topic.mixtures import Fit, Histogram, fit_mixtures
from selfclean_hooks.utils.arrays import FloatArray, IntArray

DISTANCE_OFFSET = 1e-4  # smaller distances are all the same off-topic score
MAX_FRACTION_UNLABELED = 0.1  # of off-topic samples that the estimate considers, where more may be a class
TAIL_OF_ALL, TAIL_OF_CLASSES = 0.0, 0.15  # mean of the logarithm of the stretch, on 20 clean sets of images
TAIL_BY_DIMENSION = 1.3  # over the dimension: added. In few dimensions the distance of a normal has a heavy tail
EXCLUDED = 0.02  # posterior probability on either side that the interval leaves out,
FLATTENED = 2 / 3  # by this power of the likelihood of distances
FLATTENED_TWICE = 1 / 2  # by this one of distances and labels, which err together,
FLATTENED_THRICE = 2 / 5  # and by this one where a direction of the farthest samples is among the distances

UNKNOWN = "the farthest samples may be off-topic or the tail of the others: no group of them lies apart"
FEW_DIMENSIONS = "the samples vary in so few directions that how far the farthest reach is not known"
MIN_DIMENSION = 3.0  # intrinsic; points of a plane have heavier tails than any in the grid
CERTAIN_FRACTION = 0.1  # of the flags, or else of the estimated number, that must be off-topic in every case
MAX_OPEN_FRACTION = 0.15  # of all samples that may or may not be off-topic


def off_topic_calibration(
    score: FloatArray,
    labels: IntArray | None = None,
    dimension: float = 12.0,
    agreement: FloatArray | None = None,
    may_be_class: float = 0.0,
    agree: bool = False,
) -> Calibration:
    """Calibration of off-topic scores, with the least and the greatest probability of being clean.

    Args:
        score: (N,) in [0, 1], low = off-topic, of `off_topic_scores`.
        labels: (N,) class codes from 0; without them all samples are one class.
        dimension: intrinsic dimension of the samples; 12 is usual for images.
        agreement: (N,) of `neighbor_agreement`.
        may_be_class: the fraction of samples in branches that are classes or off-topic: the interval allows for both.
        agree: whether a direction that the farthest samples have in common is among the distances.
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
    by_label = None
    if labels is not None and agreement is not None:
        by_label = ClassAgreement.of(agreement, labels, histogram.bins(log_distance), histogram.counts)
    most = MAX_FRACTION_UNLABELED if labels is None else 1.0
    evidence = None if by_label is None else by_label.log_likelihood
    more = TAIL_BY_DIMENSION / dimension
    fits = [
        fit
        for codes, tail in nulls
        for fit in fit_mixtures(log_distance, codes, tail + more, histogram, most, evidence)
    ]
    flattened = FLATTENED_THRICE if agree else FLATTENED if by_label is None else FLATTENED_TWICE
    clean, low, high = average(fits, histogram.counts, flattened)
    knots, (clean, low, high) = _as_knots(histogram.middles, clean, low, high)
    probabilities = [np.interp(score, knots, values) for values in (clean, low, high)]
    return Calibration(knots, clean, (1 - may_be_class) * low, high, _why_unknown(*probabilities))


MIN_CLASS_SIZE = 20  # smaller classes are fitted together


def class_groups(n: int, labels: IntArray | None, least: int) -> IntArray:
    """Group of every sample, (N,) codes from 0: its class, or one group for all classes that are too small."""
    if labels is None:
        return np.zeros(n, np.int64)
    codes = labels + 1  # samples without a label, -1, are a group of their own
    count = np.bincount(codes)
    named = np.where(count[codes] >= least, codes, len(count))
    return np.unique(named, return_inverse=True)[1].astype(np.int64)


NEGLIGIBLE = 1e-5  # of the weight of the best combination


def average(
    fits: list[Fit], counts: FloatArray, flattened: float = FLATTENED
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Three of (B,): probability that the samples of a bin are clean, the least, and the greatest one.

    The probability of each combination falls with the distance: where a single far sample is likelier clean than one
    nearer by, it is not. The least and the greatest are averages over the combinations with the most and the fewest
    off-topic samples, by a flattened likelihood, as none of the forms is the true one; unusual fractions count too.
    """
    best = max(float(fit.log_likelihood.max()) for fit in fits)

    def log_weight(fit: Fit, power: float) -> FloatArray:
        return fit.log_prior + power * (fit.log_likelihood - best)

    usual, any_fraction = (
        max(float(log_weight(fit, flattened).max()) for fit in fits if fit.usual or not only) + np.log(NEGLIGIBLE)
        for only in (True, False)
    )
    kept = [np.nonzero(log_weight(fit, flattened) > (usual if fit.usual else any_fraction)) for fit in fits]
    whole, flat = (
        np.exp(np.concatenate([log_weight(fit, power)[at] for fit, at in zip(fits, kept, strict=True)]))
        for power in (1.0, flattened)
    )
    whole *= np.concatenate([np.full(len(at[0]), fit.usual) for fit, at in zip(fits, kept, strict=True)])
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
