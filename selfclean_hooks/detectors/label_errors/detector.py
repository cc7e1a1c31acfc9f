"""The default detector of label errors: five opinions on every label, and what a wrong one would look like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import (
    LabelScores,
    calibrate_support,
    error_probability,
    score_labels,
)
from selfclean_hooks.detectors.label_errors.ensemble import (
    LabelSupport,
    PredictorInputs,
    label_support,
    predictor_inputs,
)
from selfclean_hooks.detectors.label_errors.predictors import leave_one_out_ridge
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.utils.arrays import FloatArray, IntArray


def score_multi_label(seen: PredictorInputs, targets: NDArray[np.bool_]) -> tuple[FloatArray, LabelScores]:
    """Scores (N, C) of every entry of `targets` (N, C); per sample the least; the calibration is that of an entry.

    An entry of a class that all or none have scores 1. Predicted: class and side of a sample's worst entry, 2 c + side.
    """
    open_ = np.nonzero(targets.any(0) & ~targets.all(0))[0]
    scores = np.ones(targets.shape)
    parts = [label_support(seen, targets[:, c].astype(np.int64)) for c in open_]
    if not parts:
        return scores, LabelScores(scores.min(1), np.full(len(scores), -1), np.array([0.0]), np.array([1.0]))
    codes = np.concatenate([part.classes + 2 * c for c, part in zip(open_, parts, strict=True)])
    found = calibrate_support(LabelSupport(codes, np.concatenate([part.support for part in parts])), listed_only=True)
    scores[:, open_] = found.score.reshape(len(open_), -1).T
    worst = open_[scores[:, open_].argmin(1)]
    side = found.predicted.reshape(len(open_), -1).T[np.arange(len(scores)), np.searchsorted(open_, worst)]
    return scores, LabelScores(scores.min(1), side, found.knots, found.clean)


def score_regression(seen: PredictorInputs, targets: FloatArray, others: int = 16) -> tuple[FloatArray, LabelScores]:
    """What neighbours and ridge foretell (N,), and scores of numeric targets (N,): 1 / (1 + (r / scale)^2).

    r is the distance to what is predicted, the scale of a sample the usual residual where its neighbours are. Wrong
    targets, for the calibration, are quantiles of all targets. `predicted` is -1.
    """
    indices, may, _ = seen.lists[0]
    votes = (may & (indices >= 0)).astype(np.float64)
    count = np.maximum(votes.sum(1), 1e-12)
    mean = (votes * targets[indices]).sum(1) / count
    ridge = leave_one_out_ridge(*seen.kernel, targets[:, None], scale=len(targets))[:, 0].astype(np.float64)
    near = np.where(votes.any(1), mean, ridge)
    share = min((0.0, 0.25, 0.5, 0.75, 1.0), key=lambda a: float(np.abs(targets - a * near - (1 - a) * ridge).mean()))
    predicted = share * near + (1 - share) * ridge
    residual = np.abs(targets - predicted)
    usual = float(np.median(residual)) + 1e-12 * float(np.abs(targets).max(initial=0)) + np.finfo(np.float64).tiny
    around = np.where(votes > 0, residual[indices], np.nan)
    around[~votes.any(1), 0] = usual
    scale = (np.nanmedian(around, axis=1) + usual) * 1.5  # 1.5 (a + b) ~ 2 standard deviations, half of it local
    wrong = np.abs(np.quantile(targets, (np.arange(others) + 0.5) / others) - predicted[:, None]) / scale[:, None]
    far = (wrong * scale[:, None] > 2 * usual).astype(np.float64)  # the same target again is no mistake
    score = 1 / (1 + (residual / scale) ** 2)
    knots, rate = error_probability(score, (1 / (1 + wrong**2)).ravel(), far.ravel())
    return predicted, LabelScores(score, np.full(len(targets), -1), knots, 1 - rate)


def score_targets(
    x: Tensor, targets: NDArray[Any], indices: IntArray, distances: NDArray[np.float32]
) -> tuple[LabelScores, FloatArray]:
    """Errors among targets that are no classes, and what is predicted, as in `Scores.predicted`.

    Args:
        x: (N, D) unit rows.
        targets: (N,) numbers, NaN for none: such samples are not scored and have no say; or (N, C) booleans.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) theirs.
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
    predicted[kept], found = score_regression(
        predictor_inputs(x[kept], place[indices[kept]], distances[kept]), targets[kept]
    )
    score[kept] = found.score
    return replace(found, score=score, predicted=np.full(len(targets), -1)), predicted


MAX_AUTOMATIC_THRESHOLD = 0.45  # labels that score more are open to doubt rather than wrong


@dataclass(frozen=True)
class EnsembleLabelErrors:
    """How far another label leads, or a number lies off; flagged where flags are expected to hit best."""

    issue: str = "label_errors"
    neighbors: int = 20  # of the plain embedding that have a say

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample; the suggested label is the one that most speaks for, or the number predicted."""
        lists = geometry.neighbors.indices[:, : self.neighbors], geometry.neighbors.distances[:, : self.neighbors]
        indices, distances = (part.numpy() for part in lists)
        label = target = None
        if geometry.targets is not None:
            found, target = score_targets(geometry.x.values, geometry.targets, indices, distances)
        elif geometry.labels is not None:
            found = score_labels(geometry.x.values, geometry.labels, indices, distances)
            label = found.predicted
        else:
            raise AssertionError("label errors are looked for only where there are labels")
        calibration = Calibration(found.knots, found.clean)
        automatic = min(calibration.best_f1_threshold(found.score), MAX_AUTOMATIC_THRESHOLD)
        return Finding(found.score, automatic, predicted_label=label, predicted_target=target, calibration=calibration)
