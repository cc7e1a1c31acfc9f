"""The automatic threshold of the paper: where a logistic tail leaves little doubt."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CONTAMINATION_GUESS = 0.1
SIGNIFICANCE = 0.05


def automatic_threshold(
    quantile: Callable[[float], float],
    total: int,
    samples: int,
    *,
    pairs: bool = False,
    contamination: float = CONTAMINATION_GUESS,
    significance: float = SIGNIFICANCE,
) -> float:
    """The score below which a logistic tail leaves little doubt (SelfClean's automatic cleaning).

    On the logit scale, location and scale of a logistic are fitted through the quantiles of the scores at p and
    sqrt(p / 2), where p is the guessed contamination (its square for pairs); the threshold is the fitted quantile at
    `significance * p * samples / total`.

    Args:
        quantile: quantile function of the scores strictly inside of (0, 1); NaN where there are none.
        total: number of scores.
        samples: number of samples, N.
        pairs: whether the scores are of pairs.
        contamination: share of issues guessed, in (0, 1).
        significance: in (0, 1); lower flags fewer.

    Returns:
        A score in [0, 1]; 0.0 where no threshold can be fitted, so that exact zeros alone are flagged.
    """
    p = contamination**2 if pairs else contamination
    low, high = quantile(p), quantile(math.sqrt(p / 2))
    if not (0 < low < 1 and 0 < high < 1):
        return 0.0
    scale = (_logit(high) - _logit(low)) / (_logit(math.sqrt(p / 2)) - _logit(p))
    location = _logit(low) - scale * _logit(p)
    cut = location + scale * _logit(significance * p * samples / max(total, 1))
    return 1 / (1 + math.exp(-cut)) if cut > -700 else 0.0


def inner_quantile(scores: NDArray[np.floating]) -> Callable[[float], float]:
    """Quantile function (linear interpolation) of the scores strictly inside of (0, 1)."""
    inside = np.sort(scores[(scores > 0) & (scores < 1)]).astype(np.float64)
    return lambda p: float(np.quantile(inside, p)) if len(inside) else math.nan


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)
