"""Label errors of regression targets, by the residual of a leave-one-out prediction.

What is right varies more where it is large, for prices, counts or durations. So targets are judged on a scale on which
they vary evenly, their own or a logarithmic one, and residuals in units of those around. Errors shift the prediction of
others, so it is made a second time, from targets without what is far off. `residuals` says which residuals are errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from selfclean_hooks.detectors.label_errors.calibration import LabelScores
from selfclean_hooks.detectors.label_errors.ensemble import PredictorInputs
from selfclean_hooks.detectors.label_errors.predictors import voters_and_log_distances
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_ridge
from selfclean_hooks.detectors.label_errors.targets.residuals import calibrate_residuals
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray, average_ranks

NO_TARGET = "the vectors do not predict the targets, so wrong ones cannot be distinguished from others"
MIN_CORRELATION = 3.1  # of predicted and given targets, in standard deviations of chance: 1 in 1,000 by chance
ALIKE = 51  # samples
OUTER_FENCE = 3.0  # quartile ranges beyond the quartiles
CURVATURES = (1.0, 3.0, 10.0)  # of logarithmic scales, per quartile range
BULK = 0.85  # fraction of the samples, those of least residual, by which scales are compared: errors have none
GAIN = 0.02  # in log likelihood a sample, from which on another scale than the targets' own is taken
FAR_OFF = 0.7  # in units of the scale of residuals, 1.4 standard deviations


@dataclass(frozen=True)
class TargetScale:
    """A scale of targets: y, or where curved beyond `start` log(1 + curvature y), continued by a line below."""

    sign: int  # -1: of -y
    start: float
    unit: float
    curvature: float  # 0: straight

    def of(self, targets: FloatArray) -> FloatArray:
        """The targets (N,) on this scale."""
        y = self._units(targets)
        return np.where(y > 0, np.log1p(self.curvature * y.clip(0)) / self.curvature, y) if self.curvature else y

    def inverse(self, values: FloatArray) -> FloatArray:
        """The targets (N,) of values on this scale."""
        y = values
        if self.curvature:
            y = np.where(values > 0, np.expm1(self.curvature * values.clip(0)) / self.curvature, values)
        return self.sign * (y * self.unit + self.start)

    def log_slope(self, targets: FloatArray) -> FloatArray:
        """(N,) logarithm of how much a unit of the targets is on this scale."""
        return -np.log1p(self.curvature * self._units(targets).clip(0))

    def _units(self, targets: FloatArray) -> FloatArray:
        return (self.sign * targets - self.start) / self.unit


def target_scales(targets: FloatArray) -> Iterator[TargetScale]:
    """The targets' own scale, and logarithmic ones from either end, where there are quartiles to measure by."""
    lowest, low, high, highest = np.quantile(targets, (0.02, 0.25, 0.75, 0.98))
    yield TargetScale(1, 0.0, float(high - low) or 1.0, 0.0)
    if high > low:
        for curvature in CURVATURES:
            yield TargetScale(1, float(lowest), float(high - low), curvature)
            yield TargetScale(-1, float(-highest), float(high - low), curvature)


@dataclass(frozen=True, eq=False)
class TargetPredictor:
    """Leave-one-out predictions of targets: a mixture of voting neighbours and kernel ridge regression."""

    inputs: PredictorInputs
    indices: IntArray  # (N, k)
    votes: BoolArray  # (N, k)

    @classmethod
    def of(cls, inputs: PredictorInputs) -> TargetPredictor:
        """That of N samples."""
        indices, distances = inputs.lists[0]
        return cls(inputs, indices, voters_and_log_distances(distances)[0] & (indices >= 0))

    def predict(self, targets: FloatArray) -> FloatArray:
        """(N, C) of the targets (N, C), each column by itself but for one strength of the ridge."""
        ridge = leave_one_out_ridge(*self.inputs.directions.kernel, targets, scale=len(targets)).astype(np.float64)
        return np.stack([self._mix(y, r) for y, r in zip(targets.T, ridge.T, strict=True)], axis=1)

    def _mix(self, targets: FloatArray, ridge: FloatArray) -> FloatArray:
        """The mixture (N,) with the least error."""
        mean = (self.votes * targets[self.indices]).sum(1) / np.maximum(self.votes.sum(1), 1)
        near = np.where(self.votes.any(1), mean, ridge)
        mixed = [share * near + (1 - share) * ridge for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        return min(mixed, key=lambda predicted: float(np.abs(targets - predicted).mean()))

    def scale(self, residual: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N,) about two standard deviations of the residuals around each sample, and the part by the prediction."""
        usual = float(np.median(residual)) + 1e-12  # never 0
        around = np.where(self.votes, residual[self.indices], np.nan)
        around[~self.votes.any(1), 0] = usual
        alike = np.maximum(residual_by_prediction(residual, predicted), usual / 2)
        return (np.nanmedian(around, axis=1) + alike) * 1.5, alike


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
    predictor = TargetPredictor.of(inputs)
    chosen, y, predicted = most_even_scale(predictor, targets)
    shown = rank_correlation(predicted, y) > MIN_CORRELATION / math.sqrt(len(y) - 1)
    room = FAR_OFF * predictor.scale(np.abs(y - predicted), predicted)[0]
    predicted = predictor.predict((predicted + np.clip(y - predicted, -room, room))[:, None])[:, 0]
    residual = np.abs(y - predicted)
    scale, alike = predictor.scale(residual, predicted)
    other = np.abs(np.quantile(y, (np.arange(others) + 0.5) / others) - predicted[:, None])
    wrong = (other / scale[:, None])[other > 2 * alike[:, None]]  # about the same target is not an error
    calibration = replace(calibrate_residuals(residual / scale, wrong), unknown="" if shown else NO_TARGET)
    score = 1 / (1 + (residual / scale) ** 2)
    return chosen.inverse(predicted), LabelScores(score, np.full(len(y), -1), calibration)


def most_even_scale(predictor: TargetPredictor, targets: FloatArray) -> tuple[TargetScale, FloatArray, FloatArray]:
    """The scale on which the bulk of the residuals is likeliest, if their spread is the same everywhere.

    With the targets (N,) and their predictions (N,) on it. Likelihood: of a Laplace distribution.
    """
    scales = list(target_scales(targets))
    columns = np.stack([scale.of(targets) for scale in scales], axis=1)
    usual = np.stack([without_outliers(y) for y in columns.T], axis=1)  # a single one would move all predictions
    predicted = predictor.predict(usual)
    residual = np.abs(columns - predicted)
    gain = np.empty(len(scales))
    for at, scale in enumerate(scales):
        bulk = np.argsort(residual[:, at], kind="stable")[: math.ceil(BULK * len(targets))]
        gain[at] = scale.log_slope(targets[bulk]).mean() - math.log(float(residual[bulk, at].mean()) + 1e-12)
    gain[0] += GAIN
    best = int(gain.argmax())
    return scales[best], columns[:, best], predicted[:, best]


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
