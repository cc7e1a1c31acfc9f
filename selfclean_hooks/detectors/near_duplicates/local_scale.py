"""The local scale: a sample's distance to its 3rd neighbour that is not a copy.

The distance of a pair says little by itself: what is close among shirts is far among digits. So it is compared with the
local scale. Which neighbours are copies follows from the groups of copies in the tree and, for single ones, from
chance: in a homogeneous Poisson process of m dimensions, a ball of radius d holds (d / r)^(m / 2) times as many points
as one of radius r (d is a squared length, hence half of m). Neighbours so near that fewer than a fiftieth of them were
to be expected are left out, so that copies do not hide each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.intrinsic_dimension import TINY, intrinsic_dimension
from selfclean_hooks.detectors.near_duplicates.copy_groups import CopyGroups
from selfclean_hooks.utils.arrays import FloatArray, IntArray

SCALE_RANK = 3  # the neighbour beyond the group of copies whose distance is the scale: near, so that it is local
MIN_LIST_LENGTH, LIST_DIVISOR = 6, 4  # a list longer than 6 and than a quarter of the samples is not local
MAX_EXPONENTIAL_TAIL = 0.7  # data sets that are not recorded in series have tails up to 1 + this
FEW_SAMPLES = 20  # with so many samples the dimension is halved: its estimate is too rough to build on


@dataclass(frozen=True, eq=False)
class LocalScale:
    """The local scale of every sample, and what it was derived from."""

    distance: FloatArray  # (N,) to the 3rd neighbour that is not a copy (a squared length, as d); 0: all are copies
    dimension: float  # intrinsic dimension m around the samples
    copies: IntArray  # (N,) number of neighbours beyond the own group that are copies all the same
    tail: float  # of the steps between neighbours: 1 if Poisson, up to 1.5 for most data, 2 and more for series


def estimate_local_scale(distances: NDArray[np.floating], groups: CopyGroups) -> LocalScale:
    """The local scale of every sample; that of a group of copies is the same for all its members.

    Args:
        distances: (G, k) of the originals to their nearest neighbours beyond the own group, see
            `neighbors_beyond_groups`; k should be at least 15.
        groups: G of them, among N samples.
    """
    n, originals = len(groups.first), groups.originals
    if not distances.shape[1]:
        return LocalScale(np.zeros(n), 1.0, np.zeros(n, np.int64), 1.0)
    g = len(originals)
    local = distances[:, : max(MIN_LIST_LENGTH, g // LIST_DIVISOR)]
    m, _ = intrinsic_dimension(local)
    _, copies = scale_beyond_copies(local, m)
    m, tail = intrinsic_dimension(local, copies)
    m = m / max(1.0, tail - MAX_EXPONENTIAL_TAIL) / (1 + FEW_SAMPLES / g)
    scale, copies = scale_beyond_copies(local, m)
    of = np.searchsorted(originals, groups.first)
    return LocalScale(np.minimum(scale[of], groups.spacing), m, copies[of], tail)


COPY_PROBABILITY = 0.02  # copies are neighbours of which fewer than this fraction was to be expected so near


def scale_beyond_copies(distances: NDArray[np.floating], m: float, rounds: int = 3) -> tuple[FloatArray, IntArray]:
    """Per sample the distance to its 3rd neighbour outside of its group of copies, and how many copies it has.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        m: intrinsic dimension.
        rounds: the scale is the list's end at first, then found again beyond the copies that it shows.

    Returns:
        (N,) distances, 0 only where the whole list is exact copies; where fewer than 3 of the list are outside, the
        3rd is extrapolated from the last; and (N,) neighbours that are copies, at most k.
    """
    d = np.asarray(distances, np.float64)
    n, k = d.shape
    row, rank = np.arange(n), np.arange(1, k + 1)
    scale, beyond, copies = d[:, -1], np.full(n, float(k)), np.zeros(n, np.int64)
    for _ in range(rounds):
        expected = beyond[:, None] * (d / np.maximum(scale, TINY)[:, None]) ** (m / 2)
        unlikely = (expected < COPY_PROBABILITY * rank) | (d == 0)
        copies = np.where(unlikely.any(1), k - unlikely[:, ::-1].argmax(1), 0)
        last = np.minimum(copies + SCALE_RANK, k)
        scale, beyond = d[row, last - 1], np.maximum(last - copies, 1).astype(np.float64)
    short = np.minimum(SCALE_RANK, max(k - 1, 1)) / beyond  # 1 where the list is long enough
    return scale * np.maximum(short, 1) ** (2 / m), copies
