"""Label errors: samples nearer to another class than to their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.base import Finding, Geometry
from selfclean_hooks.detectors.logistic_tail import automatic_threshold, quantile_of
from selfclean_hooks.vectors import UnitRows, multiplied


def distance_ratio(same: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """The score b^2 / (a^2 + b^2) in [0, 1], low = the label is likely wrong.

    Args:
        same: (N,) distance a to the nearest sample of the same label.
        other: (N,) distance b to the nearest sample of another label.

    A sample with exact copies of both kinds (a = b = 0) speaks for neither label and gets 0.5.
    """
    a, b = same.astype(np.float64) ** 2, other.astype(np.float64) ** 2
    score = np.full(len(a), 0.5)
    np.divide(b, a + b, out=score, where=(a + b) > 0)
    return score


def farthest_of_other_label(x: UnitRows, rows: NDArray[np.int64], chunk: int = 256) -> NDArray[np.float32]:
    """Largest distance from each of `rows` to any sample. The rows are alone in their class, so all others count."""
    out = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), chunk):
        row = torch.from_numpy(rows[start : start + chunk])
        column = multiplied(x.values[row], x.values).argmin(1, keepdim=True)
        out[start : start + chunk] = x.distances(row, column)[:, 0].numpy()
    return out


@dataclass(frozen=True)
class LabelErrors:
    """Ratio of the nearest distances to the own and to any other class, with SelfClean's automatic threshold."""

    issue: str = "label_errors"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample; the suggested label is that of the nearest sample of either kind."""
        same, other, labels = geometry.neighbors.same, geometry.neighbors.other, geometry.labels
        if same is None or other is None or labels is None:
            raise AssertionError("label errors are looked for only where there are labels")
        a, b = same[1].numpy().copy(), other[1].numpy()
        alone = (same[0].numpy() < 0).nonzero()[0]
        a[alone] = farthest_of_other_label(geometry.x, alone)
        score = distance_ratio(a, b)
        predicted = np.where(score < 0.5, labels[other[0].numpy()], labels)
        automatic = automatic_threshold(quantile_of(score), len(score), len(score))
        return Finding(score, automatic, predicted_label=predicted)
