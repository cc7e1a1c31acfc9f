"""The default detector of label errors: five predictors of every label, calibrated by simulated wrong labels.

Every sample has a score for each label it might carry (`ensemble.normalized_margins`). The scores of labels it does not
carry, weighted by how often the one class seems to be given for the other, sample the density f1 of wrong labels. The
observed scores are f = (1 - pi) f0 + pi f1, so a sample of score s is wrong with probability pi f1(s) / f(s).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from torch import Tensor

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.ensemble import (
    LabelSupport,
    PredictorInputs,
    label_support,
    normalized_margins,
    predictor_inputs,
)
from selfclean_hooks.detectors.label_errors.predictors import leave_one_out_ridge
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

ROUNDS = 4  # of confusion rates and probabilities
MAX_CLASSES = 2000  # with more, all confusions are taken as equally likely
PSEUDO_COUNTS = 10.0  # confusions distributed evenly over all pairs of classes
MAX_KNOTS = 400
TAIL_SCORE = 0.4  # wrong labels are counted below this score: above it labels are ambiguous rather than wrong
MIN_TAIL = 0.1  # fraction of wrong labels that must score below it
MAX_AUTOMATIC_THRESHOLD = 0.45  # labels that score more are ambiguous rather than wrong


@dataclass(frozen=True, eq=False)
class LabelScores:
    """Scores in [0, 1], low = the label is likely wrong, and their calibration. NaN, -1 where there is no label."""

    score: FloatArray  # (N,)
    predicted: IntArray  # (N,) the best supported class
    knots: FloatArray  # (M,) ascending scores
    clean: FloatArray  # (M,) nondecreasing: probability that a label of this score is right


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


@dataclass(frozen=True)
class EnsembleLabelErrors:
    """How far another label leads, or a regression target is off; flagged where flags have the best expected F1."""

    issue: str = "label_errors"
    neighbors: int = 20  # that are used, in the plain embedding

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample, and suggest the best supported label or the predicted target."""
        lists = geometry.neighbors.indices[:, : self.neighbors], geometry.neighbors.distances[:, : self.neighbors]
        indices, distances = (part.numpy() for part in lists)
        label = target = None
        if geometry.targets is not None:
            labels, target = score_targets(geometry.x.values, geometry.targets, indices, distances)
        elif geometry.labels is not None:
            labels = score_labels(geometry.x.values, geometry.labels, indices, distances)
            label = labels.predicted
        else:
            raise AssertionError("the label detector runs only where there are labels")
        calibration = Calibration(labels.knots, labels.clean)
        automatic = min(calibration.best_f1_threshold(labels.score), MAX_AUTOMATIC_THRESHOLD)
        return Finding(labels.score, automatic, predicted_label=label, predicted_target=target, calibration=calibration)


def score_labels(x: Tensor, labels: IntArray, indices: IntArray, distances: Float32Array) -> LabelScores:
    """Label errors among N samples.

    Args:
        x: (N, D) unit rows.
        labels: (N,) classes, -1 for none: such samples are neither scored nor used as neighbours.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) to these.
    """
    kept = np.nonzero(labels >= 0)[0]
    if len(kept) < 3 or len(values := np.unique(labels[kept])) < 2:
        return LabelScores(np.where(labels >= 0, 1.0, np.nan), labels.copy(), np.array([0.0]), np.array([1.0]))
    place = np.full(len(labels) + 1, -1)  # the last entry: no neighbour
    place[kept] = np.arange(len(kept))
    inputs = predictor_inputs(x[kept], place[indices[kept]], distances[kept])
    labeled = calibrate_support(label_support(inputs, np.searchsorted(values, labels[kept])))
    score, predicted = np.full(len(labels), np.nan), np.full(len(labels), -1)
    score[kept], predicted[kept] = labeled.score, values[labeled.predicted]
    return LabelScores(score, predicted, labeled.knots, labeled.clean)


def score_targets(
    x: Tensor, targets: NDArray[Any], indices: IntArray, distances: Float32Array
) -> tuple[LabelScores, FloatArray]:
    """Scores of regression targets or several labels a sample, and predictions as in `Scores.predicted_target`.

    Args:
        x: (N, D) unit rows.
        targets: (N,) regression targets, NaN for none: such samples are neither scored nor used as neighbours; or
            (N, C) booleans.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) to these.
    """
    if targets.ndim == 2:
        _, labelled = score_multi_label(predictor_inputs(x, indices, distances), targets)
        return labelled, labelled.predicted.astype(np.float64)
    kept = np.nonzero(~np.isnan(targets))[0]
    score, predicted = np.full(len(targets), np.nan), np.full(len(targets), np.nan)
    if len(kept) < 3:
        score[kept], predicted[kept] = 1.0, targets[kept]
        return LabelScores(score, np.full(len(targets), -1), np.array([0.0]), np.array([1.0])), predicted
    place = np.full(len(targets) + 1, -1)  # the last entry: no neighbour
    place[kept] = np.arange(len(kept))
    predicted[kept], regression = score_regression(
        predictor_inputs(x[kept], place[indices[kept]], distances[kept]), targets[kept]
    )
    score[kept] = regression.score
    return replace(regression, score=score, predicted=np.full(len(targets), -1)), predicted


def score_regression(inputs: PredictorInputs, targets: FloatArray, others: int = 16) -> tuple[FloatArray, LabelScores]:
    """Predictions (N,) of neighbours and ridge, and scores of regression targets (N,): 1 / (1 + (r / scale)^2).

    r is the residual, and the scale of a sample the median residual around it. For the calibration, wrong targets are
    simulated by quantiles of all targets. `predicted` is -1.
    """
    indices, voting, _ = inputs.lists[0]
    votes = (voting & (indices >= 0)).astype(np.float64)
    count = np.maximum(votes.sum(1), 1e-12)
    mean = (votes * targets[indices]).sum(1) / count
    ridge = leave_one_out_ridge(*inputs.kernel, targets[:, None], scale=len(targets))[:, 0].astype(np.float64)
    near = np.where(votes.any(1), mean, ridge)
    share = min((0.0, 0.25, 0.5, 0.75, 1.0), key=lambda a: float(np.abs(targets - a * near - (1 - a) * ridge).mean()))
    predicted = share * near + (1 - share) * ridge
    residual = np.abs(targets - predicted)
    usual = float(np.median(residual)) + 1e-12 * float(np.abs(targets).max(initial=0)) + np.finfo(np.float64).tiny
    around = np.where(votes > 0, residual[indices], np.nan)
    around[~votes.any(1), 0] = usual
    scale = (np.nanmedian(around, axis=1) + usual) * 1.5  # 1.5 (a + b) ~ 2 standard deviations, half of it local
    wrong = np.abs(np.quantile(targets, (np.arange(others) + 0.5) / others) - predicted[:, None]) / scale[:, None]
    far = (wrong * scale[:, None] > 2 * usual).astype(np.float64)  # about the same target is not an error
    score = 1 / (1 + (residual / scale) ** 2)
    knots, rate = error_probability(score, (1 / (1 + wrong**2)).ravel(), far.ravel())
    return predicted, LabelScores(score, np.full(len(targets), -1), knots, 1 - rate)


def score_multi_label(inputs: PredictorInputs, targets: BoolArray) -> tuple[FloatArray, LabelScores]:
    """Scores (N, C) of every entry of `targets` (N, C); per sample the least; the calibration is that of an entry.

    An entry of a class that all or no samples have scores 1. Predicted: class and value of a sample's worst entry,
    2 c + value.
    """
    varying = np.nonzero(targets.any(0) & ~targets.all(0))[0]
    scores = np.ones(targets.shape)
    parts = [label_support(inputs, targets[:, c].astype(np.int64)) for c in varying]
    if not parts:
        return scores, LabelScores(scores.min(1), np.full(len(scores), -1), np.array([0.0]), np.array([1.0]))
    codes = np.concatenate([part.classes + 2 * c for c, part in zip(varying, parts, strict=True)])
    entries = calibrate_support(LabelSupport(codes, np.concatenate([part.support for part in parts])), listed_only=True)
    scores[:, varying] = entries.score.reshape(len(varying), -1).T
    worst = varying[scores[:, varying].argmin(1)]
    value = entries.predicted.reshape(len(varying), -1).T[np.arange(len(scores)), np.searchsorted(varying, worst)]
    return scores, LabelScores(scores.min(1), value, entries.knots, entries.clean)
