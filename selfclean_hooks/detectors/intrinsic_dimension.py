"""The intrinsic dimension of the samples, from the distances to their nearest neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.utils.arrays import IntArray

MAX_DIMENSION = 40.0  # with a steeper law small differences would count as proof
TINY = 1e-30


def intrinsic_dimension(distances: NDArray[np.floating], copies: IntArray | None = None) -> tuple[float, float]:
    """Intrinsic dimension of the samples, in [0.5, 40], and how heavy the tail of their steps is, 1 or more.

    In a homogeneous Poisson process the logarithms of successive distances times their rank are independent and
    exponential with mean 1 / m (E. Levina, P. Bickel, "Maximum likelihood estimation of intrinsic dimension",
    NeurIPS 2004). m is the median of the lists' estimates, each without its largest step, which may lead out of a group
    of copies. Data recorded in series (traffic signs, playing cards) has a heavy-tailed step distribution: large steps
    occur at every rank, and the mean excess over the 90% quantile is larger than m predicts.

    Args:
        distances: (N, k) to the nearest samples, ascending, squared lengths.
        copies: (N,) number of leading neighbours to leave out; by default the first two, which may be copies.
    """
    n, k = distances.shape
    rank = np.arange(1, k)
    steps = np.diff(np.log(np.maximum(distances.astype(np.float64), TINY)), axis=1) / 2 * rank
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
    scaled = steps[used] * m
    excess = scaled - np.quantile(scaled, 0.9)
    return m, max(1.0, float(excess[excess > 0].mean()) if (excess > 0).any() else 1.0)
