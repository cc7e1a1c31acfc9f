"""The default detector of label errors: five predictors of every label, calibrated by simulated wrong labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import LabelScores, calibrate_support, error_probability
from selfclean_hooks.detectors.label_errors.ensemble import (
    LabelSupport,
    PredictorInputs,
    label_support,
    predictor_inputs,
)
from selfclean_hooks.detectors.label_errors.predictors import leave_one_out_ridge
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

MAX_AUTOMATIC_THRESHOLD = 0.45  # labels that score more are ambiguous rather than wrong


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
