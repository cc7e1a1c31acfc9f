"""The likelihood of the given labels, by the support for each class and by confusions.

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
from scipy.special import log_softmax, softmax

from selfclean_hooks.detectors.label_errors.directions import parts_of
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray

MANY = 500  # samples; predictors fitted to fewer claim more than they know
MAX_CLASSES = 2000  # with more, all confusions are taken as equally likely
PSEUDO_COUNTS = 100.0  # samples of each class that are confused with any other equally often
ROUNDS = 20  # of expectation-maximisation, which has converged by then
INITIAL_RATE = 0.1  # fraction of wrong labels
TRUST = 0.75  # power of the rates: overlapping classes look confused as well. 0.5 and 1 rank worse on most data


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

    @classmethod
    def usual(cls, classes: int) -> EvenRates:
        """Of `INITIAL_RATE`."""
        return cls.of(classes, INITIAL_RATE)

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
    rates: FloatArray | EvenRates = EvenRates.usual(classes)
    n, listed_classes = labels.classes.shape
    if classes > MAX_CLASSES:
        return rates
    parts = counted_parts(n, listed_classes, classes)
    fits = [softmax(labels.support[rows], axis=1).astype(np.float32) for rows in parts]
    for _ in range(ROUNDS):
        counts, same = np.zeros((classes, classes)), 0.0
        for rows, fit in zip(parts, fits, strict=True):
            listed = labels.classes[rows]
            right = right_classes(fit, listed, rates)
            counts, same = counts + confusion_counts(right, listed, classes), same + float(right[:, 0].sum())
        rates = rates_of_counts(counts, 1 - same / n)
    return rates


def counted_parts(n: int, listed: int, classes: int) -> list[slice]:
    """Parts of n samples, of which no fewer classes are listed than there are confusions to count."""
    return parts_of(n, max(1, classes**2 // listed if classes <= MAX_CLASSES else 1))


def right_classes(fit: FloatArray | Float32Array, listed: IntArray, rates: FloatArray | EvenRates) -> FloatArray:
    """The probability (n, M) that each listed class is the right one, where the first was given.

    Args:
        fit: (n, M) probability of each class, whatever label is given.
        listed: (n, M) these classes.
        rates: (C, C).
    """
    right: FloatArray = fit * rates_at(rates, listed, listed[:, :1])
    right /= right.sum(1, keepdims=True)
    return right


def confusion_counts(right: FloatArray, listed: IntArray, classes: int) -> FloatArray:
    """How many samples of each class are given each label, (C, C), of `right_classes` (n, M)."""
    cell = listed.astype(np.int64) * classes + listed[:, :1]
    return np.bincount(cell.ravel(), right.ravel(), classes**2).reshape(classes, classes).astype(np.float64)


def rates_of_counts(counts: FloatArray, wrong: float) -> FloatArray:
    """Rates (C, C) by the `confusion_counts` of all samples, of which a fraction is given a wrong label."""
    classes = len(counts)
    even = EvenRates.of(classes, wrong)
    rates = counts + PSEUDO_COUNTS * even.other
    rates[np.diag_indices(classes)] += PSEUDO_COUNTS * (even.same - even.other)
    return np.asarray(np.maximum(rates / (counts.sum(1, keepdims=True) + PSEUDO_COUNTS), 1e-9))


def label_log_odds(labels: LabelSupport, rates: FloatArray | EvenRates, block: int = 4096) -> FloatArray:
    """Log odds (N, M) of each listed label, were it the given one: higher = more likely right.

    Args:
        labels: support of N samples for M classes each.
        rates: (C, C) as `confusion_rates`.
        block: rows at a time; the result does not depend on it.
    """
    powers, out = np.power(rates, TRUST), np.empty_like(labels.support)
    powers = EvenRates(*powers) if isinstance(rates, EvenRates) else powers
    for rows in (slice(start, start + block) for start in range(0, len(out), block)):
        listed, fit = labels.classes[rows], log_softmax(labels.support[rows], axis=1)
        right, own = np.exp(fit), fit + np.log(rates_at(powers, listed, listed))
        for place in range(fit.shape[1]):
            joint = right * rates_at(powers, listed, listed[:, [place]])
            joint[:, place] = 0
            own[:, place] -= np.log(np.maximum(joint.sum(1), np.finfo(np.float64).tiny))
        out[rows] = own
    return out
