"""Calibration: the probability that a sample with a given score is clean, what follows, and intervals of shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Calibration:
    """The probability that a sample is clean, by its score; linear between the knots.

    Detectors estimate it from the data that they score, as a local false-discovery rate (Efron, "Large-Scale
    Inference", 2010): the fraction of clean samples among all with such a score. `low` and `high` enclose what the data
    leave open; where they leave everything open, `unknown` says why, and no number and no precision is claimed.
    """

    score: FloatArray  # (M,) ascending knots in [0, 1]
    clean: FloatArray  # (M,) nondecreasing, in [0, 1]
    low: FloatArray | None = None  # (M,) the least such probability that cannot be excluded; None: clean
    high: FloatArray | None = None  # (M,) the greatest; None: clean
    unknown: str = ""  # why the number of issues cannot be estimated; "": it can

    def probability_clean(self, scores: NDArray[np.floating]) -> FloatArray:
        """(N,) probability that each sample is clean; NaN where the score is, 0 for a score of 0."""
        return self._interpolate(scores, self.clean)

    def _interpolate(self, scores: NDArray[np.floating], probability: FloatArray) -> FloatArray:
        values = np.interp(scores, self.score, probability)
        values[np.asarray(scores) == 0] = 0
        return np.where(np.isnan(scores), np.nan, values)

    def probability_threshold(self, level: float = 0.5) -> float:
        """The score below which the probability of being clean is below `level`; 0 if it is only for exact copies."""
        at = int(np.searchsorted(self.clean, level, side="left"))
        if at == 0 or at == len(self.clean):
            return 0.0 if at == 0 else 1.0
        return float(np.interp(level, self.clean[at - 1 : at + 1], self.score[at - 1 : at + 1]))

    def fdr_threshold(self, scores: NDArray[np.floating], q: float) -> float:
        """The highest score below which an estimated fraction of at most q of the samples is clean; 0 if unknown."""
        if self.unknown:
            return 0.0
        ordered, clean = self._sorted_probabilities(scores)
        mean = clean.cumsum() / np.arange(1, len(clean) + 1)
        last_of_its_score = np.append(ordered[1:] > ordered[:-1], True)[: len(ordered)]
        within = ((mean <= q) & last_of_its_score).nonzero()[0]
        return math.nextafter(ordered[within[-1]], 2) if len(within) else 0.0

    def best_f1_threshold(self, scores: NDArray[np.floating]) -> float:
        """The score below which flags are expected to have the best F1; 0 if no sample is likely to have the issue."""
        ordered, clean = self._sorted_probabilities(scores)
        true_flags = (1 - clean).cumsum()
        if not len(true_flags) or true_flags[-1] == 0:
            return 0.0
        f1 = 2 * true_flags / (np.arange(1, len(true_flags) + 1) + true_flags[-1])
        return math.nextafter(ordered[int(f1.argmax())], 2)

    def estimate_count(self, scores: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float, float]:
        """How many samples have the issue: expected number, and an interval that holds it with `confidence`.

        The interval is that of a sum of independent samples, from `high` to `low`. All NaN where it is unknown.
        """
        from scipy.special import ndtri  # scipy.stats takes 0.7 s to import

        if self.unknown:
            return math.nan, math.nan, math.nan
        ordered, clean = self._sorted_probabilities(scores)
        z, expected = float(ndtri((1 + confidence) / 2)), float((1 - clean).sum())

        def end(probability: FloatArray | None, sign: float) -> float:
            wrong = 1 - (clean if probability is None else self._interpolate(ordered, probability))
            return float(wrong.sum()) + sign * z * math.sqrt(float((wrong * (1 - wrong)).sum()))

        fewest, most = end(self.high, -1), end(self.low, 1)
        return expected, min(max(0.0, fewest), expected), max(min(float(len(ordered)), most), expected)

    def estimate_precision(self, flagged: NDArray[np.floating], widest: float = 1.0) -> tuple[float, float, float]:
        """The fraction of flagged samples that have the issue, and its 95% interval; NaN without any, or if unknown.

        Args:
            flagged: (F,) their scores.
            widest: interval in which a fraction is claimed; NaN instead where it is wider.
        """
        count = len(flagged) or math.nan
        expected, low, high = (number / count for number in self.estimate_count(flagged))
        return expected if high - low <= widest else math.nan, low, high

    def review_effort(self, scores: NDArray[np.floating], recall: float = 0.9) -> int:
        """How many samples to inspect, from the worst, to find that fraction of the estimated issues."""
        true_flags = (1 - self._sorted_probabilities(scores)[1]).cumsum()
        if not len(true_flags) or not true_flags[-1]:
            return 0
        return int(np.searchsorted(true_flags, recall * true_flags[-1] * (1 - 1e-12))) + 1

    def _sorted_probabilities(self, scores: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
        """Scores that are not NaN, from the worst, and the probability that each is clean."""
        ordered = np.sort(np.asarray(scores, np.float64)[~np.isnan(scores)])
        return ordered, self.probability_clean(ordered)


def clean_in_a_row(rate: float = 0.05, doubt: float = 0.05) -> int:
    """After how many consecutive non-issues, from the worst sample on, reviewing can stop.

    The rate of issues beyond that point is then above `rate` with a probability of at most `doubt`, given a uniform
    prior on the rate: (1 - rate)^(n + 1) <= doubt. 58 for 5% and 5%.
    """
    if not (0 < rate < 1 and 0 < doubt < 1):
        raise SettingError(f"the rate and the doubt must lie between 0 and 1, got {rate!r} and {doubt!r}")
    return max(0, math.ceil(math.log(doubt) / math.log1p(-rate) - 1e-9) - 1)


CONFIDENCE = 1.959964  # standard deviations on either side of a normal that hold 95%


def wilson(count: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion: where the share in all data like these may lie.

    Unlike the normal approximation it stays in [0, 1] and says something where count is 0.

    Args:
        count: hits, 0 to n.
        n: samples, at least 1.
    """
    z = CONFIDENCE
    share, room = count / n, z * z / n
    middle, half = share + room / 2, z * math.sqrt(share * (1 - share) / n + room / (4 * n))
    low, high = (middle - half) / (1 + room), (middle + half) / (1 + room)
    return low if count > 0 else 0.0, high if count < n else 1.0
