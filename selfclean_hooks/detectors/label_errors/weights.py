"""Weights of the predictors, fitted to the given labels by expectation-maximisation.

Features are read in parts, and each round is a sum over these: every process computes those of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.special import softmax

from selfclean_hooks.detectors.label_errors.likelihood import (
    MANY,
    MAX_CLASSES,
    EvenRates,
    confusion_counts,
    rates_of_counts,
    right_classes,
)
from selfclean_hooks.neighbors.screening.screen import slices
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import sum_blocks

INITIAL_WEIGHTS = (0.5, 3.5, 0.1, 1.5, 1.5, 1.75, 0.05)  # of the predictors; the last two are of images
FIT_ROUNDS = 25  # of expectation-maximisation at most, each with one Newton step
STILL = 3e-4  # a step of the weights after which another is not worth its time
ROWS = 1024  # whose features stay in the processor's cache


class FeatureParts(Protocol):
    """What F predictors say of N samples, in parts."""

    @property
    def parts(self) -> Sequence[slice]:
        """The parts of the samples."""

    @property
    def count(self) -> int:
        """F."""

    def of(self, part: slice) -> tuple[IntArray, Float32Array]:
        """Of n samples: classes (n, M), the given one first, and (F, n, M) what each predictor says of these."""


def fit_weights(features: FeatureParts, classes: int) -> FloatArray:
    """Weights (F,) >= 0 of the features of all samples.

    Expectation-maximisation of (1 - e) softmax(weights . features)[0] + e / classes: a fraction e of the labels is
    random, so that wrong labels do not bias the fit.
    """
    weights, noise, n = np.array(INITIAL_WEIGHTS[: features.count]), 0.02, features.parts[-1].stop
    for _ in range(FIT_ROUNDS):
        before, (trusted, *sums) = (
            weights,
            sum_blocks(_RandomLabels(features, weights, noise, classes).of, features.parts),
        )
        noise = float(np.clip(trusted_noise(n - trusted, n), 1e-4, 0.5))
        weights = newton_step(weights, n, *sums)
        if np.abs(weights - before).max() < STILL:
            break
    return weights


def sharpen_weights(weights: FloatArray, features: FeatureParts, classes: int) -> FloatArray:
    """Weights (F,) >= 0 of the same features by a likelihood in which classes are confused, each at a rate of its own.

    Expectation-maximisation of the sum over c of softmax(weights . features)[c] r(c, given), from `weights` on. With
    more than `MAX_CLASSES` the rates stay as they are.

    Args:
        weights: (F,) as `fit_weights`.
        features: of all samples.
        classes: of all samples.
    """
    n = features.parts[-1].stop
    rates: FloatArray | EvenRates = EvenRates.usual(classes)
    for _ in range(FIT_ROUNDS):
        before = weights
        *sums, counts, same = sum_blocks(_ConfusedLabels(features, weights, rates, classes).of, features.parts)
        weights = newton_step(weights, n, *sums)
        if classes <= MAX_CLASSES:
            rates = rates_of_counts(counts, trusted_noise(n - same, n))
        if np.abs(weights - before).max() < STILL:
            break
    return weights


def trusted_noise(wrong: float, n: int) -> float:
    """The fraction of n labels taken to be wrong by a fit to which the number `wrong` seem so: a part of few.

    What few samples do not explain is a weak predictor, too. Taken for wrong labels, it would leave weights that are
    too large, and predictors that are certain of what they cannot know.
    """
    return wrong / n * min(1.0, n / MANY)


@dataclass(frozen=True, eq=False)
class _RandomLabels:
    """A round of `fit_weights`."""

    features: FeatureParts
    weights: FloatArray
    noise: float
    classes: int

    def of(self, part: slice) -> tuple[Any, ...]:
        """Of a part: how many labels are not random, and `newton_sums`."""
        said = self.features.of(part)[1]
        sums = [self._of_rows(said[:, rows].astype(np.float64)) for rows in slices(said.shape[1], ROWS)]
        return tuple(map(sum, zip(*sums, strict=True)))

    def _of_rows(self, said: FloatArray) -> tuple[Any, ...]:
        p = softmax(np.tensordot(self.weights, said, 1), axis=1)
        own = (1 - self.noise) * p[:, 0]
        right = np.zeros_like(p)
        right[:, 0] = own / (own + self.noise / self.classes)
        return right[:, 0].sum(), *newton_sums(said, p, right)


@dataclass(frozen=True, eq=False)
class _ConfusedLabels:
    """A round of `sharpen_weights`."""

    features: FeatureParts
    weights: FloatArray
    rates: FloatArray | EvenRates
    classes: int

    def of(self, part: slice) -> tuple[Any, ...]:
        """Of a part: `newton_sums`, confusions (C, C), 0 where these do not count, and how many labels are right."""
        listed, single = self.features.of(part)
        right, sums = np.empty(listed.shape), []
        for rows in slices(len(listed), ROWS):
            said = single[:, rows].astype(np.float64)
            p = softmax(np.tensordot(self.weights, said, 1), axis=1)
            right[rows] = right_classes(p, listed[rows], self.rates)
            sums.append(newton_sums(said, p, right[rows]))
        counts = confusion_counts(right, listed, self.classes) if self.classes <= MAX_CLASSES else 0.0
        return *map(sum, zip(*sums, strict=True)), counts, right[:, 0].sum()


@dataclass(frozen=True, eq=False)
class Supports:
    """Of the features by two weights each."""

    features: FeatureParts
    weights: FloatArray  # (F,)
    sharp: FloatArray  # (F,)

    def of(self, part: slice) -> tuple[IntArray, FloatArray, FloatArray]:
        """Of a part: classes, and their support by either, each (n, M)."""
        listed, said = self.features.of(part)
        return listed, np.tensordot(self.weights, said, 1), np.tensordot(self.sharp, said, 1)


def newton_sums(features: FloatArray, p: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope (F,) and curvature (F, F) of the log likelihood sum of right log p, p = softmax(weights . features).

    Args:
        features: (F, n, M).
        p: (n, M).
        right: (n, M) probability that each class is the right one; rows of sum 1 or less.
    """
    flat, mean, trust = features.reshape(len(features), -1), np.einsum("fnm,nm->fn", features, p), right.sum(1)
    slope = flat @ right.ravel() - mean @ trust
    return slope, (flat * (p * trust[:, None]).ravel()) @ flat.T - (mean * trust) @ mean.T


def newton_step(weights: FloatArray, n: int, slope: FloatArray, curvature: FloatArray) -> FloatArray:
    """Better weights (F,) >= 0, by the `newton_sums` of n samples."""
    pull = 1e-3 * n * np.eye(len(weights))  # keeps the step finite where classes are separable
    step = np.linalg.solve(curvature + pull, slope - pull @ weights)
    return np.maximum(weights + step * (2 / max(2.0, float(np.abs(step).max()))), 0)
