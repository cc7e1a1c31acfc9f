"""Label errors where a sample has several labels: each is a question of its own with two answers."""

from __future__ import annotations

import numpy as np

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.label_errors.calibration import LabelScores, score_support
from selfclean_hooks.detectors.label_errors.ensemble import PredictorInputs, label_support
from selfclean_hooks.detectors.label_errors.support import LabelSupport
from selfclean_hooks.utils.arrays import BoolArray, FloatArray


def score_multi_label(inputs: PredictorInputs, targets: BoolArray) -> tuple[FloatArray, LabelScores]:
    """Scores (N, C) of every entry of `targets` (N, C); per sample the least; the calibration is that of an entry.

    An entry of a class that all or no samples have scores 1. Predicted: class and value of a sample's worst entry,
    2 c + value.
    """
    varying = np.nonzero(targets.any(0) & ~targets.all(0))[0]
    scores = np.ones(targets.shape)
    parts = [label_support(inputs, targets[:, c].astype(np.int64)) for c in varying]
    if not parts:
        clean = Calibration(np.array([0.0]), np.array([1.0]))
        return scores, LabelScores(scores.min(1), np.full(len(scores), -1), clean)
    codes = np.concatenate([part.classes + 2 * c for c, part in zip(varying, parts, strict=True)])
    support, sharp = (np.concatenate(part) for part in zip(*((p.support, p.sharp) for p in parts), strict=True))
    entries = score_support(LabelSupport(codes, support, sharp))
    scores[:, varying] = entries.score.reshape(len(varying), -1).T
    worst = varying[scores[:, varying].argmin(1)]
    value = entries.predicted.reshape(len(varying), -1).T[np.arange(len(scores)), np.searchsorted(varying, worst)]
    return scores, LabelScores(scores.min(1), value, entries.calibration)
