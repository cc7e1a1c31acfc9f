"""The likelihood of the given labels, by the support for each class, by confusions, and as predictors are weighed.

The predictors see how well each class fits a sample. A wrong label is more likely where its class is often given for
the best fitting one, by people as by scripts, so the rates of confusion are estimated and each label is judged by

    log odds of label g = log p(g) r(g, g) / sum over c other than g of p(c) r(c, g)

with p(c) the support for class c as a probability and r(c, g) the rate at which samples of class c are given label g
(Natarajan et al., "Learning with Noisy Labels", NeurIPS 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_CLASSES = 2000  # with more, all confusions are taken as equally likely
PSEUDO_COUNTS = 100.0  # samples of each class that are confused with any other equally often
ROUNDS = 20  # of expectation-maximisation, which has converged by then
INITIAL_RATE = 0.1  # fraction of wrong labels
TRUST = 0.75  # power of the rates: overlapping classes look confused as well. 0.5 and 1 rank worse on most data
INITIAL_WEIGHTS = (0.5, 3.5, 0.1, 1.5, 1.5, 1.75, 0.05)  # of the predictors; the last two are of images
BLOCK = 1 << 14  # samples at a time
FIT_ROUNDS = 25  # of expectation-maximisation, each with one Newton step


@dataclass(frozen=True, eq=False)
class LabelSupport:
    """Per sample M classes, the given label first, and the support for each.

    Supports are log probabilities up to a constant per row; classes that are not listed have next to none. `support`
    is that of the label that is given, `sharp` that of the right one: where a class is often given as another, the
    former expects the other, too.
    """

    classes: IntArray  # (N, M)
    support: FloatArray  # (N, M)
    sharp: FloatArray  # (N, M)


class EvenRates(NamedTuple):
    """What is the same for all classes: read like an array (C, C), and takes no memory."""

    same: float
    other: float

    @classmethod
    def of(cls, classes: int, wrong: float) -> EvenRates:
        """A fraction of the samples given another label, each equally often."""
        return cls(1 - wrong, wrong / max(1, classes - 1))

    def at(self, right: IntArray, given: IntArray) -> FloatArray:
        """For pairs of classes."""
        return np.where(right == given, self.same, self.other)


def rates_at(rates: FloatArray | EvenRates, right: IntArray, given: IntArray) -> FloatArray:
    """The rates of pairs of classes."""
    return rates.at(right, given) if isinstance(rates, EvenRates) else np.asarray(rates[right, given])


def confusion_rates(labels: LabelSupport, classes: int) -> FloatArray | EvenRates:
    """How often a sample of class a is given label b: (C, C), positive, rows of sum 1.

    Expectation-maximisation of the likelihood sum over c of p(c) r(c, given), with the supports as probabilities p.

    Args:
        labels: support; the given label is the first listed.
        classes: C.
    """
    fit = softmax(labels.support, axis=1)
    rates: FloatArray | EvenRates = EvenRates.of(classes, INITIAL_RATE)
    for _ in range(ROUNDS if classes <= MAX_CLASSES else 0):
        rates = expect_right_classes(fit, labels.classes, classes, rates)[1]
    return rates


def expect_right_classes(
    fit: FloatArray, listed: IntArray, classes: int, rates: FloatArray | EvenRates | None = None
) -> tuple[FloatArray, FloatArray | EvenRates]:
    """One round: the probability (N, M) that each listed class is the right one, and the rates (C, C) that follow.

    With more than `MAX_CLASSES` the rates stay as they are.

    Args:
        fit: (N, M) probability of each class, whatever label is given.
        listed: (N, M) these classes, the given label first.
        classes: C.
        rates: (C, C) to start from; None: `INITIAL_RATE` of each class, evenly.
    """
    rates = EvenRates.of(classes, INITIAL_RATE) if rates is None else rates
    right: FloatArray = fit * rates_at(rates, listed, listed[:, :1])
    right /= right.sum(1, keepdims=True)
    if classes > MAX_CLASSES:
        return right, rates
    cell = listed * classes + listed[:, :1]
    counts = np.bincount(cell.ravel(), right.ravel(), classes**2).reshape(classes, classes).astype(np.float64)
    wrong = float(1 - right[:, 0].mean())
    size = counts.sum(1, keepdims=True) + PSEUDO_COUNTS
    even = EvenRates.of(classes, wrong)
    counts += PSEUDO_COUNTS * even.other
    counts[np.diag_indices(classes)] += PSEUDO_COUNTS * (even.same - even.other)
    return right, np.maximum(counts / size, 1e-9)


def label_log_odds(labels: LabelSupport, rates: FloatArray | EvenRates, block: int = 4096) -> FloatArray:
    """Log odds (N, M) of each listed label, were it the given one: higher = more likely right.

    Args:
        labels: support of N samples for M classes each.
        rates: (C, C) as `confusion_rates`.
        block: rows at a time; the result does not depend on it.
    """
    fit, logs = log_softmax(labels.support, axis=1), TRUST * np.log(rates)
    log_rates = EvenRates(*logs) if isinstance(rates, EvenRates) else logs
    out = np.empty_like(fit)
    for rows in (slice(start, start + block) for start in range(0, len(fit), block)):
        listed = labels.classes[rows]
        for place in range(fit.shape[1]):
            joint = fit[rows] + rates_at(log_rates, listed, listed[:, [place]])
            own = joint[:, place].copy()
            joint[:, place] = -np.inf
            out[rows, place] = own - logsumexp(joint, axis=1)
    return out


def fit_weights(features: FloatArray, classes: int) -> FloatArray:
    """Weights (F,) >= 0 of `features` (F, N, M), column 0 the given label.

    Expectation-maximisation of (1 - e) softmax(weights . features)[0] + e / classes: a fraction e of the labels is
    random, so that wrong labels do not bias the fit.
    """
    weights, noise = np.array(INITIAL_WEIGHTS[: len(features)]), 0.02
    for _ in range(FIT_ROUNDS):
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
    for _ in range(FIT_ROUNDS):
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
