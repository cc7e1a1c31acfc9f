"""Calibration of near duplicates: more close pairs than chance gives, by the local scale.

The distance of a pair says little by itself: what is close among shirts is far among digits. So it is compared with the
local scale, a sample's distance to its 3rd neighbour that is not a copy. Which neighbours are copies follows from the
groups of copies in the tree and, for single ones, from chance: in a homogeneous Poisson process of m dimensions, a ball
of radius d holds (d / r)^(m / 2) times as many points as one of radius r (d is a squared length, hence half of m).
Neighbours so near that fewer than a fiftieth of them were to be expected are left out, so that copies do not hide each
other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.intrinsic_dimension import MAX_DIMENSION, TINY, intrinsic_dimension
from selfclean_hooks.detectors.near_duplicates.copy_groups import CopyGroups
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

SCALE_RANK = 3  # the neighbour beyond the group of copies whose distance is the scale: near, so that it is local
MIN_LIST_LENGTH, LIST_DIVISOR = 6, 4  # a list longer than 6 and than a quarter of the samples is not local
MAX_EXPONENTIAL_TAIL = 0.7  # data sets that are not recorded in series have tails up to 1 + this
FEW_SAMPLES = 20  # with so many samples the dimension is halved: its estimate is too rough to build on
COPY_PROBABILITY = 0.02  # copies are neighbours of which fewer than this fraction was to be expected so near
MARGIN_DEVIATIONS = 1.0  # standard deviations by which more small p than the average are granted to chance
MARGIN_SAMPLES = 0.5  # samples granted to chance at p = 0: a single pair is flagged only where it is far out


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


def nearer_than_chance(distances: NDArray[np.floating]) -> BoolArray:
    """(G,) whether the nearest neighbour is so near that fewer than a fiftieth of one was to be expected.

    By the farther half of the lists alone, which the others of a small group of samples alike do not reach.

    Args:
        distances: (G, k) as in `estimate_local_scale`.
    """
    k = distances.shape[1]
    if k < MIN_LIST_LENGTH:
        return np.zeros(len(distances), bool)
    d = np.maximum(np.asarray(distances, np.float64), TINY)
    steps = np.diff(np.log(d[:, k // 2 :]), axis=1) * np.arange(k // 2 + 1, k)  # exponential, of mean 2 / m
    m = min(MAX_DIMENSION, 2 / max(float(steps.mean()), TINY))
    return np.asarray(k * (d[:, 0] / d[:, -1]) ** (m / 2) < COPY_PROBABILITY)


def near_duplicate_calibration(
    score: NDArray[np.floating], sure: float, m: float, rate: float = SCALE_RANK, ordinary: float = 1.0
) -> Calibration:
    """The calibration of scores, with exact copies (0) at probability 0.

    Where nothing is copied the p-values are uniform, so their density (Grenander's estimate of a nonincreasing one)
    says by how much the small ones exceed chance.

    Args:
        score: (N,) of all samples, of one in each group of copies that of its nearest pair beyond the group.
        sure: scores up to this are those of groups of copies, which chance does not give.
        m: intrinsic dimension of the samples.
        rate: neighbours within the local scale.
        ordinary: scores from this on are those of ordinary neighbours.
    """
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    start, slope = _concave_majorant(np.where(s <= sure, 0.0, p_values(s, m, rate)))
    clean = np.minimum(1.0, 1 / slope)  # assumes that nearly all samples are clean: no null proportion is estimated
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    values[knots >= ordinary] = 1
    distinct = np.append(True, np.diff(knots) > 0)
    knots, values = np.append(0.0, knots[distinct]), np.append(0.0, values[distinct])
    return Calibration(knots, values, None, _most_clean(values))


MIN_TRUE = 0.6  # of the uncertain ones found are copies at least
CERTAIN = 0.01  # probability
HIDDEN, HIDDEN_FROM_PIXELS = 1.6, 0.6  # of the sets found, there may be so many more unseen; measured on planted ones
FEW_HIDDEN = 3.0  # and there may be one more pair, or two


def _most_clean(clean: FloatArray) -> FloatArray:
    """The greatest probability of being clean that cannot be excluded, at the knots."""
    least_wrong = np.where(clean < 0.5, MIN_TRUE * (1 - clean), 0.0)
    return np.where(clean <= CERTAIN, clean, 1 - least_wrong)


def with_certain(calibration: Calibration, score: float, clean: float) -> Calibration:
    """The calibration with a probability of at most `clean` of being clean up to a score: its copies are certain."""
    knots = np.union1d(calibration.score, np.clip([score, np.nextafter(np.float32(score), np.float32(1))], 0, 1))

    values = np.interp(knots, calibration.score, calibration.clean)
    values = np.where(knots <= score, np.minimum(values, clean), values)
    return replace(calibration, score=knots, clean=values, high=_most_clean(values))


def with_hidden(calibration: Calibration, found: float, n: int, compared: bool, in_series: int) -> Calibration:
    """The calibration with room for copies turned, cropped or redrawn so much that they look like ordinary neighbours.

    Args:
        calibration: of near duplicates.
        found: number of sets of near duplicates among the flags, exact copies aside: where there are none, there is
            no reason to expect such copies.
        n: number of samples.
        compared: whether their pixels were compared, which hides fewer.
        in_series: number of samples, besides these, that are copies of others or like them.
    """
    hidden = (HIDDEN_FROM_PIXELS if compared else HIDDEN) * found + FEW_HIDDEN + in_series
    return replace(calibration, low=np.maximum(calibration.clean - hidden / n, 0))


TAIL_QUANTILES = ((0.25, 0.6), (0.1, 0.5), (0.05, 0.5), (0.05, 0.5))  # a round each: copies may be many at first


def fitted_calibration(score: NDArray[np.floating], sure: float, originals: IntArray) -> Calibration:
    """`near_duplicate_calibration` where chance is fitted to the scores of the samples that are no copies.

    For distances that are not those of a space, such as the blend of network and pixels.

    Args:
        score: (N,) as there.
        sure: as there.
        originals: (G,) samples that stand for one group each.
    """
    others = score[originals]
    others = others[others > sure] if (others > sure).any() else others
    clean = others
    for quantiles in TAIL_QUANTILES:
        ordinary = float(np.quantile(clean, quantiles[0]))
        calibration = near_duplicate_calibration(score, sure, *fit_chance(clean, quantiles), ordinary=ordinary)
        kept = others[calibration.probability_clean(others) >= 0.5]
        clean = kept if 2 * len(kept) >= len(others) else others
    return calibration


def fit_chance(score: NDArray[np.floating], quantiles: tuple[float, float]) -> tuple[float, float]:
    """Dimension and rate with which `p_values` gives two quantiles of (G,) scores of samples that are no copies."""
    s = np.clip(np.quantile(score, quantiles), 1e-6, 0.5 - 1e-6)
    few, many = np.log(s / (1 - s))
    wanted = np.log1p(-np.array(quantiles))
    m = float(np.clip(np.log(wanted[1] / wanted[0]) / max(many - few, 1e-6), 0.5, MAX_DIMENSION))
    m /= 1 + FEW_SAMPLES / len(score)
    return m, float(wanted[0] / np.log1p(-np.exp(few * m)))


def p_values(score: NDArray[np.floating], m: float, rate: float = SCALE_RANK) -> FloatArray:
    """How often a sample's smallest pair score would be so low if nothing were copied, (N,).

    Args:
        score: (N,) in [0, 1].
        m: intrinsic dimension.
        rate: neighbours within the local scale.
    """
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(rate * np.log1p(-np.minimum(t, 1 - 1e-16))))


def _concave_majorant(p: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pieces of the least concave majorant of sorted p: first sample and slope of each."""
    n = len(p)
    y = np.append(0.0, np.arange(1, n + 1) / n)
    x = np.append(0.0, p + (MARGIN_DEVIATIONS * np.sqrt(n * p) + MARGIN_SAMPLES) / n)
    hull = [0]
    for i in range(1, n + 1):
        if i < n and x[i + 1] == x[i]:
            continue
        while len(hull) > 1 and (y[hull[-1]] - y[hull[-2]]) * (x[i] - x[hull[-1]]) <= (y[i] - y[hull[-1]]) * (
            x[hull[-1]] - x[hull[-2]]
        ):
            hull.pop()
        hull.append(i)
    corners = np.array(hull)
    return corners[:-1], np.diff(y[corners]) / np.diff(x[corners])
