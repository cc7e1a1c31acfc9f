"""Label scores with a calibration: what a wrong label would score is computed from the data, by giving it.

Every sample has a score for each label it might carry (`label_opinions.margins`). The scores of labels it does not
carry, weighed by how often the one class seems to be given for the other, are what wrong labels look like: density f1.
The observed scores are f = (1 - pi) f0 + pi f1, so a sample of score s is wrong with probability pi f1(s) / f(s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from selfclean_hooks.detectors.label_errors.ensemble import (
    LabelSupport,
    label_support,
    normalized_margins,
    predictor_inputs,
)
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_KNOTS = 400  # at most
ROUNDS = 4  # of confusion and probabilities
MIN_TAIL = 0.1  # share of wrong labels that must score below the point at which they are counted
TAIL_SCORE = 0.4  # which lies below this score: above it labels are open to doubt rather than wrong
PSEUDO_COUNTS = 10.0  # mistakes spread evenly over all pairs of classes
MAX_CLASSES = 2000  # with more, all mistakes count as equally likely


@dataclass(frozen=True, eq=False)
class LabelScores:
    """Scores in [0, 1], low = the label is likely wrong, and what they mean. NaN, -1 where there is no label."""

    score: FloatArray  # (N,)
    predicted: IntArray  # (N,) the class that most speaks for
    knots: FloatArray  # (M,) ascending scores
    clean: FloatArray  # (M,) nondecreasing: probability that a label of this score is right


def error_probability(score: FloatArray, wrong: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Knots (M,) and the probability (M,) that a sample of that score is wrong, nonincreasing.

    Args:
        score: (N,) observed.
        wrong: (P,) scores of wrong labels.
        weight: (P,) their weights >= 0.
    """
    n, ascending = len(score), np.sort(score)
    ranks = np.unique(np.geomspace(1, n, MAX_KNOTS).round().astype(np.int64)) - 1  # fine where the errors are
    knots = np.unique(ascending[ranks])
    if weight.sum() <= 0:
        return knots, np.zeros(len(knots))
    observed = np.bincount(np.searchsorted(knots, score), minlength=len(knots)) / n
    place = np.searchsorted(knots, wrong)  # past the last knot: better than any observed
    expected = np.bincount(place, weight, minlength=len(knots) + 1)[: len(knots)] / weight.sum()
    share = estimate_error_fraction(knots, observed, expected, n)
    tail = float(weight[wrong < TAIL_SCORE].sum() / weight.sum())
    if share == 0 and tail > MIN_TAIL:  # whatever scores low is lower than most of what is wrong
        share = min(1.0, float((score < TAIL_SCORE).mean()) / tail)
    both = observed + expected
    part = isotonic_regression(expected / both, weights=both, increasing=False).x
    return knots, np.minimum(1, share * part / np.maximum(1 - part, 1e-12))


def estimate_error_fraction(knots: FloatArray, observed: FloatArray, expected: FloatArray, n: int) -> float:
    """Share of wrong labels in [0, 1]: the least ratio of observed to expected below a score of `TAIL_SCORE`.

    Both are cumulated, the observed ones with one standard deviation of their count on top, as a least ratio is low.
    """
    count, tail = n * observed.cumsum(), expected.cumsum()
    usable = (knots < TAIL_SCORE) & (tail > MIN_TAIL)
    if not usable.any():
        return 0.0
    return float(min(1.0, ((count + np.sqrt(count)) / n / np.maximum(tail, 1e-12))[usable].min()))


def confusion_rates(given: IntArray, believed: IntArray, doubt: FloatArray, classes: int) -> FloatArray:
    """How often, per sample of class a, label b seems to be given instead: (C, C), 0 on the diagonal.

    Args:
        given: (N,) labels.
        believed: (N,) what they should be.
        doubt: (N,) probability that the label is wrong.
        classes: C.
    """
    size = np.bincount(given, minlength=classes).astype(np.float64)
    counted = np.bincount(believed * classes + given, doubt, classes**2).reshape(classes, classes)
    found: FloatArray = counted + PSEUDO_COUNTS / max(1, classes - 1) * (size / len(given))[:, None]
    np.fill_diagonal(found, 0)
    rate: FloatArray = found / np.maximum(size, 1)[:, None]
    return rate


def calibrate_support(found: LabelSupport, listed_only: bool = False) -> LabelScores:
    """Scores and calibration of opinions on N samples. The given label is the first listed.

    Args:
        found: the opinions.
        listed_only: no label can be given but those listed (else the others score as if nothing spoke for them).
    """
    scores, given = normalized_margins(found), found.classes[:, 0]
    classes, score = int(found.classes.max()) + 1, scores[:, 0]
    predicted = np.take_along_axis(found.classes, found.support.argmax(1)[:, None], 1)[:, 0]
    wrong = np.concatenate([scores[:, 1:], scores.min(1)[:, None]], 1)  # the last: of labels that are not listed
    doubt = (score < 0.5).astype(np.float64)
    knots = rate = np.zeros(0)
    for _ in range(ROUNDS):
        if classes <= MAX_CLASSES:
            table = confusion_rates(given, predicted, doubt, classes)
            listed, total = table[given[:, None], found.classes[:, 1:]], table.sum(1)[given]
        else:
            listed, total = np.ones_like(scores[:, 1:]), np.full(len(given), classes - 1.0)
        rest = np.zeros(len(given)) if listed_only else np.maximum(total - listed.sum(1), 0)
        weight = np.concatenate([listed, rest[:, None]], 1) * (1 - doubt)[:, None]
        knots, rate = error_probability(score, wrong.ravel(), weight.ravel())
        doubt = np.interp(score, knots, rate)
    return LabelScores(score, predicted, knots, 1 - rate)


def score_labels(x: Tensor, labels: IntArray, indices: IntArray, distances: NDArray[np.float32]) -> LabelScores:
    """Label errors among N samples.

    Args:
        x: (N, D) unit rows.
        labels: (N,) classes, -1 for none: such samples are not scored and have no say.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) theirs.
    """
    kept = np.nonzero(labels >= 0)[0]
    if len(kept) < 3 or len(values := np.unique(labels[kept])) < 2:
        return LabelScores(np.where(labels >= 0, 1.0, np.nan), labels.copy(), np.array([0.0]), np.array([1.0]))
    place = np.full(len(labels) + 1, -1)  # the last entry: no neighbour
    place[kept] = np.arange(len(kept))
    seen = predictor_inputs(x[kept], place[indices[kept]], distances[kept])
    found = calibrate_support(label_support(seen, np.searchsorted(values, labels[kept])))
    score, predicted = np.full(len(labels), np.nan), np.full(len(labels), -1)
    score[kept], predicted[kept] = found.score, values[found.predicted]
    return LabelScores(score, predicted, found.knots, found.clean)
