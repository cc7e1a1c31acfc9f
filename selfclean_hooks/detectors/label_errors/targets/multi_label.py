"""Label errors where a sample has several labels.

Each attribute is a question of its own with two answers. It is judged only if the vectors predict it, and only as far:
those that they do not show are left out, as their every second entry would look wrong.
"""

from __future__ import annotations

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
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray, average_ranks

MIN_KNOWN = 3  # entries of an attribute; of fewer no neighbour is left that could tell
FALSE_DISCOVERIES = 0.05  # expected fraction of the attributes taken as predictable that are not
NO_ATTRIBUTE = "the vectors predict none of the labels well enough to tell wrong ones from hard ones"


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
