"""Label errors of other labels than one class a sample: several labels, and regression targets.

Of several labels each attribute is a question of its own with two answers. It is judged only if the vectors predict it,
and only as far: those that they do not show are left out, as their every second entry would look wrong.

A regression target is judged by the residual of a leave-one-out prediction, calibrated by simulated targets: the scores
that wrong targets would have sample the density f1. The observed scores are f = (1 - pi) f0 + pi f1, so a sample of
score s is wrong with probability pi f1(s) / f(s).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import ndtr

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import MAX_KNOTS, LabelScores
from selfclean_hooks.detectors.label_errors.ensemble import PredictorInputs, judge_labels, label_support
from selfclean_hooks.detectors.label_errors.likelihood import LabelSupport
from selfclean_hooks.detectors.label_errors.predictors import voters_and_log_distances
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_ridge
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray, average_ranks

MIN_KNOWN = 3  # entries of an attribute; of fewer no neighbour is left that could tell
FALSE_DISCOVERIES = 0.05  # expected fraction of the attributes taken as predictable that are not
NO_ATTRIBUTE = "the vectors predict none of the labels well enough to tell wrong ones from hard ones"
NO_TARGET = "the vectors do not predict the targets, so wrong ones cannot be distinguished from others"
MIN_CORRELATION = 3.1  # of predicted and given targets, in standard deviations of chance: 1 in 1,000 by chance
ALIKE = 51  # samples
OUTER_FENCE = 3.0  # quartile ranges beyond the quartiles
TAIL_SCORE = 0.4  # wrong targets are counted below this score
MIN_TAIL = 0.1  # fraction of wrong targets that must score below it


def score_multi_label(
    inputs: Callable[[IntArray], PredictorInputs], targets: NDArray[Any]
) -> tuple[FloatArray, LabelScores]:
    """Scores (N, C) of every entry of `targets` (N, C), and per sample the least, with its calibration.

    Entries of attributes that are not judged score 1, unless none is judged: then all are scored, and the number of
    label errors is unknown. Predicted: class and value of a sample's worst entry, 2 c + value; -1: there is none.
    Unknown entries, and the least of a sample that has no other, are NaN.

    Args:
        inputs: of the samples at ascending positions; an attribute is judged among those where it is known.
        targets: booleans, or numbers with -1 for unknown entries.
    """
    known = np.ones(targets.shape, bool) if targets.dtype.kind == "b" else targets >= 0
    scores, n = np.where(known, 1.0, np.nan), len(targets)
    labelled = np.asarray(known.any(1))
    varying = np.nonzero((targets == 1).any(0) & (known & (targets == 0)).any(0) & (known.sum(0) >= MIN_KNOWN))[0]
    if not len(varying):
        score = np.where(labelled, 1.0, np.nan)
        return scores, LabelScores(score, np.full(n, -1), Calibration(np.array([0.0]), np.array([1.0])))
    parts: list[LabelSupport] = [None] * len(varying)  # type: ignore[list-item]
    found: list[LabelScores] = [None] * len(varying)  # type: ignore[list-item]
    for kept, columns in _known_alike(known[:, varying]):
        seen = inputs(kept)
        for k in columns:
            given = targets[kept, varying[k]].astype(np.int64)
            parts[k] = label_support(seen, given)
            found[k] = _scatter(judge_labels(seen, given, parts[k]), known[:, varying[k]])
    shown = discoveries(np.array([chance_of(part) for part in parts]))
    judged = [k for k, part in enumerate(found) if shown[k] and not part.calibration.unknown]
    for k in judged or range(len(found)):
        scores[:, varying[k]] = found[k].score
    filled = np.where(known, scores, np.inf)
    worst = filled[:, varying].argmin(1)
    value = np.stack([part.predicted for part in found])[worst, np.arange(n)]
    score = np.where(labelled, filled.min(1), np.nan)
    calibration = join_calibrations(score[labelled], [_of(found[k], labelled) for k in judged])
    return scores, LabelScores(score, np.where(value < 0, -1, 2 * varying[worst] + value), calibration)


def _known_alike(known: BoolArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Positions at which columns of `known` (N, C) are true, and the columns that share them."""
    patterns, column = np.unique(known, axis=1, return_inverse=True)
    for at, pattern in enumerate(patterns.T):
        yield pattern.nonzero()[0], (column.reshape(-1) == at).nonzero()[0]


def _scatter(labels: LabelScores, known: BoolArray) -> LabelScores:
    """The scores of the samples that are `known` (N,) among all; the others get NaN and no prediction."""
    score, predicted = np.full(len(known), np.nan), np.full(len(known), -1)
    score[known], predicted[known] = labels.score, labels.predicted
    return replace(labels, score=score, predicted=predicted)


def _of(labels: LabelScores, kept: BoolArray) -> LabelScores:
    return replace(labels, score=labels.score[kept], predicted=labels.predicted[kept])


def chance_of(labels: LabelSupport) -> float:
    """p-value of a Mann-Whitney test that samples with the label are not better supported for it than those without.

    Args:
        labels: of two classes, the given one first.
    """
    lead = labels.support[:, 0] - labels.support[:, 1]
    has = labels.classes[:, 0] == 1
    with_label, without = int(has.sum()), int((~has).sum())
    ranks = average_ranks(np.where(has, lead, -lead))
    excess = ranks[has].sum() - with_label * (len(has) + 1) / 2
    return float(ndtr(-excess / np.sqrt(with_label * without * (len(has) + 1) / 12)))


def discoveries(p: FloatArray, level: float = FALSE_DISCOVERIES) -> BoolArray:
    """(P,) which of the p-values are discoveries at that false discovery rate.

    Source: Benjamini & Hochberg, "Controlling the False Discovery Rate", 1995.
    """
    ordered = np.sort(p)
    within = np.nonzero(ordered <= level * np.arange(1, len(p) + 1) / max(1, len(p)))[0]
    return np.asarray(p <= ordered[within[-1]]) if len(within) else np.zeros(len(p), bool)


def join_calibrations(score: FloatArray, parts: list[LabelScores]) -> Calibration:
    """The calibration of the least score of each sample (N,): the probability that all its judged entries are right.

    Args:
        score: (N,).
        parts: of each judged attribute, NaN where it is unknown.
    """
    knots = np.unique(np.sort(score)[np.unique(np.geomspace(1, len(score), MAX_KNOTS).round().astype(np.int64)) - 1])
    if not parts:
        return Calibration(knots, np.ones(len(knots)), unknown=NO_ATTRIBUTE)
    size = np.bincount(np.searchsorted(knots, score), minlength=len(knots)).astype(np.float64)

    def all_right(curves: list[FloatArray]) -> FloatArray:
        each = [np.interp(p.score, p.calibration.score, curve) for p, curve in zip(parts, curves, strict=True)]
        each = [np.where(np.isnan(right), 1.0, right) for right in each]  # unknown entries are not wrong
        mean = np.bincount(np.searchsorted(knots, score), np.prod(each, axis=0), len(knots)) / size
        return np.asarray(isotonic_regression(mean, weights=size).x)

    clean = all_right([p.calibration.clean for p in parts])
    low, high = (
        all_right([p.calibration.clean if curve is None else curve for p, curve in zip(parts, curves, strict=True)])
        for curves in ([p.calibration.low for p in parts], [p.calibration.high for p in parts])
    )
    return Calibration(knots, clean, np.minimum(low, clean), np.maximum(high, clean))


def score_regression(inputs: PredictorInputs, targets: FloatArray, others: int = 16) -> tuple[FloatArray, LabelScores]:
    """Predictions (N,) of neighbours and ridge, and scores of regression targets (N,): 1 / (1 + (r / scale)^2).

    r is the residual, and the scale of a sample the median residual around it. For the calibration, wrong targets are
    simulated by quantiles of all targets. `predicted` is -1. Targets of any unit and zero point give the same scores.
    """
    unit = float(np.abs(targets).max(initial=0)) or 1.0  # the sum of two targets may be more than a float can be
    middle = float(np.median(targets / unit))
    spread = float(np.abs(targets / unit - middle).max(initial=0)) or 1.0
    predicted, labels = _score_standard_targets(inputs, (targets / unit - middle) / spread, others)
    return (predicted * spread + middle) * unit, labels


def _score_standard_targets(
    inputs: PredictorInputs, targets: FloatArray, others: int
) -> tuple[FloatArray, LabelScores]:
    """`score_regression` of targets in [-1, 1] around 0, which float32 holds."""
    indices, distances = inputs.lists[0]
    votes = (voters_and_log_distances(distances)[0] & (indices >= 0)).astype(np.float64)
    count = np.maximum(votes.sum(1), 1e-12)
    usual_targets = without_outliers(targets)  # of which a single one would move all predictions
    mean = (votes * usual_targets[indices]).sum(1) / count
    ridge = leave_one_out_ridge(*inputs.directions.kernel, usual_targets[:, None], scale=len(targets))[:, 0]
    ridge = ridge.astype(np.float64)
    near = np.where(votes.any(1), mean, ridge)
    share = min(
        (0.0, 0.25, 0.5, 0.75, 1.0), key=lambda a: float(np.abs(usual_targets - a * near - (1 - a) * ridge).mean())
    )
    predicted = share * near + (1 - share) * ridge
    residual = np.abs(targets - predicted)
    usual = float(np.median(residual)) + 1e-12  # never 0
    around = np.where(votes > 0, residual[indices], np.nan)
    around[~votes.any(1), 0] = usual
    alike = np.maximum(residual_by_prediction(residual, predicted), usual / 2)
    scale = (np.nanmedian(around, axis=1) + alike) * 1.5  # 1.5 (a + b) ~ 2 standard deviations, half of it local
    wrong = np.abs(np.quantile(targets, (np.arange(others) + 0.5) / others) - predicted[:, None]) / scale[:, None]
    far = (wrong * scale[:, None] > 2 * alike[:, None]).astype(np.float64)  # about the same target is not an error
    score = 1 / (1 + (residual / scale) ** 2)
    knots, rate = error_probability(score, (1 / (1 + wrong**2)).ravel(), far.ravel())
    unknown = "" if rank_correlation(predicted, targets) > MIN_CORRELATION / math.sqrt(len(targets) - 1) else NO_TARGET
    return predicted, LabelScores(score, np.full(len(targets), -1), Calibration(knots, 1 - rate, unknown=unknown))


def residual_by_prediction(residual: FloatArray, predicted: FloatArray) -> FloatArray:
    """(N,) median residual of the `ALIKE` samples with the most similar prediction: large values often vary more."""
    order, size = np.argsort(predicted, kind="stable"), min(ALIKE, len(residual))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(residual[order], size), axis=1)
    out = np.empty(len(residual))
    out[order] = medians[np.clip(np.arange(len(residual)) - size // 2, 0, len(medians) - 1)]
    return out


def without_outliers(targets: FloatArray) -> FloatArray:
    """(N,) targets, of which those beyond the outer fences are at these (Tukey, "Exploratory Data Analysis", 1977)."""
    low, high = np.quantile(targets, (0.25, 0.75))
    room = OUTER_FENCE * (high - low)
    return np.clip(targets, low - room, high + room) if room > 0 else targets


def rank_correlation(x: FloatArray, y: FloatArray) -> float:
    """Spearman's, of x (N,) and y (N,); 0 where either is constant."""
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / norm if norm > 0 else 0.0


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
    if fraction == 0 and tail > MIN_TAIL:  # whatever scores low scores lower than most wrong targets
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
