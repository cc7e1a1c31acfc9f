"""What a score means: the probability that a sample that has it is fine, and what follows from that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Calibration:
    """The probability that a sample is fine, by its score; between the knots it is interpolated.

    Detectors estimate it from the data that they score, as a local false-discovery rate (Efron, "Large-Scale
    Inference", 2010): the share of fine samples among all that have such a score.
    """

    score: FloatArray  # (M,) ascending knots in [0, 1]
    clean: FloatArray  # (M,) nondecreasing, in [0, 1]

    def probability_clean(self, scores: NDArray[np.floating]) -> FloatArray:
        """(N,) probability that each sample is fine; NaN where the score is. A score of 0 leaves no doubt."""
        found = np.interp(scores, self.score, self.clean)
        found[np.asarray(scores) == 0] = 0
        return np.where(np.isnan(scores), np.nan, found)

    def probability_threshold(self, level: float = 0.5) -> float:
        """The score below which a sample is fine with a probability below `level`; 0 where only exact copies are."""
        at = int(np.searchsorted(self.clean, level, side="left"))
        if at == 0 or at == len(self.clean):
            return 0.0 if at == 0 else 1.0
        return float(np.interp(level, self.clean[at - 1 : at + 1], self.score[at - 1 : at + 1]))

    def fdr_threshold(self, scores: NDArray[np.floating], q: float) -> float:
        """The highest score below which at most a share q of the samples is fine, as far as can be told."""
        ordered, clean = self._ordered(scores)
        mean = clean.cumsum() / np.arange(1, len(clean) + 1)
        last_of_its_score = np.append(ordered[1:] > ordered[:-1], True)[: len(ordered)]
        within = ((mean <= q) & last_of_its_score).nonzero()[0]
        return float(np.nextafter(ordered[within[-1]], 2)) if len(within) else 0.0

    def best_f1_threshold(self, scores: NDArray[np.floating]) -> float:
        """The score below which flags are expected to have the best F1; 0 where no sample is in doubt."""
        ordered, clean = self._ordered(scores)
        found = (1 - clean).cumsum()
        if not len(found) or found[-1] == 0:
            return 0.0
        gain = 2 * found / (np.arange(1, len(found) + 1) + found[-1])
        return float(np.nextafter(ordered[int(gain.argmax())], 2))

    def estimate_count(self, scores: NDArray[np.floating], confidence: float = 0.95) -> tuple[float, float, float]:
        """How many samples have the issue: expected number, and an interval that holds it with `confidence`.

        The interval is that of a sum of independent samples whose probabilities are those estimated. It does not know
        how far these are off.
        """
        from scipy.stats import norm

        wrong = 1 - self._ordered(scores)[1]
        expected, spread = float(wrong.sum()), math.sqrt(float((wrong * (1 - wrong)).sum()))
        reach = float(norm.ppf((1 + confidence) / 2)) * spread
        return expected, max(0.0, expected - reach), min(float(len(wrong)), expected + reach)

    def review_effort(self, scores: NDArray[np.floating], recall: float = 0.9) -> int:
        """How many samples to look at, from the worst, to see that share of the estimated issues."""
        found = (1 - self._ordered(scores)[1]).cumsum()
        return int(np.searchsorted(found, recall * found[-1] * (1 - 1e-12))) + 1 if len(found) and found[-1] else 0

    def _ordered(self, scores: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
        """Scores that there are, from the worst, and the probability that each of them is fine."""
        ordered = np.sort(np.asarray(scores, np.float64)[~np.isnan(scores)])
        return ordered, self.probability_clean(ordered)


def clean_in_a_row(rate: float = 0.05, doubt: float = 0.05) -> int:
    """After how many fine samples in a row, from the worst, the rest may be left.

    The rate of issues beyond that point is then above `rate` with a probability of at most `doubt`, all rates being
    held equally likely before: (1 - rate)^(n + 1) <= doubt. 58 for 5% and 5%.
    """
    if not (0 < rate < 1 and 0 < doubt < 1):
        raise SettingError(f"the rate and the doubt must lie between 0 and 1, got {rate!r} and {doubt!r}")
    return max(0, math.ceil(math.log(doubt) / math.log1p(-rate) - 1e-9) - 1)
