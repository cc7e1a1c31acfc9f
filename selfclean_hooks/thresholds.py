"""Where a score becomes a flag."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SettingError

ISSUES = ("near_duplicates", "off_topic", "label_errors")
CONTAMINATION_GUESS = 0.1
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Thresholds:
    """Per issue: "auto", a score in [0, 1] below which a sample is flagged, or None for no flags.

    For near duplicates the score is that of a pair. Exact copies (score 0) are flagged by every threshold but None.
    """

    near_duplicates: float | Literal["auto"] | None = "auto"
    off_topic: float | Literal["auto"] | None = "auto"
    label_errors: float | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or (isinstance(value, str) and value == "auto"):
                continue
            if not is_fraction(value):
                raise SettingError(
                    f'the threshold of {field.name} must be "auto", a score in [0, 1] or None, got {value!r}'
                )

    def resolve(self, issue: str, automatic: float) -> float:
        """The score below which `issue` is flagged; -inf where nothing is to be flagged."""
        value = getattr(self, issue)
        if value is None:
            return -math.inf
        return automatic if isinstance(value, str) else float(value)


def is_fraction(value: object) -> bool:
    """Whether `value` is a number in [0, 1]."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


def flagged(score: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """True where a score is below the threshold, or exactly 0 unless the threshold is -inf. NaN is never flagged."""
    exact = np.asarray(score, np.float64)  # numpy would round the threshold to the precision of the scores
    return np.asarray((exact < threshold) | ((exact == 0) & (threshold > -math.inf)))


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


def quantile_of(scores: NDArray[np.floating]) -> Callable[[float], float]:
    """Quantile function (linear interpolation) of the scores strictly inside of (0, 1)."""
    inside = np.sort(scores[(scores > 0) & (scores < 1)]).astype(np.float64)
    return lambda p: float(np.quantile(inside, p)) if len(inside) else math.nan


def _logit(p: float) -> float:
    return math.log(p) - math.log1p(-p)
