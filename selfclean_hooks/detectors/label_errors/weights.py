"""The weights of the predictors of labels, by the likelihood of the given labels."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from selfclean_hooks.detectors.label_errors.confusion import expect_right_classes
from selfclean_hooks.utils.arrays import FloatArray, IntArray

INITIAL_WEIGHTS = (0.5, 3.5, 0.1, 1.5, 1.5, 1.75, 0.05)  # of the predictors; the last two are of images
BLOCK = 1 << 14  # samples at a time
ROUNDS = 25  # of expectation-maximisation, each with one Newton step


def fit_weights(features: FloatArray, classes: int) -> FloatArray:
    """Weights (F,) >= 0 of `features` (F, N, M), column 0 the given label.

    Expectation-maximisation of (1 - e) softmax(weights . features)[0] + e / classes: a fraction e of the labels is
    random, so that wrong labels do not bias the fit.
    """
    weights, noise = np.array(INITIAL_WEIGHTS[: len(features)]), 0.02
    for _ in range(ROUNDS):
        p = softmax(np.tensordot(weights, features, 1), axis=1)
        own = (1 - noise) * p[:, 0]
        trust = own / (own + noise / classes)
        noise = float(np.clip(1 - trust.mean(), 1e-4, 0.5))
        right = np.zeros_like(p)
        right[:, 0] = trust
        weights = newton_step(weights, features, p, right)
    return weights


def sharpen_weights(weights: FloatArray, features: FloatArray, listed: IntArray, classes: int) -> FloatArray:
    """Weights (F,) >= 0 of the same features by a likelihood in which classes are confused, each at a rate of its own.

    Expectation-maximisation of the sum over c of softmax(weights . features)[c] r(c, given), from `weights` on.

    Args:
        weights: (F,) as `fit_weights`.
        features: (F, N, M), column 0 the given label.
        listed: (N, M) the classes of the columns.
        classes: of all samples.
    """
    rates = None
    for _ in range(ROUNDS):
        p = softmax(np.tensordot(weights, features, 1), axis=1)
        right, rates = expect_right_classes(p, listed, classes, rates)
        weights = newton_step(weights, features, p, right)
    return weights


def newton_step(weights: FloatArray, features: FloatArray, p: FloatArray, right: FloatArray) -> FloatArray:
    """Better weights (F,) >= 0 for the log likelihood sum of right log p, p = softmax(weights . features).

    Args:
        weights: (F,).
        features: (F, N, M).
        p: (N, M).
        right: (N, M) probability that each class is the right one; rows of sum 1 or less.
    """
    count, n, _ = features.shape
    pull = 1e-3 * n * np.eye(count)  # keeps the step finite where classes are separable
    slope, curvature = -pull @ weights, pull
    for rows in (slice(start, start + BLOCK) for start in range(0, n, BLOCK)):
        part, trust = features[:, rows], right[rows].sum(1)
        flat, mean = part.reshape(count, -1), (part * p[rows]).sum(2)
        slope = slope + flat @ right[rows].ravel() - mean @ trust
        curvature = curvature + (flat * (p[rows] * trust[:, None]).ravel()) @ flat.T - (mean * trust) @ mean.T
    step = np.linalg.solve(curvature, slope)
    return np.maximum(weights + step * (2 / max(2.0, float(np.abs(step).max()))), 0)
