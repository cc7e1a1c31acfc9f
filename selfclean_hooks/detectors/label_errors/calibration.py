"""Calibration of label scores: the scores of wrong labels are simulated by giving every sample other labels.

Every sample has a score for each label it might carry (`ensemble.normalized_margins`). The scores of labels it does not
carry, weighted by how often the one class seems to be given for the other, sample the density f1 of wrong labels. The
observed scores are f = (1 - pi) f0 + pi f1, so a sample of score s is wrong with probability pi f1(s) / f(s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from selfclean_hooks.detectors.label_errors.ensemble import LabelSupport, normalized_margins
from selfclean_hooks.utils.arrays import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LabelScores:
    """Scores in [0, 1], low = the label is likely wrong, and their calibration. NaN, -1 where there is no label."""

    score: FloatArray  # (N,)
    predicted: IntArray  # (N,) the best supported class
    knots: FloatArray  # (M,) ascending scores
    clean: FloatArray  # (M,) nondecreasing: probability that a label of this score is right


ROUNDS = 4  # of confusion rates and probabilities
MAX_CLASSES = 2000  # with more, all confusions are taken as equally likely


def calibrate_support(labels: LabelSupport, listed_only: bool = False) -> LabelScores:
    """Scores and calibration of the labels of N samples, from the support for each label.

    Args:
        labels: support; the given label is the first listed.
        listed_only: the listed labels are all there are; otherwise the others score as if nothing supported them.
    """
    scores, given = normalized_margins(labels), labels.classes[:, 0]
    classes, score = int(labels.classes.max()) + 1, scores[:, 0]
    predicted = np.take_along_axis(labels.classes, labels.support.argmax(1)[:, None], 1)[:, 0]
    simulated = np.concatenate([scores[:, 1:], scores.min(1)[:, None]], 1)  # the last: labels that are not listed
    wrong_probability = (score < 0.5).astype(np.float64)
    knots = rate = np.zeros(0)
    for _ in range(ROUNDS):
        if classes <= MAX_CLASSES:
            table = confusion_rates(given, predicted, wrong_probability, classes)
            listed, total = table[given[:, None], labels.classes[:, 1:]], table.sum(1)[given]
        else:
            listed, total = np.ones_like(scores[:, 1:]), np.full(len(given), classes - 1.0)
        rest = np.zeros(len(given)) if listed_only else np.maximum(total - listed.sum(1), 0)
        weight = np.concatenate([listed, rest[:, None]], 1) * (1 - wrong_probability)[:, None]
        knots, rate = error_probability(score, simulated.ravel(), weight.ravel())
        wrong_probability = np.interp(score, knots, rate)
    return LabelScores(score, predicted, knots, 1 - rate)


PSEUDO_COUNTS = 10.0  # confusions distributed evenly over all pairs of classes


def confusion_rates(given: IntArray, predicted: IntArray, wrong_probability: FloatArray, classes: int) -> FloatArray:
    """How often, per sample of class a, label b seems to be given instead: (C, C), 0 on the diagonal.

    Args:
        given: (N,) labels.
        predicted: (N,) what they should be.
        wrong_probability: (N,) probability that the label is wrong.
        classes: C.
    """
    size = np.bincount(given, minlength=classes).astype(np.float64)
    counted = np.bincount(predicted * classes + given, wrong_probability, classes**2).reshape(classes, classes)
    count: FloatArray = counted + PSEUDO_COUNTS / max(1, classes - 1) * (size / len(given))[:, None]
    np.fill_diagonal(count, 0)
    rate: FloatArray = count / np.maximum(size, 1)[:, None]
    return rate


MAX_KNOTS = 400
TAIL_SCORE = 0.4  # wrong labels are counted below this score: above it labels are ambiguous rather than wrong
MIN_TAIL = 0.1  # fraction of wrong labels that must score below it


def error_probability(score: FloatArray, wrong: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Knots (M,) and the probability (M,) that a sample of that score is wrong, nonincreasing.

    Args:
        score: (N,) observed.
        wrong: (P,) scores of wrong labels.
        weight: (P,) their weights >= 0.
    """
    n, ascending = len(score), np.sort(score)
    ranks = np.unique(np.geomspace(1, n, MAX_KNOTS).round().astype(np.int64)) - 1  # dense where the errors are
    knots = np.unique(ascending[ranks])
    if weight.sum() <= 0:
        return knots, np.zeros(len(knots))
    observed = np.bincount(np.searchsorted(knots, score), minlength=len(knots)) / n
    place = np.searchsorted(knots, wrong)  # past the last knot: higher than any observed
    expected = np.bincount(place, weight, minlength=len(knots) + 1)[: len(knots)] / weight.sum()
    fraction = estimate_error_fraction(knots, observed, expected, n)
    tail = float(weight[wrong < TAIL_SCORE].sum() / weight.sum())
    if fraction == 0 and tail > MIN_TAIL:  # whatever scores low scores lower than most wrong labels
        fraction = min(1.0, float((score < TAIL_SCORE).mean()) / tail)
    both = observed + expected
    part = isotonic_regression(expected / both, weights=both, increasing=False).x
    return knots, np.minimum(1, fraction * part / np.maximum(1 - part, 1e-12))


def estimate_error_fraction(knots: FloatArray, observed: FloatArray, expected: FloatArray, n: int) -> float:
    """Fraction of wrong labels in [0, 1]: the least ratio of observed to expected below a score of `TAIL_SCORE`.

    Both are cumulated, the observed ones with one standard deviation of their count on top, as a least ratio is low.
    """
    count, tail = n * observed.cumsum(), expected.cumsum()
    usable = (knots < TAIL_SCORE) & (tail > MIN_TAIL)
    if not usable.any():
        return 0.0
    return float(min(1.0, ((count + np.sqrt(count)) / n / np.maximum(tail, 1e-12))[usable].min()))
