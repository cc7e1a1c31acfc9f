"""Whether far samples are the tail of their classes: they then carry the label of their nearest neighbours.

A distance alone cannot tell the tail of a class from what belongs to none. A label can: the nearest neighbour of an
off-topic sample has the same label by chance, that of a sample of the class as often as elsewhere in the data.
"""

from __future__ import annotations

import math

import numpy as np

from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

FAR = 0.25  # of all samples: the farthest that are not flagged, which the flagged ones are compared with
MIN_COMPARED = 10


def neighbor_agreement(labels: IntArray, branch: IntArray, neighbors: IntArray) -> FloatArray:
    """(N,) whether the nearest neighbour outside of its branch has the same label as a sample: 0 or 1, NaN: unknown.

    Args:
        labels: (N,) class codes from 0, -1 for none.
        branch: (N,) branch of each sample, whose samples say nothing about each other.
        neighbors: (N, k) nearest first, -1 for none.
    """
    outside = (neighbors >= 0) & (labels[neighbors] >= 0) & (branch[neighbors] != branch[:, None])
    first = neighbors[np.arange(len(labels)), outside.argmax(1)]
    known = outside.any(1) & (labels >= 0)
    return np.where(known, (labels[first] == labels).astype(np.float64), np.nan)


def are_of_their_classes(agreement: FloatArray, score: FloatArray, flagged: BoolArray, labels: IntArray) -> bool:
    """Whether fewer than half of the flagged samples can be off-topic, by how often labels of neighbours agree.

    It is halfway from what the next farthest samples have to chance that the 95% interval of the agreement must exceed.

    Args:
        agreement: (N,) of `neighbor_agreement`.
        score: (N,) low = off-topic.
        flagged: (N,).
        labels: (N,) class codes from 0, -1 for none.
    """
    count = np.bincount(labels[labels >= 0])
    by_chance = float(((count / count.sum()) ** 2).sum())
    known = ~np.isnan(agreement)
    order = np.argsort(score, kind="stable")[: math.ceil(FAR * len(score)) + int(flagged.sum())]
    others = agreement[order][(known & ~flagged)[order]]
    compared = agreement[flagged & known]
    if min(len(others), len(compared)) < MIN_COMPARED:
        return False
    least, _ = wilson(int(compared.sum()), len(compared))
    return least > (by_chance + float(others.mean())) / 2
