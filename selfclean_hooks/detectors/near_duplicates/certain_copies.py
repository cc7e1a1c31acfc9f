"""Which images are copies by their pixels alone, whatever a network makes of them.

Two images agree to a fraction of a pixel once they are aligned (`alignment`) if one is a copy of the other, zoomed,
cropped, turned or of another brightness. But trousers in a catalogue nearly do so too, and ones that are written. So
what is left has to be little beside what is left between a sample and its ordinary neighbours, and such pairs have to
be more than chance explains: of images alike by nature, far more agree to two pixels than to one. Pairs that had to be
moved are counted alone, those that lay over each other at once among all: drawings of a series seldom have to be moved.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.alignment import displacements
from selfclean_hooks.detectors.near_duplicates.pair_scores import listed_pairs
from selfclean_hooks.detectors.near_duplicates.turned_copies import Attempts, shown
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_RESIDUAL = 0.4  # of pairs before they are aligned finely: a copy cropped by a fifth is at 0.4
TRIED = 2  # pairs a sample that are aligned, at most
MAX_DISPLACEMENT = 0.7  # pixels of a miniature of 32
PER_SQUARE = 0.11  # of the displacement of ordinary neighbours: the more alike these are, the less it may be
MOVED = 0.04  # of half the side, from which on a pair is one that had to be moved: drawings of one series seldom have
MAX_GROWTH = 6.0  # pairs from a displacement to twice of it, for each one from half of it; by chance 8, in three
# dimensions, or more. Those nearer do not count: exact copies say nothing of pairs that are a little alike
MAX_SHARE = 0.1  # of the pairs tried, up to which their number still grows as by chance
FEW = 10  # pairs, whose share is no matter; of few samples, among which what is alike by nature cannot be seen, these
CLOSE, FEW_CLOSE, FEW_FAR = 0.35, 0.25, 0.05  # fractions of them: up to so many pixels, and beyond
LEAST = 1e-6  # pixels
ORDINARY, FAR = 8, 3.0  # neighbours that it is compared with; pixels of those that cannot be aligned


def certainty(
    miniatures: NDArray[np.uint8],
    pairs: IntArray,
    residual: FloatArray,
    ordinary: Callable[[IntArray], IntArray],
    tried: int,
) -> FloatArray:
    """How far each pair is from being no certain copy.

    Args:
        miniatures: (N, S, S, 3).
        pairs: (P, 2) positions.
        residual: (P,) of them, see `aligned_residuals`; inf where they are not to be tried.
        ordinary: gives, of positions (E,), those of their nearest neighbours that are no copies in the network, (E, k).
        tried: number of pairs to be tried at most, those with the least residuals.

    Returns:
        (P,) displacement over the largest of a certain copy, in [0, 1]; inf: no certain copy.
    """
    likely = np.argsort(residual, kind="stable")[:tried]
    likely = likely[residual[likely] <= MAX_RESIDUAL]
    apart, motion = displacements(miniatures, pairs[likely])
    close, moved = np.zeros(len(likely), np.bool_), motion > MOVED
    for kind, others in ((moved, apart[moved]), (~moved, apart)):  # what can be aligned by nature lies so at times, too
        close[kind] = apart[kind] <= beyond_chance(others, len(apart), len(miniatures))
    found = np.full(len(pairs), np.inf)
    found[likely[close]] = _beside_ordinary(miniatures, pairs[likely[close]], apart[close], ordinary)
    return found


def certainty_of_turned(
    miniatures: NDArray[np.uint8], attempts: Attempts, ordinary: Callable[[IntArray], IntArray]
) -> FloatArray:
    """The same (P,) of pairs without their borders, turned or mirrored; they are counted apart from all others."""
    number = len(attempts.pairs)
    as_shown = np.stack([np.arange(number), number + np.arange(number)], 1)
    apart, _ = displacements(shown(miniatures, attempts), as_shown)
    each, at = np.unique(np.sort(attempts.pairs, axis=1), axis=0, return_inverse=True)
    least = np.full(len(each), np.inf)
    np.minimum.at(least, at, apart)
    close = (apart <= beyond_chance(least, len(miniatures), len(miniatures))).nonzero()[0]
    found = np.full(number, np.inf)
    found[close] = _beside_ordinary(miniatures, attempts.pairs[close], apart[close], ordinary)
    return found


def _beside_ordinary(
    miniatures: NDArray[np.uint8], pairs: IntArray, apart: FloatArray, ordinary: Callable[[IntArray], IntArray]
) -> FloatArray:
    """(P,) displacements of pairs over the largest of a certain copy, which is that of ordinary neighbours; or inf."""
    ends, at = np.unique(pairs, return_inverse=True)
    usual = _ordinary(miniatures, ends, ordinary(ends)[:, -ORDINARY:])
    largest = np.minimum(PER_SQUARE * usual**2, MAX_DISPLACEMENT)[at.reshape(-1, 2)].min(1)
    return np.where(apart <= largest, apart / np.maximum(largest, LEAST), np.inf)


def beyond_chance(displacement: FloatArray, tried: int, n: int) -> float:
    """The largest displacement up to which pairs are more than chance gives; 0 if none is.

    Args:
        displacement: (P,) of pairs.
        tried: number of pairs, these and others.
        n: number of samples.
    """
    d = np.sort(displacement)
    up_to_half, up_to, up_to_twice = (np.searchsorted(d, times * d, "right") for times in (0.5, 1, 2))
    is_more = up_to_twice - up_to <= MAX_GROWTH * (up_to - up_to_half)
    free = np.minimum(np.where(d <= CLOSE, FEW_CLOSE, FEW_FAR) * n, FEW)
    frequent = is_more & (up_to_twice <= np.maximum(MAX_SHARE * tried, free))
    return float(d[frequent & (d <= MAX_DISPLACEMENT)].max(initial=0.0))


def _ordinary(miniatures: NDArray[np.uint8], ends: IntArray, others: IntArray) -> FloatArray:
    """(E,) displacement between each of the positions and its ordinary neighbours (E, k); 0 where it has none."""
    if not others.size:
        return np.zeros(len(ends))
    apart = np.minimum(displacements(miniatures, listed_pairs(ends, others))[0], FAR)
    return np.asarray(np.median(apart.reshape(others.shape), 1))
