"""What labels say about far samples: those of a class carry the label of their neighbours, off-topic ones by chance.

A distance alone cannot tell the tail of a class from what belongs to none. How often the labels of neighbours agree
falls with the distance for samples of a class too, but slowly: it is followed over the nearer samples, and beyond them
expected to go on a little and then to stay.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from selfclean_hooks.detectors.off_topic.mixtures import BIN_WIDTH
from selfclean_hooks.utils.arrays import FloatArray, IntArray

COMPARED = 10  # nearest neighbours outside of the branch at most, and at most half as many as the class has samples


def neighbor_agreement(labels: IntArray, branch: IntArray, neighbors: IntArray) -> FloatArray:
    """(N,) fraction of the nearest neighbours outside of its branch with a sample's label, NaN where it is unknown.

    Args:
        labels: (N,) class codes from 0, -1 for none.
        branch: (N,) branch of each sample, whose samples say nothing about each other.
        neighbors: (N, k) nearest first, -1 for none.
    """
    outside = (neighbors >= 0) & (labels[neighbors] >= 0) & (branch[neighbors] != branch[:, None])
    compared = np.clip(np.bincount(labels[labels >= 0], minlength=1)[np.maximum(labels, 0)] // 2, 1, COMPARED)
    outside &= outside.cumsum(1) <= compared[:, None]
    alike = (outside & (labels[neighbors] == labels[:, None])).sum(1)
    known = outside.any(1) & (labels >= 0)
    return np.where(known, alike / np.maximum(outside.sum(1), 1), np.nan)


FOLLOWED = slice(1, 9)  # bins beyond the median, up to 1.1 standard deviations
STAYS = 1.75  # standard deviations, from where on the expected agreement falls no more
BINS_TOGETHER = 3
MIN_FOLLOWED, MIN_TOGETHER = 20, 3  # samples
ERROR = 0.05  # standard deviation of what is expected of clean samples
MIN_VARIANCE = 0.01  # of one sample's agreement


class ClassAgreement(NamedTuple):
    """How often labels agree in G groups of bins beyond the median, and what is expected there of clean samples."""

    group: IntArray  # (B,) group of every bin, -1: up to the median
    counts: FloatArray  # (B,) samples
    number: FloatArray  # (G,) samples with a known agreement
    mean: FloatArray  # (G,) their agreement
    expected: FloatArray  # (G,) of clean samples
    by_chance: float  # of off-topic ones
    variance: float  # of one sample's

    @classmethod
    def of(cls, agreement: FloatArray, labels: IntArray, bins: IntArray, counts: FloatArray) -> ClassAgreement | None:
        """Of N samples in B bins; None where too few near the median have a known agreement.

        Args:
            agreement: (N,) of `neighbor_agreement`.
            labels: (N,) class codes from 0, -1 for none.
            bins: (N,) bin of each sample.
            counts: (B,) samples of each bin.
        """
        known = ~np.isnan(agreement)
        bins, agreement = bins[known], agreement[known]
        followed = (bins >= FOLLOWED.start) & (bins < FOLLOWED.stop)
        if followed.sum() < MIN_FOLLOWED:
            return None
        middle = (np.arange(len(counts)) - 0.5) * BIN_WIDTH
        place, seen = middle[bins[followed]], agreement[followed]
        beside = place - place.mean()
        slope = min(0.0, float(beside @ seen) / max(float(beside @ beside), BIN_WIDTH**2))  # 0 where all are in one bin
        start = float(seen.mean() - slope * place.mean())
        group = (np.arange(len(counts)) - 1) // BINS_TOGETHER
        count = np.bincount(labels[labels >= 0])
        by_chance = float(((count / count.sum()) ** 2).sum())
        inside, groups = group[bins] >= 0, int(group.max()) + 1
        number = np.bincount(group[bins[inside]], minlength=groups).astype(np.float64)
        total = np.bincount(group[bins[inside]], agreement[inside], minlength=groups)
        place = np.bincount(group[group >= 0], middle[group >= 0]) / np.bincount(group[group >= 0])
        expected = np.maximum(start + slope * np.minimum(place, STAYS), by_chance)
        variance = max(float(seen.var()), MIN_VARIANCE)
        return cls(group, counts, number, total / np.maximum(number, 1), expected, by_chance, variance)

    def log_likelihood(self, clean: FloatArray) -> FloatArray:
        """(...) of the agreement in all groups, for probabilities (..., B) that the samples of a bin are clean."""
        out = np.zeros(clean.shape[:-1])
        for group in np.flatnonzero(self.number >= MIN_TOGETHER):
            inside = self.group == group
            share = clean[..., inside] @ self.counts[inside] / self.counts[inside].sum()
            mean = share * self.expected[group] + (1 - share) * self.by_chance
            variance = self.variance / self.number[group] + (share * ERROR) ** 2
            out -= (self.mean[group] - mean) ** 2 / (2 * variance) + np.log(variance) / 2
        return out
