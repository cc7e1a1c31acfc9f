"""The default detector of near duplicates: pairs far closer than the local scale, calibrated against chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.near_duplicates.local_scale import SCALE_RANK, estimate_local_scale, reference_fractions
from selfclean_hooks.detectors.near_duplicates.pairs import sample_scores, score_pairs
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Finding, Geometry, Pairs
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_FALSE_FLAG_RATE = 0.5  # up to which a false discovery rate may ask for pairs


@dataclass(frozen=True)
class ScaledNearDuplicates:
    """Pairs far closer than neighbours usually are around them; flagged where chance does not explain it."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the pairs."""
        x, n = geometry.x, len(geometry.x)
        indices, distances = geometry.neighbors.indices.numpy(), geometry.neighbors.distances.numpy()
        low, high = map(geometry.pair_quantile, reference_fractions(n))
        scale = estimate_local_scale(x, indices, distances, (low, high))
        pairs = score_pairs(x, indices, distances, scale.distance)
        score = sample_scores(pairs, n)
        calibration = near_duplicate_calibration(score, scale.dimension)
        automatic = calibration.probability_threshold()
        wanted = max(automatic, geometry.pairs_below, calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(
            score, automatic, _worst_pairs(pairs, n, wanted), calibration=calibration, local_scale=scale.distance
        )


def _worst_pairs(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    return Pairs(pairs.index[:keep], pairs.distance[:keep], pairs.score[:keep], complete)


MARGIN_DEVIATIONS = 1.0  # standard deviations by which more small p than the average are granted to chance
MARGIN_SAMPLES = 0.5  # samples granted to chance at p = 0: a single pair is flagged only where it is far out


def near_duplicate_calibration(score: NDArray[np.floating], m: float) -> Calibration:
    """The calibration of (N,) sample scores in a space of m dimensions, with exact copies (0) at probability 0.

    Where nothing is copied the p-values are uniform, so their density (Grenander's estimate of a nonincreasing one)
    says by how much the small ones exceed chance.
    """
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    start, slope = _concave_majorant(p_values(s, m))
    clean = np.minimum(1.0, 1 / slope)  # assumes that nearly all samples are clean: no null proportion is estimated
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    distinct = np.append(True, np.diff(knots) > 0)
    knots, values = knots[distinct], values[distinct]
    return Calibration(np.append(0.0, knots), np.append(0.0, values))


def p_values(score: NDArray[np.floating], m: float) -> FloatArray:
    """How often a sample's smallest pair score would be so low if nothing were copied, (N,)."""
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(SCALE_RANK * np.log1p(-np.minimum(t, 1 - 1e-16))))


def _concave_majorant(p: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pieces of the least concave majorant of sorted p: first sample and slope of each."""
    n = len(p)
    y = np.append(0.0, np.arange(1, n + 1) / n)
    x = np.append(0.0, p + (MARGIN_DEVIATIONS * np.sqrt(n * p) + MARGIN_SAMPLES) / n)
    hull = [0]
    for i in range(1, n + 1):
        if i < n and x[i + 1] == x[i]:
            continue
        while len(hull) > 1 and (y[hull[-1]] - y[hull[-2]]) * (x[i] - x[hull[-1]]) <= (y[i] - y[hull[-1]]) * (
            x[hull[-1]] - x[hull[-2]]
        ):
            hull.pop()
        hull.append(i)
    corners = np.array(hull)
    return corners[:-1], np.diff(y[corners]) / np.diff(x[corners])
