"""The default detector of label errors: predictors of every label, calibrated by how hard the samples are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import LabelScores
from selfclean_hooks.detectors.label_errors.ensemble import (
    PredictorInputs,
    judge_labels,
    label_support,
    predictor_inputs,
)
from selfclean_hooks.detectors.label_errors.targets.multi_label import score_multi_label
from selfclean_hooks.detectors.label_errors.targets.regression import score_regression
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.approximate_search import NeighborSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray

MOST_CLEAN = 2 / 3  # probability of being right of a flagged label: a flag must be worth a look
Miniatures = NDArray[np.uint8] | None
NOTHING_WRONG = Calibration(np.array([0.0]), np.array([1.0]))


@dataclass(frozen=True)
class EnsembleLabelErrors:
    """How far another label leads, or a regression target is off; flagged where flags have the best expected F1."""

    issue: str = "label_errors"
    neighbors: int = 20  # that are used, in the plain embedding

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample, and suggest the best supported label or the predicted target."""
        lists = geometry.neighbors.indices[:, : self.neighbors], geometry.neighbors.distances[:, : self.neighbors]
        indices, distances = (part.numpy() for part in lists)
        more = geometry.miniatures, geometry.search
        label = target = None
        if geometry.targets is not None:
            labels, target = score_targets(geometry.x, geometry.targets, indices, distances, *more)
        elif geometry.labels is not None:
            labels = score_labels(geometry.x, geometry.labels, indices, distances, *more)
            label = labels.predicted
        else:
            raise AssertionError("the label detector runs only where there are labels")
        return Finding(
            labels.score,
            automatic_threshold(labels),
            predicted_label=label,
            predicted_target=target,
            prediction_confidence=labels.confidence if target is None else None,
            calibration=labels.calibration,
        )


def automatic_threshold(labels: LabelScores) -> float:
    """The score of best expected F1 among labels likely enough to be wrong; 0, for none, if that is unknown."""
    if labels.calibration.unknown:
        return 0.0
    likely = labels.calibration.probability_threshold(MOST_CLEAN)
    return min(labels.calibration.best_f1_threshold(labels.score), likely)


def score_labels(
    x: UnitRows,
    labels: IntArray,
    indices: IntArray,
    distances: Float32Array,
    miniatures: Miniatures = None,
    search: NeighborSearch = nearest_neighbors,
) -> LabelScores:
    """Label errors among N samples.

    Args:
        x: N unit rows.
        labels: (N,) classes, -1 for none: such samples are neither scored nor used as neighbours.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) to these.
        miniatures: (N, 32, 32, 3) RGB of the samples, where all are images.
        search: of the neighbours in the whitened embedding.
    """
    kept = np.nonzero(labels >= 0)[0]
    if len(kept) < 3 or len(values := np.unique(labels[kept])) < 2:
        unknown = np.full(len(labels), np.nan)
        return LabelScores(np.where(labels >= 0, 1.0, np.nan), labels.copy(), NOTHING_WRONG, unknown)
    given = np.searchsorted(values, labels[kept])
    inputs = inputs_among(kept, x, indices, distances, miniatures, search)
    labeled = judge_labels(inputs, given, label_support(inputs, given))
    score, predicted, confidence = np.full(len(labels), np.nan), np.full(len(labels), -1), np.full(len(labels), np.nan)
    score[kept], predicted[kept], confidence[kept] = labeled.score, values[labeled.predicted], labeled.confidence
    return LabelScores(score, predicted, labeled.calibration, confidence)


def inputs_among(
    kept: IntArray,
    x: UnitRows,
    indices: IntArray,
    distances: Float32Array,
    miniatures: Miniatures = None,
    search: NeighborSearch = nearest_neighbors,
) -> PredictorInputs:
    """What the predictors are computed from for the samples at `kept` alone, ascending; arguments as `score_labels`."""
    if len(kept) == len(x):
        return predictor_inputs(x, indices, distances, miniatures, search)
    place = np.full(len(x) + 1, -1)  # the last entry: no neighbour
    place[kept] = np.arange(len(kept))
    return predictor_inputs(
        x[torch.from_numpy(kept)],
        place[indices[kept]],
        distances[kept],
        None if miniatures is None else miniatures[kept],
        search,
    )


def score_targets(
    x: UnitRows,
    targets: NDArray[Any],
    indices: IntArray,
    distances: Float32Array,
    miniatures: Miniatures = None,
    search: NeighborSearch = nearest_neighbors,
) -> tuple[LabelScores, FloatArray]:
    """Scores of regression targets or several labels a sample, and predictions as in `Scores.predicted_target`.

    Args:
        x: N unit rows.
        targets: (N,) regression targets, NaN for none: such samples are neither scored nor used as neighbours; or
            (N, C) booleans, or numbers with -1 for unknown entries, which are left out likewise.
        indices: (N, k) nearest other samples, -1 for none.
        distances: (N, k) to these.
        miniatures: as `score_labels`; of use to several labels a sample.
        search: as `score_labels`.
    """
    if targets.ndim == 2:
        _, labelled = score_multi_label(
            lambda kept: inputs_among(kept, x, indices, distances, miniatures, search), targets
        )
        return labelled, labelled.predicted.astype(np.float64)
    kept = np.nonzero(~np.isnan(targets))[0]
    score, predicted = np.full(len(targets), np.nan), np.full(len(targets), np.nan)
    if len(kept) < 3:
        score[kept], predicted[kept] = 1.0, targets[kept]
        return LabelScores(score, np.full(len(targets), -1), NOTHING_WRONG), predicted
    predicted[kept], regression = score_regression(
        inputs_among(kept, x, indices, distances, None, search), targets[kept]
    )
    score[kept] = regression.score
    return replace(regression, score=score, predicted=np.full(len(targets), -1)), predicted
