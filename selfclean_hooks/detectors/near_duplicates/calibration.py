"""Calibration of near duplicates: more close pairs than chance gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.intrinsic_dimension import MAX_DIMENSION
from selfclean_hooks.detectors.near_duplicates.local_scale import SCALE_RANK
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MARGIN_DEVIATIONS = 1.0  # standard deviations by which more small p than the average are granted to chance
MARGIN_SAMPLES = 0.5  # samples granted to chance at p = 0: a single pair is flagged only where it is far out


def near_duplicate_calibration(
    score: NDArray[np.floating], sure: float, m: float, rate: float = SCALE_RANK, ordinary: float = 1.0
) -> Calibration:
    """The calibration of scores, with exact copies (0) at probability 0.

    Where nothing is copied the p-values are uniform, so their density (Grenander's estimate of a nonincreasing one)
    says by how much the small ones exceed chance.

    Args:
        score: (N,) of all samples, of one in each group of copies that of its nearest pair beyond the group.
        sure: scores up to this are those of groups of copies, which chance does not give.
        m: intrinsic dimension of the samples.
        rate: neighbours within the local scale.
        ordinary: scores from this on are those of ordinary neighbours.
    """
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    start, slope = _concave_majorant(np.where(s <= sure, 0.0, p_values(s, m, rate)))
    clean = np.minimum(1.0, 1 / slope)  # assumes that nearly all samples are clean: no null proportion is estimated
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    values[knots >= ordinary] = 1
    distinct = np.append(True, np.diff(knots) > 0)
    knots, values = np.append(0.0, knots[distinct]), np.append(0.0, values[distinct])
    return Calibration(knots, values, *_bounds(values, np.interp(score, knots, values)))


MIN_TRUE, MAX_HIDDEN = 0.8, 1.6  # of the uncertain ones found: the fewest that are copies, and how many lie unseen
FEW_HIDDEN = 3.0  # samples: there may be one more pair, or two
CERTAIN = 0.01  # probability


def _bounds(clean: FloatArray, of_samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The least and the greatest probability of being clean at the knots, from those of all samples (N,).

    Copies that were turned, cropped or redrawn so much that they look like ordinary neighbours cannot be seen: on
    planted ones up to 1.6 times as many as were found, and a few. `MIN_TRUE` and `MAX_HIDDEN` were measured so.
    """
    found = (1 - of_samples)[of_samples > CERTAIN].sum()
    hidden = (MAX_HIDDEN * found + FEW_HIDDEN) / len(of_samples)
    least_wrong = np.where(clean < 0.5, MIN_TRUE * (1 - clean), 0.0)
    return np.maximum(clean - hidden, 0), np.where(clean <= CERTAIN, clean, 1 - least_wrong)


TAIL_QUANTILES = ((0.25, 0.6), (0.1, 0.5), (0.05, 0.5), (0.05, 0.5))  # a round each: copies may be many at first


def fitted_calibration(score: NDArray[np.floating], sure: float, originals: IntArray) -> Calibration:
    """`near_duplicate_calibration` where chance is fitted to the scores of the samples that are no copies.

    For distances that are not those of a space, such as the blend of network and pixels.

    Args:
        score: (N,) as there.
        sure: as there.
        originals: (G,) samples that stand for one group each.
    """
    clean = score[originals]
    for quantiles in TAIL_QUANTILES:
        ordinary = float(np.quantile(clean, quantiles[0]))
        calibration = near_duplicate_calibration(score, sure, *fit_chance(clean, quantiles), ordinary=ordinary)
        kept = score[originals][calibration.probability_clean(score[originals]) >= 0.5]
        clean = kept if 2 * len(kept) >= len(originals) else score[originals]
    return calibration


def fit_chance(score: NDArray[np.floating], quantiles: tuple[float, float]) -> tuple[float, float]:
    """Dimension and rate with which `p_values` gives two quantiles of (G,) scores of samples that are no copies."""
    s = np.clip(np.quantile(score, quantiles), 1e-6, 0.5 - 1e-6)
    few, many = np.log(s / (1 - s))
    wanted = np.log1p(-np.array(quantiles))
    m = float(np.clip(np.log(wanted[1] / wanted[0]) / max(many - few, 1e-6), 0.5, MAX_DIMENSION))
    return m, float(wanted[0] / np.log1p(-np.exp(few * m)))


def p_values(score: NDArray[np.floating], m: float, rate: float = SCALE_RANK) -> FloatArray:
    """How often a sample's smallest pair score would be so low if nothing were copied, (N,).

    Args:
        score: (N,) in [0, 1].
        m: intrinsic dimension.
        rate: neighbours within the local scale.
    """
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(rate * np.log1p(-np.minimum(t, 1 - 1e-16))))


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
