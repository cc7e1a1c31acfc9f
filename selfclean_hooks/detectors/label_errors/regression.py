"""Label errors of regression targets: the residual of a leave-one-out prediction, calibrated by simulated targets.

The scores that wrong targets would have sample the density f1. The observed scores are f = (1 - pi) f0 + pi f1, so a
sample of score s is wrong with probability pi f1(s) / f(s).
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import MAX_KNOTS, LabelScores
from selfclean_hooks.detectors.label_errors.ensemble import PredictorInputs
from selfclean_hooks.detectors.label_errors.predictors import leave_one_out_ridge
from selfclean_hooks.utils.arrays import FloatArray

TAIL_SCORE = 0.4  # wrong targets are counted below this score
MIN_TAIL = 0.1  # fraction of wrong targets that must score below it


def score_regression(inputs: PredictorInputs, targets: FloatArray, others: int = 16) -> tuple[FloatArray, LabelScores]:
    """Predictions (N,) of neighbours and ridge, and scores of regression targets (N,): 1 / (1 + (r / scale)^2).

    r is the residual, and the scale of a sample the median residual around it. For the calibration, wrong targets are
    simulated by quantiles of all targets. `predicted` is -1.
    """
    indices, voting, _ = inputs.lists[0]
    votes = (voting & (indices >= 0)).astype(np.float64)
    count = np.maximum(votes.sum(1), 1e-12)
    mean = (votes * targets[indices]).sum(1) / count
    ridge = leave_one_out_ridge(*inputs.directions.kernel, targets[:, None], scale=len(targets))[:, 0].astype(
        np.float64
    )
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
    return predicted, LabelScores(score, np.full(len(targets), -1), Calibration(knots, 1 - rate))


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
