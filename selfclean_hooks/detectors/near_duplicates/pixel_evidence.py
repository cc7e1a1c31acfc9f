"""What the pixels of images say of pairs of them, beside what a network sees."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.near_duplicates.certain_copies import TRIED, certainty, certainty_of_turned
from selfclean_hooks.detectors.near_duplicates.pair_scores import listed_pairs, pair_scale
from selfclean_hooks.detectors.near_duplicates.residuals import SIDE, aligned_residuals
from selfclean_hooks.detectors.near_duplicates.spectra import similar_spectra
from selfclean_hooks.detectors.near_duplicates.turned_copies import Attempts, turned_pairs
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

SCALE_RANK = 12  # the neighbour by its residual that is an ordinary one, in pixels
LOCAL_SHARE = 0.25  # of the local scale, the rest is the data set's: what is local shows in the pixels
ALIKE = 0.35  # likeness up to which pixels agree that two are copies,
SAME = 0.1  # and up to which they are, whatever the network says: re-encoded ones are at .02 to .06
UNRELATED = 2000  # pairs that are sampled for it. Their median may be that of copies where one image is most of the
ABOVE_MEDIAN = 1.4  # data; their 90% quantile is not, and so many medians in all sets of images


class PixelEvidence:
    """The images of N samples in miniature, what pairs of them differ in, and how much ordinary neighbours do.

    Attributes:
        scale: (N,) residual of ordinary neighbours.
        copies: (C,) keys of the pairs that are certain copies, ascending.
    """

    def __init__(self, miniatures: NDArray[np.uint8], labels: IntArray | None = None) -> None:
        """See `aligned_residuals` and `turned_pairs`."""
        self.miniatures, self.scale, self._labels = miniatures, np.ones(len(miniatures)), labels
        self._small = reduced(miniatures, SIDE)
        self.copies, self._certainty = np.empty(0, np.int64), np.empty(0)  # keys of pairs, ascending
        self._known, self._residual = np.empty(0, np.int64), np.empty(0)
        self._mirrored = np.empty(0, bool)
        self._similar = np.empty(0, np.int64)
        self._turned = Attempts(*(np.empty(shape, np.int64) for shape in ((0, 2), 0, (0, 2))))

    def residuals(self, pairs: IntArray) -> tuple[FloatArray, BoolArray]:
        """`aligned_residuals` of pairs (P, 2); each pair is compared once."""
        n, key = len(self.miniatures), self._key(pairs)
        new = np.setdiff1d(key, self._known)
        if len(new):
            residual, mirrored = aligned_residuals(self._small, np.stack([new // n, new % n], 1))
            order = np.argsort(known := np.append(self._known, new), kind="stable")
            self._known, self._residual = known[order], np.append(self._residual, residual)[order]
            self._mirrored = np.append(self._mirrored, mirrored)[order]
        at = np.searchsorted(self._known, key)
        return self._residual[at], self._mirrored[at]

    def _key(self, pairs: IntArray) -> IntArray:
        return np.asarray(pairs.min(1) * len(self.miniatures) + pairs.max(1))

    def find_similar(self, among: int | None = None) -> IntArray:
        """Pairs (P, 2) of `similar_spectra` and `turned_pairs`, each once, among which certain copies are searched for.

        Args:
            among: the images from this position on with those before it; by default all with all.
        """
        if among is None:
            found = similar_spectra(self.miniatures)
        else:
            found = np.add(similar_spectra(self.miniatures[among:], self.miniatures[:among]), (among, 0))
        self._similar, self._turned = np.unique(self._key(found)), turned_pairs(self.miniatures, among, self._labels)
        either = np.union1d(self._similar, self._key(self._turned.pairs))
        return np.stack(np.divmod(either, len(self.miniatures)), 1)

    def find_copies(self, pairs: IntArray, ordinary: Callable[[IntArray], IntArray]) -> None:
        """Find which of the pairs (P, 2), each of them once, are certain copies; see `certainty`."""
        (residual, mirrored), key = self.residuals(pairs), self._key(pairs)
        residual = np.where(np.isin(key, self._similar), 0, np.where(mirrored, np.inf, residual))
        tried = TRIED * len(self.miniatures) + len(self._similar)
        found = certainty(self.miniatures, pairs, residual, ordinary, tried)
        others = ~np.isin(self._key(self._turned.pairs), key[np.isfinite(found)])  # what is one as it is, is one
        attempts = Attempts(*(part[others] for part in self._turned))
        turned = certainty_of_turned(self.miniatures, attempts, ordinary)
        key, found = np.append(key, self._key(attempts.pairs)), np.append(found, turned)
        order = np.lexsort((found, key))
        order = order[np.isfinite(found[order])]
        self.copies, first = np.unique(key[order], return_index=True)
        self._certainty = found[order][first]

    def with_copies(self, score: NDArray[np.floating], pairs: IntArray, least: float, most: float) -> FloatArray:
        """The scores (P,) of pairs (P, 2), of certain copies at most from `least` to `most`, the least certain one."""
        found, key = np.array(score, np.float64), self._key(pairs)
        at = np.isin(key, self.copies).nonzero()[0]
        certainty = self._certainty[np.searchsorted(self.copies, key[at])]
        found[at] = np.minimum(found[at], least + (most - least) * certainty)
        return found

    def measure_scale(self, originals: IntArray, near: IntArray, group: IntArray) -> None:
        """Set the scale to what is seen among the nearest neighbours that are no copies.

        Args:
            originals: (G,) positions, ascending.
            near: (G, k) positions of the nearest neighbours of each in the network.
            group: (N,) the original that stands for each sample.
        """
        if near.shape[1]:
            residual = np.sort(self.residuals(listed_pairs(originals, near))[0].reshape(near.shape), 1)
            self.scale = residual[np.searchsorted(originals, group), min(SCALE_RANK, near.shape[1]) - 1]

    def likeness(self, pairs: IntArray) -> FloatArray:
        """(P,) how far the images of each pair (P, 2) are from the same: 0 if they are, about 1 if unrelated."""
        return np.sqrt(self.residuals(pairs)[0] / self._unrelated)

    def are_copies(self, pairs: IntArray) -> BoolArray:
        """(P,) whether pairs (P, 2) are the same, or certain copies."""
        return np.asarray((self.likeness(pairs) <= SAME) | np.isin(self._key(pairs), self.copies))

    @cached_property
    def _unrelated(self) -> float:
        draw = np.random.default_rng(0).integers(len(self.miniatures), size=(UNRELATED, 2))
        return float(np.quantile(self.residuals(draw[draw[:, 0] != draw[:, 1]])[0], 0.9)) / ABOVE_MEDIAN

    def combine(
        self, score: NDArray[np.floating], pairs: IntArray, scale: FloatArray | None = None
    ) -> tuple[FloatArray, BoolArray]:
        """The scores (P,) of pairs (P, 2) with the pixels as well, and whether one is the mirror image of the other.

        The distance over the local scale is the geometric mean of those in the network and in the pixels. Where these
        are the same it is what little they differ in, if that is less. The scale (P,) is that of both ends by default.
        """
        residual, mirrored = self.residuals(pairs)
        scale = pair_scale(self.scale, pairs) if scale is None else scale
        combined, likeness = combined_score(score, residual, scale), self.likeness(pairs)
        same = np.where(likeness <= SAME, likeness / (1 + likeness), np.inf)
        return np.minimum(combined, same), mirrored & (score > 0)


def combined_score(score: NDArray[np.floating], residual: FloatArray, scale: FloatArray) -> FloatArray:
    """(P,) scores in [0, 1] of the network's (P,) and residuals (P,) with those of ordinary neighbours (P,)."""
    s = np.asarray(score, np.float64)
    ratio = np.sqrt(s / np.maximum(1 - s, 1e-12) * np.sqrt(residual / scale))
    return np.asarray(ratio / (1 + ratio))


def blended_scale(scale: FloatArray, originals: IntArray) -> FloatArray:
    """(N,) local scales drawn towards their median, that of one sample a group."""
    return np.asarray(scale**LOCAL_SHARE * np.median(scale[originals]) ** (1 - LOCAL_SHARE))
