"""Calibration of label scores: how many labels of a score are wrong, as far as hard samples allow.

Right labels of hard samples score low too. How many of each score are to be expected follows from `hardness` and from
the support for each class; what is observed beyond them is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, isotonic_regression
from scipy.special import expit, gammainc, log_softmax

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.directions import parts_of
from selfclean_hooks.detectors.label_errors.hardness import (
    HEAVY_POWER,
    NO_NOISE,
    HardSamples,
    fit_floors,
    hardness_by_class,
    uniform_noise,
)
from selfclean_hooks.detectors.label_errors.likelihood import MANY, LabelSupport, confusion_rates, label_log_odds
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_KNOTS = 400
# Wrong labels are more frequent on hard samples, where they pass for hardness: the floor counts half to all of them.
# Measured, true number by the floor: planted labels 1, labels of people 1.4 to 2.2, classes of unequal noise 1 to 2.
LOWEST_ODDS, HIGHEST_ODDS = 0.5, 4.0
# Planted labels are all plausible or all at random; people, and classes of unequal noise, give both: odds are raised by
# up to this where half of the floor is at random.
MIXED_ODDS = 1.8
MAX_CERTAINTY = 0.8  # of the lowest probability: right labels that score lowest may be odd rather than hard
GAIN_BY_CLASS = 2.0  # in log likelihood for each class, where floors by class add up to more than one floor can be
MAX_EXCESS = 1.5  # of the labels found wrong over the highest floor
MIN_INSIGHT = 0.75  # disagreement, as a fraction of that by the commonest class, beyond which vectors show no labels
# Disagreement of the more certain half of few samples, with so many standard deviations on top. Beyond it predictors
# are not clearly right more often than not: by wrong labels, or as classes overlap, which many samples tell apart
MAX_CONFIDENT, DEVIATIONS = 0.5, 3.0
# The same of points of a plane or a line: overlapping classes leave right labels far inside of another class, as wrong
# ones are. It rises to the usual from the first of these intrinsic dimensions to the second, and with more samples
MAX_CONFIDENT_OF_PLANE, PLANE = 0.12, (2.1, 2.3)
SURPLUS, SIGNIFICANCE = 2.5, 0.01  # clean data sets have up to 2.5 times as many low scores as hardness foresees
MAX_UNKNOWN = 0.1  # fraction of the labels that may be wrong unseen where none is claimed to be
# Right labels that disagree, from which on, by degrees, the supports say so little that hard samples may seem easy: on
# CIFAR-10 up to .35 with a pretrained network, and from .36 on with pixels, edges or a network trained on the 5,000
MAX_HARD = (0.345, 0.36)
# And beyond which hard samples, too, seem to have labels at random: up to a tenth of them, measured with pixels
MOST_HARD, MAX_MISFIT = 0.47, 0.1
TOO_MANY = 0.65  # wrong labels by which the majority of labels could no longer be learnt from
UNKNOWN = "wrong labels cannot be distinguished from labels of samples that are hard to classify"


@dataclass(frozen=True, eq=False)
class LabelScores:
    """Scores in [0, 1], low = the label is likely wrong, and their calibration. NaN, -1 where there is no label."""

    score: FloatArray  # (N,)
    predicted: IntArray  # (N,) the best supported class
    calibration: Calibration
    confidence: FloatArray | None = None  # (N,) see `Scores.prediction_confidence`; None: not measured


INVERSE_TEMPERATURE = 0.3  # of the log odds, as scores: the predictors are correlated, so their sum is overconfident


def score_support(labels: LabelSupport, dimension: float = math.inf) -> LabelScores:
    """Scores and calibration of the labels of N samples: 1/2 where the label is as likely as all others together.

    Args:
        labels: support of N samples for M classes each; the given label is the first listed.
        dimension: intrinsic one of the samples.
    """
    rates = confusion_rates(labels, int(labels.classes.max()) + 1)
    scores = label_log_odds(labels, rates)
    scores *= INVERSE_TEMPERATURE
    expit(scores, out=scores)
    best = labels.support.argmax(1)
    predicted = np.take_along_axis(labels.classes, best[:, None], 1)[:, 0]
    calibration = calibrate_scores(labels, scores, dimension)
    return LabelScores(scores[:, 0], predicted, calibration, prediction_confidence(labels, best))


def prediction_confidence(labels: LabelSupport, predicted: IntArray) -> FloatArray:
    """(N,) probability that the predicted class is right if the given one is wrong; NaN where they are the same.

    Args:
        labels: support of N samples for M classes each; the given label is the first listed.
        predicted: (N,) place of the predicted class among the listed ones.
    """
    chosen, place = np.empty(len(predicted)), np.maximum(predicted - 1, 0)[:, None]
    for rows in parts_of(len(chosen)):
        others = log_softmax(labels.sharp[rows, 1:], axis=1)
        chosen[rows] = np.take_along_axis(others, place[rows], 1)[:, 0]
    return np.where(predicted > 0, np.exp(chosen), np.nan)


def calibrate_scores(labels: LabelSupport, scores: FloatArray, dimension: float) -> Calibration:
    """The calibration of the scores of the given labels.

    Args:
        labels: support of N samples for M classes each; the given label is the first listed.
        scores: (N, M) in [0, 1] of each listed label, were it the given one.
        dimension: intrinsic one of the samples.
    """
    best = labels.sharp.argmax(1)
    parts = parts_of(len(best))
    margin = np.concatenate([_lead(labels.sharp[rows]) for rows in parts])
    disagrees = best > 0
    floors = usual = fit_floors(margin, disagrees)
    noise, hard = uniform_noise(labels, best, margin, usual), _excess(float(disagrees.mean()), usual.best.floor)
    noise = NO_NOISE if hard > MOST_HARD and noise.lowest <= MAX_MISFIT else noise
    trust = float(np.interp(hard, MAX_HARD, (1, 0)))  # in the fit of hardness
    floors, most_likely = usual, usual.best.floor
    if trust < 1:
        floors = fit_floors(margin, disagrees, HEAVY_POWER + trust * (1 - HEAVY_POWER))
        known = (noise.best + max(noise.best, floors.best.floor)) / 2 if noise.best else most_likely
        most_likely = trust * most_likely + (1 - trust) * known
    lowest, highest = floors.at(max(floors.lowest.floor, noise.lowest)), usual.highest
    whole = usual.best.of(margin)
    by_class = hardness_by_class(margin, disagrees, labels.classes[np.arange(len(best)), best], usual)
    gained = by_class.log_likelihood(disagrees) - whole.log_likelihood(disagrees)
    plain = by_class.floor.mean() <= highest.floor  # which all classes together support as well
    typical = by_class if gained > (0 if plain else GAIN_BY_CLASS * (by_class.groups - 1)) else whole
    score = scores[:, 0]
    knots = np.unique(np.sort(score)[np.unique(np.geomspace(1, len(score), MAX_KNOTS).round().astype(np.int64)) - 1])

    observed = np.bincount(np.searchsorted(knots, score), minlength=len(knots)).astype(np.float64)
    place = np.empty(scores.shape, np.int16)
    for rows in parts:
        place[rows] = np.minimum(np.searchsorted(knots, scores[rows]), len(knots) - 1)

    def wrong(hardness: HardSamples, surplus: float = 1.0) -> FloatArray:
        right = np.zeros(len(knots))
        for rows in parts:
            expected = surplus * right_labels(labels.sharp[rows], hardness.of(rows))
            right += np.bincount(place[rows].ravel(), expected.ravel(), len(knots))
        return wrong_probability(observed, right)

    def mean(probability: FloatArray) -> float:
        return float(np.interp(score, knots, probability).mean())

    likely, floor = wrong(typical), float(typical.floor.mean())
    confirmed = highest.floor**2  # wrong labels that the predictors confirm, as their neighbours are wrong too
    most = np.maximum(raise_odds(np.maximum(wrong(highest.of(margin)), wrong(by_class)), HIGHEST_ODDS), confirmed)
    fewest = lower_mean(raise_odds(wrong(lowest.of(margin)), LOWEST_ODDS), lowest.floor, mean)
    by_chance = 1 - float(np.bincount(labels.classes[:, 0]).max() / len(best))  # disagree with the commonest class
    shows_none = disagrees.mean() > MIN_INSIGHT * by_chance and not noise.best
    confident = disagrees[margin >= np.median(margin)]
    rate = float(confident.mean())
    above = rate + DEVIATIONS * math.sqrt(rate * (1 - rate) / len(confident))
    shows_none |= above > most_confident(len(best), dimension)
    unknown = UNKNOWN if highest.floor >= TOO_MANY or shows_none else ""
    certain = 1.0 if lowest.floor or noise.best else trust
    plausible = certain > 0 and mean(likely) <= MAX_EXCESS * max(highest.floor, by_class.floor.mean())
    if lowest.floor == 0 and not (plausible and _is_significant(score, knots, likely)):
        likely = lower_mean(plausible * certain * wrong(typical, SURPLUS), highest.floor, mean)
        fewest = np.zeros(len(knots))
        likely[likely < 0.5] = 0
        unknown = UNKNOWN if mean(most) > MAX_UNKNOWN else ""
    else:
        at_random = min(1.0, noise.best / max(most_likely, 1e-9))
        limit = trust * (floor + max(floor, highest.floor)) / 2 + (1 - trust) * most_likely
        likely = lower_mean(certain * likely, limit, mean)
        likely = raise_odds(likely, 1 + 4 * MIXED_ODDS * at_random * (1 - at_random))
    fewest, most = np.minimum(np.minimum(fewest, likely), MAX_CERTAINTY), np.maximum(most, likely)
    return Calibration(knots, 1 - likely, 1 - most, 1 - fewest, unknown)


def most_confident(n: int, dimension: float) -> float:
    """The highest rate at which the more certain half of n samples may disagree for any of them to be flagged."""
    usual = float(np.interp(n, (MANY / 2, MANY), (MAX_CONFIDENT, 1)))
    plane = min(usual, float(np.interp(n, (MANY / 4, MANY / 2), (MAX_CONFIDENT_OF_PLANE, 1))))
    return float(np.interp(dimension, PLANE, (plane, usual)))


def _lead(support: FloatArray) -> FloatArray:
    """(N,) of the best supported of the listed classes (N, M) over the next."""
    first = np.partition(support, -2, axis=1)[:, -2:]
    return np.asarray(first[:, 1] - first[:, 0])


def _excess(rate: float, floor: float) -> float:
    """The fraction of right labels that disagree, where `rate` of all do and a `floor` of all are wrong."""
    return (rate - floor) / (1 - floor)


def right_labels(sharp: FloatArray, hardness: HardSamples) -> FloatArray:
    """How many right labels (N, M) of each listed class to expect: the best one where a sample is not hard.

    The others are expected by their `sharp` support (N, M).
    """
    best, others = sharp.argmax(1)[:, None], sharp.copy()
    np.put_along_axis(others, best, -np.inf, 1)
    expected = np.exp(log_softmax(others, axis=1)) * hardness.rate[:, None]
    np.put_along_axis(expected, best, 1 - hardness.rate[:, None], 1)
    return np.asarray((1 - hardness.floor[:, None]) * expected)


def wrong_probability(observed: FloatArray, right: FloatArray) -> FloatArray:
    """(K,) nonincreasing: the fraction of labels of each of K ranges of scores that right labels do not account for.

    Args:
        observed: (K,) labels in each range, lowest scores first.
        right: (K,) right labels to expect there.
    """
    ratio = isotonic_regression(right / observed, weights=observed, increasing=True).x
    wrong = 1 - np.minimum(1, ratio)
    found = float(observed[wrong > 0.5].sum())
    return np.asarray(wrong * (found + 1) / (found + 2))  # the rule of succession: a few low scores prove little


def raise_odds(probability: FloatArray, factor: float) -> FloatArray:
    """Probabilities whose odds are `factor` times as high."""
    return np.asarray(factor * probability / (1 + (factor - 1) * probability))


def lower_mean(probability: FloatArray, most: float, mean: Callable[[FloatArray], float]) -> FloatArray:
    """Probabilities whose odds are lower by one factor, such that their mean is at most `most`."""
    if mean(probability) <= most:
        return probability
    if most <= 0:
        return np.zeros_like(probability)
    factor = brentq(lambda log: mean(raise_odds(probability, np.exp(log))) - most, -50, 0)
    return raise_odds(probability, float(np.exp(factor)))


def _is_significant(score: FloatArray, knots: FloatArray, wrong: FloatArray) -> bool:
    """Whether more labels score below the threshold of best F1 than hard samples could account for."""
    found = score < Calibration(knots, 1 - wrong).best_f1_threshold(score)
    count, right = int(found.sum()), float((1 - np.interp(score[found], knots, wrong)).sum())
    return count > 0 and float(gammainc(count, SURPLUS * max(right, 1e-9))) < SIGNIFICANCE
