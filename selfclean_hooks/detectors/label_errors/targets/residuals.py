"""Calibration of regression targets: which residuals are errors, and which the tail of the others.

How heavy the tail of right targets is, and how far wrong ones are off, differs from data set to data set. So a mixture
is fitted to the residuals, in units of the local scale: those of right targets have a t distribution of some width and
some degrees of freedom; wrong targets are as far off as other samples' targets would be, or farther. Its likelihood is
computed for every combination of a grid. What results is the probability that a target is right, averaged over the
combinations, and that by the combinations with the fewest and the most errors which the data do not exclude.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax, stdtr, stdtrit

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.utils.arrays import BoolArray, FloatArray

WIDTH = 0.1  # of the bins
BINS = np.arange(-3, 9 + WIDTH / 2, WIDTH)  # middles, (B,) logarithms of |residual| / scale
DEGREES = (8.0, 16.0, 40.0)  # of freedom. By fewer, tails of right targets would hide most errors
WIDTHS = np.geomspace(0.6, 1.15, 12)  # of right targets, in units of the one by the median of all residuals
FARTHER = (1.5, 2.0, 3.0, 5.0, 10.0)  # than the targets of other samples would be: signs, units, misplaced points
SPREAD, SPREAD_FARTHER = 0.35, 0.4  # standard deviations of log distances of wrong targets, around each
ANYWHERE = 0.02  # of the wrong targets are at any distance beyond the median
MOST_WRONG = 0.45  # fraction of the targets
FRACTIONS = 30  # beside none
LIKELY = 3.0  # log likelihood below the best that is not excluded


def calibrate_residuals(ratio: FloatArray, other: FloatArray) -> Calibration:
    """The calibration of scores 1 / (1 + ratio^2).

    Args:
        ratio: (N,) |residual| / scale.
        other: (M,) the same for targets of other samples in place of the given ones.
    """
    if not len(other):
        return Calibration(np.array([0.0]), np.array([1.0]))
    counts, middle = histogram(ratio), float(np.median(ratio))
    right, wrong = right_densities(middle), wrong_densities(other, middle)
    fraction = np.append(0, np.geomspace(min(0.3 / len(ratio), MOST_WRONG), MOST_WRONG, FRACTIONS))[:, None, None]
    mixture = (1 - fraction) * right[:, None, None] + fraction * wrong  # (right, fraction, wrong, B)
    log_likelihood = (np.log(mixture) @ counts).ravel()
    clean = ((1 - fraction) * right[:, None, None] / mixture).reshape(-1, len(BINS))
    errors = (1 - clean) @ counts
    possible = log_likelihood > log_likelihood.max() - LIKELY
    fewest, most = (np.where(possible, errors, end) for end in (np.inf, -np.inf))
    curves = softmax(log_likelihood) @ clean, clean[most.argmax()], clean[fewest.argmin()]
    mean, low, high = (falling(curve, middle)[::-1] for curve in curves)
    return Calibration(1 / (1 + np.exp(2 * BINS[::-1])), mean, np.minimum(low, mean), np.maximum(high, mean))


def falling(clean: FloatArray, middle: float) -> FloatArray:
    """Probabilities (B,) of being right, 1 below the median ratio and nowhere rising with the distance."""
    return np.minimum.accumulate(np.where(np.exp(BINS) < middle, 1.0, clean))


def histogram(ratio: FloatArray) -> FloatArray:
    """(B,) how many of the ratios (N,) are in each bin; the first and the last hold all beyond."""
    logs = np.log(np.clip(ratio, *np.exp(BINS[[0, -1]])))
    bins = np.rint((logs - BINS[0]) / WIDTH).astype(np.int64)
    return np.bincount(bins, minlength=len(BINS)).astype(np.float64)


def right_densities(middle: float) -> FloatArray:
    """(R, B) probabilities of the bins under each t distribution.

    Args:
        middle: median ratio.
    """
    edges = np.exp(np.append(BINS[:-1] + WIDTH / 2, np.inf))
    rows = []
    for degrees in DEGREES:
        for width in max(middle, float(np.exp(BINS[0]))) / stdtrit(degrees, 0.75) * WIDTHS:
            beyond = 2 * stdtr(degrees, -edges / width)  # of the lower tail, which is exact where it is tiny
            rows.append(-np.diff(beyond, prepend=1.0))
    return np.stack(rows).clip(1e-300)


def wrong_densities(other: FloatArray, middle: float) -> FloatArray:
    """(W, B) probabilities of the bins under each kind of wrong targets.

    Args:
        other: (M,) ratios of other targets.
        middle: median ratio.
    """
    counts = histogram(other)
    place = float(BINS @ counts / counts.sum())
    near = np.exp(-0.5 * ((BINS[:, None] - BINS) / SPREAD) ** 2) @ counts
    far = [np.exp(-0.5 * ((BINS - place - np.log(times)) / SPREAD_FARTHER) ** 2) for times in FARTHER]
    kinds = np.stack([near, *far])
    kinds /= kinds.sum(1, keepdims=True)
    beyond: BoolArray = np.exp(BINS) > min(middle, float(np.exp(BINS[-2])))
    return np.asarray((1 - ANYWHERE) * kinds + ANYWHERE * beyond / beyond.sum())
