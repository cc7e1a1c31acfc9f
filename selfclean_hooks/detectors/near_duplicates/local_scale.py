"""How far apart neighbours usually are, sample by sample: the yardstick of near duplicates.

The distance of a pair says little by itself: what is close among shirts is far among digits. It is measured against
the distance to the neighbours that are no copies. Which are copies is told by chance: among points spread like
m-dimensional dust, a ball reaching d holds (d / r)^(m / 2) times as many as one reaching r (d is a squared length, so
half of m). Neighbours so near that fewer than a fiftieth of them were to be expected are left out, and the yardstick
is the distance to the 3rd of the rest. So groups of copies do not hide behind each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MARGIN_DEVIATIONS = 1.0  # standard deviations by which more small p than the average are granted to chance
MARGIN_SAMPLES = 0.5  # samples granted to chance at p = 0: a pair alone is flagged only where it is far out


def p_values(score: NDArray[np.floating], m: float) -> FloatArray:
    """p of a sample's smallest pair score: how often it would be so low if nothing were copied."""
    s = np.minimum(np.asarray(score, np.float64), 0.5)
    t = (s / (1 - s)) ** m
    return np.asarray(-np.expm1(SCALE_RANK * np.log1p(-np.minimum(t, 1 - 1e-16))))


def near_duplicate_calibration(score: NDArray[np.floating], m: float) -> Calibration:
    """The calibration of (N,) sample scores in a space of m dimensions. Exact copies (0) are never fine."""
    s = np.sort(np.asarray(score, np.float64))
    s = s[s > 0]
    if len(s) == 0:
        return Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    p = p_values(s, m)
    start, slope = _concave_majorant(p)
    clean = np.minimum(1.0, 1 / slope)  # all but the copies are taken to be dust: a share near 1 is not told from 1
    end = np.append(start[1:], len(s)) - 1
    knots = np.stack([s[start], s[end]], 1).ravel()
    values = np.maximum.accumulate(np.repeat(clean, 2))
    once = np.append(True, np.diff(knots) > 0)
    knots, values = knots[once], values[once]
    return Calibration(np.append(0.0, knots), np.append(0.0, values))


def _concave_majorant(p: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Pieces of the least concave majorant: first sample and slope of each, for sorted p."""
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
    at = np.array(hull)
    return at[:-1], np.diff(y[at]) / np.diff(x[at])


SCALE_RANK = 3  # the neighbour outside of the group of copies whose distance is the yardstick: few, so that it is local
COPY_PROBABILITY = 0.02  # copies are neighbours of which fewer than this share was expected so near
MAX_EXPONENTIAL_TAIL = 0.7  # data sets without series have tails up to 1 + this
MIN_LIST_LENGTH, LIST_DIVISOR = 6, 4  # a list longer than 6 and than a quarter of the samples is not local
FEW_SAMPLES = 20  # of so many samples the dimension is halved: it is known too roughly to build on
MAX_DIMENSION = 40.0  # a steeper law would make small differences count as proof
REFERENCE_NEIGHBORS = 100  # neighbours that an average sample has within the distance that the floor is taken from
MIN_SCALE_RATIO = 0.05  # of the distance usual over the whole data set: nearer than that, a whole list may be copies
_TINY = 1e-30


def intrinsic_dimension(distances: NDArray[np.floating], copies: IntArray | None = None) -> tuple[float, float]:
    """Intrinsic dimension of the samples, in [0.5, 40], and how heavy the tail of their steps is, 1 or more.

    Of dust, the logarithms of successive distances times their rank are independent and exponential with mean 1 / m
    (E. Levina, P. Bickel, "Maximum likelihood estimation of intrinsic dimension", NeurIPS 2004). m is the median of
    the lists' estimates, each without its largest step, which may lead out of a group of copies. In data that comes
    in series (traffic signs, playing cards) large steps are found at every rank: the mean excess over the 90%
    quantile is larger than m lets expect.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        copies: (N,) leading neighbours to leave out; the first two where not given, as they may be copies.
    """
    n, k = distances.shape
    rank = np.arange(1, k)
    steps = np.diff(np.log(np.maximum(distances.astype(np.float64), _TINY)), axis=1) / 2 * rank
    first = np.full(n, 2) if copies is None else copies + 1
    used = (rank > np.minimum(first, max(k - 4, 0))[:, None]) & (distances[:, :-1] > 0)
    count = used.sum(1)
    lists = count >= min(3, k - 1)
    if k < 3 or not lists.any():
        return 1.0, 1.0
    steps, used, count = np.where(used, steps, 0)[lists], used[lists], count[lists]
    harmonic = np.append(0.0, (1 / np.arange(1, k)).cumsum())
    # the largest of c exponential steps has a mean of 1 + 1/2 + ... + 1/c
    mean = (steps.sum(1) - steps.max(1)) / (count - harmonic[count])
    m = float(np.clip(1 / max(float(np.median(mean)), 1e-6), 0.5, MAX_DIMENSION))
    far = steps[used] * m
    excess = far - np.quantile(far, 0.9)
    return m, max(1.0, float(excess[excess > 0].mean()) if (excess > 0).any() else 1.0)


def scale_beyond_copies(distances: NDArray[np.floating], m: float, rounds: int = 3) -> tuple[FloatArray, IntArray]:
    """Per sample the distance to its 3rd neighbour outside of its group of copies, and how many copies it has.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        m: intrinsic dimension.
        rounds: the yardstick is the list's end at first, then found again beyond the copies that it shows.

    Returns:
        (N,) distances, 0 only where the whole list is exact copies; where fewer than 3 of the list are outside, the
        3rd is extrapolated from the last; and (N,) neighbours that are copies, at most k.
    """
    d = np.asarray(distances, np.float64)
    n, k = d.shape
    row, rank = np.arange(n), np.arange(1, k + 1)
    usual, beyond, copies = d[:, -1], np.full(n, float(k)), np.zeros(n, np.int64)
    for _ in range(rounds):
        expected = beyond[:, None] * (d / np.maximum(usual, _TINY)[:, None]) ** (m / 2)
        unlikely = (expected < COPY_PROBABILITY * rank) | (d == 0)
        copies = np.where(unlikely.any(1), k - unlikely[:, ::-1].argmax(1), 0)
        last = np.minimum(copies + SCALE_RANK, k)
        usual, beyond = d[row, last - 1], np.maximum(last - copies, 1).astype(np.float64)
    short = np.minimum(SCALE_RANK, max(k - 1, 1)) / beyond  # 1 where the list is long enough
    return usual * np.maximum(short, 1) ** (2 / m), copies


def minimum_scale(quantile: tuple[float, float, float, float], n: int) -> float:
    """The least yardstick: a twentieth of the distance at which an average sample of the data set has 3 neighbours.

    Where a list holds nothing but near copies, it cannot tell that they are. So the scale is taken from afar: from the
    distance within which an average sample has 100 others, carried inwards by the dimension seen around it.

    Args:
        quantile: shares p < q of all pairs, and the distances below which they lie.
        n: number of samples.
    """
    p, q, near, far = quantile
    if not (0 < near < far):
        return max(MIN_SCALE_RATIO * near, 0.0) if near > 0 else 0.0
    m = min(2 * np.log(q / p) / np.log(far / near), MAX_DIMENSION)
    return float(MIN_SCALE_RATIO * near * min(1.0, SCALE_RANK / (p * n)) ** (2 / m))


def reference_fractions(n: int) -> tuple[float, float]:
    """The shares of all pairs that `minimum_scale` wants the distances of."""
    p = min(REFERENCE_NEIGHBORS / n, 0.25)
    return p, min(4 * p, 0.5)


def scaled_score(distance: NDArray[np.floating], usual: NDArray[np.floating]) -> FloatArray:
    """`e / (e + r)`, e and r the square roots of distances and of what is usual: in [0, 1], 0 of exact copies."""
    e, r = np.sqrt(distance.astype(np.float64)), np.sqrt(usual.astype(np.float64))
    return np.asarray(np.divide(e, e + r, out=np.zeros_like(e), where=e > 0))


def pair_scale(usual: NDArray[np.floating], pairs: IntArray) -> FloatArray:
    """What is usual for `pairs` (P, 2) of samples: the geometric mean of both ends, (P,)."""
    ends = usual.astype(np.float64)[pairs]
    return np.asarray(np.sqrt(ends[:, 0] * ends[:, 1]))
