"""How likely a nearest pair is no near duplicate: a local false discovery rate.

Where nothing is copied, the neighbours of a sample are spread like dust. With the yardstick at the 3rd or beyond, the
share t = (d / r)^(m / 2) of the ball up to the nearest is the smallest of at most three uniforms, so
p = 1 - (1 - t)^3 is uniform or larger. Near duplicates add small p. The density f of all p, nonincreasing, is estimated
by the slopes of the least concave majorant of their distribution (U. Grenander 1956; as a local false discovery rate:
K. Strimmer, BMC Bioinformatics 2008), and the probability of no near duplicate is 1 / f.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.calibration import Calibration
from selfclean_hooks.detectors.near_scale import WANT

Floats = NDArray[np.float64]

TRIES = WANT  # not one less: the yardstick lies beyond what looks like a copy
DOUBT = 1.0  # standard deviations by which more small p than the average are granted to chance
OFFSET = 0.5  # samples granted to chance at p = 0: a pair alone is flagged only where it is far out


def chance(score: NDArray[np.floating], m: float) -> Floats:
    """p of a sample's smallest pair score: how often it would be so low if nothing were copied."""
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(TRIES * np.log1p(-np.minimum(t, 1 - 1e-16))))


def near_calibration(score: NDArray[np.floating], m: float) -> Calibration:
    """The calibration of (N,) sample scores in a space of m dimensions. Exact copies (0) are never fine."""
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    p = chance(s, m)
    start, slope = _concave_slopes(p)
    clean = np.minimum(1.0, 1 / slope)  # all but the copies are taken to be dust: a share near 1 is not told from 1
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    once = np.append(True, np.diff(knots) > 0)
    knots, values = knots[once], values[once]
    return Calibration(np.append(0.0, knots), np.append(0.0, values))


def _concave_slopes(p: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Pieces of the least concave majorant: first sample and slope of each, for sorted p."""
    n = len(p)
    y = np.append(0.0, np.arange(1, n + 1) / n)
    x = np.append(0.0, p + (DOUBT * np.sqrt(n * p) + OFFSET) / n)
    hull = [0]
    for i in range(1, n + 1):
        if i < n and x[i + 1] == x[i]:
            continue
        while len(hull) > 1 and (y[hull[-1]] - y[hull[-2]]) * (x[i] - x[hull[-1]]) <= (y[i] - y[hull[-1]]) * (
            x[hull[-1]] - x[hull[-2]]
        ):
            hull.pop()
        hull.append(i)
    at = np.array(hull)
    return at[:-1], np.diff(y[at]) / np.diff(x[at])
