"""Training dynamics: label scores of embeddings combined with the margins of a classifier in training.

The margin of a sample in a training step is the logit of its given label minus the highest other logit; its mean over
the steps is the area under the margin (Pleiss et al., "Identifying Mislabeled Data using the Area Under the Margin
Ranking", NeurIPS 2020). Samples with a wrong label have low ones, as the gradients of the others oppose theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtri

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.utils.arrays import FloatArray, average_ranks

MIN_PROBABILITY = 1e-3  # no embedding and no margin is more certain than this
ROUNDS = 30  # of expectation-maximisation, which has converged by then
CHANCE_GAIN = 4.0  # twice the log likelihood that a slope fitted to nothing gains now and then
MIN_SCORE = 1e-9  # a score of 0 would be flagged by every threshold
IDENTITY = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def blend_with_margins(clean: NDArray[np.floating], margin: NDArray[np.floating]) -> FloatArray:
    """Probability that each label is right, given its probability from the embedding and its margin in training.

    Ranks of the margins, as normal quantiles, are modelled as a mixture of two normal distributions of equal variance,
    one of right and one of wrong labels, with `clean` as the odds of either for each sample; the odds are multiplied
    by the ratio of the two densities, which grows with the margin. Samples that are hard to embed are hard to learn
    too, so the two are not independent and their product would overestimate the number of wrong labels: that number is
    kept as estimated from the embedding, and the margins decide which. Where the margins of right and wrong labels
    differ by no more than chance, nothing is changed.

    Args:
        clean: (N,) probability in [0, 1] that the label is right from the embedding; NaN: unknown.
        margin: (N,) mean margin of the training; NaN: never seen.

    Returns:
        (N,) in [0, 1]: NaN where `clean` is, `clean` where the margin is not finite.
    """
    out = np.array(clean, np.float64)
    known = np.isfinite(out) & np.isfinite(margin)
    if not known.any():
        return out
    prior, z = (
        logit(np.clip(out[known], MIN_PROBABILITY, 1 - MIN_PROBABILITY)),
        normal_ranks(np.asarray(margin, np.float64)[known]),
    )
    slope = fit_slope(prior, z)
    if slope > 0:
        out[known] = update_probabilities(prior, slope * z)
    return out


def normal_ranks(values: FloatArray) -> FloatArray:
    """(N,) normal quantiles of the ranks, ties at their mean rank."""
    return np.asarray(ndtri((average_ranks(values) - 0.5) / len(values)), np.float64)


def update_probabilities(prior: FloatArray, ratio: FloatArray) -> FloatArray:
    """(N,) probabilities of log odds `prior` plus `ratio` (N,), shifted by a constant that preserves their sum."""
    limit, expected = float(np.abs(ratio).max()) + 1e-6, float(expit(-prior).sum())
    level = brentq(lambda move: expit(-prior - ratio - move).sum() - expected, -limit, limit)
    return np.asarray(expit(prior + ratio + level), np.float64)


def fit_slope(prior: FloatArray, z: FloatArray) -> float:
    """The slope, at least 0, with which the log odds that a label is right grow with z.

    Fitted by expectation-maximisation, then shrunk by the gain expected by chance.

    Args:
        prior: (N,) log odds that the label is right.
        z: (N,) what is observed, of mean 0.
    """
    p, variance, slope = expit(prior), float(z.var()), 0.0
    part, right, wrong, spread = p, 0.0, 0.0, variance
    for _ in range(ROUNDS):
        right, wrong = float(part @ z / part.sum()), float((1 - part) @ z / (1 - part).sum())
        spread = float((part * (z - right) ** 2 + (1 - part) * (z - wrong) ** 2).mean())
        if right <= wrong or spread < 1e-9:
            return 0.0
        slope = (right - wrong) / spread
        part = update_probabilities(prior, slope * z)
    one, other = np.log(p) - (z - right) ** 2 / (2 * spread), np.log1p(-p) - (z - wrong) ** 2 / (2 * spread)
    gained = (2 * np.logaddexp(one, other) + z**2 / variance + np.log(variance / spread)).sum()
    return slope * max(0.0, 1 - CHANCE_GAIN / gained) if gained > 0 else 0.0
