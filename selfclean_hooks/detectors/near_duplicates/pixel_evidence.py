"""Pixels beside the network: what near duplicates are in the pixels of the images as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.alignment import aligned_residuals
from selfclean_hooks.detectors.near_duplicates.pair_scores import listed_pairs, pair_scale
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

SCALE_RANK = 12  # the neighbour by its residual that is an ordinary one, in pixels
LOCAL_SHARE = 0.25  # of the local scale, the rest is the data set's: what is local shows in the pixels
ALIKE = 0.35  # of the square root of an unrelated pair's residual, up to which pixels agree that two are copies
UNRELATED = 2000  # pairs that are sampled for it


class PixelEvidence:
    """The images of N samples in miniature, what pairs of them differ in, and how much ordinary neighbours do.

    Attributes:
        scale: (N,) residual of ordinary neighbours.
    """

    def __init__(self, miniatures: NDArray[np.uint8]) -> None:
        """See `aligned_residuals`."""
        self.miniatures, self.scale = miniatures, np.ones(len(miniatures))
        self._known, self._residual = np.empty(0, np.int64), np.empty(0)
        self._mirrored = np.empty(0, bool)

    def residuals(self, pairs: IntArray) -> tuple[FloatArray, BoolArray]:
        """`aligned_residuals` of pairs (P, 2); each pair is compared once."""
        n = len(self.miniatures)
        key = pairs.min(1) * n + pairs.max(1)
        new = np.setdiff1d(key, self._known)
        if len(new):
            residual, mirrored = aligned_residuals(self.miniatures, np.stack([new // n, new % n], 1))
            order = np.argsort(known := np.append(self._known, new), kind="stable")
            self._known, self._residual = known[order], np.append(self._residual, residual)[order]
            self._mirrored = np.append(self._mirrored, mirrored)[order]
        at = np.searchsorted(self._known, key)
        return self._residual[at], self._mirrored[at]

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

    def are_alike(self, pairs: IntArray) -> BoolArray:
        """(P,) whether the images of each pair (P, 2) are far more alike than those of unrelated samples."""
        draw = np.random.default_rng(0).integers(len(self.miniatures), size=(UNRELATED, 2))
        unrelated = np.median(self.residuals(draw[draw[:, 0] != draw[:, 1]])[0])
        return np.asarray(self.residuals(pairs)[0] <= ALIKE**2 * unrelated)

    def combine(self, score: NDArray[np.floating], pairs: IntArray) -> tuple[FloatArray, BoolArray]:
        """The scores (P,) of pairs (P, 2) with the pixels as well, and whether one is the mirror image of the other.

        The distance over the local scale is the geometric mean of those in the network and in the pixels.
        """
        residual, mirrored = self.residuals(pairs)
        return combined_score(score, residual, pair_scale(self.scale, pairs)), mirrored & (score > 0)


def combined_score(score: NDArray[np.floating], residual: FloatArray, scale: FloatArray) -> FloatArray:
    """(P,) scores in [0, 1] of the network's (P,) and residuals (P,) with those of ordinary neighbours (P,)."""
    s = np.asarray(score, np.float64)
    ratio = np.sqrt(s / np.maximum(1 - s, 1e-12) * np.sqrt(residual / scale))
    return np.asarray(ratio / (1 + ratio))


def blended_scale(scale: FloatArray, originals: IntArray) -> FloatArray:
    """(N,) local scales drawn towards their median, that of one sample a group."""
    return np.asarray(scale**LOCAL_SHARE * np.median(scale[originals]) ** (1 - LOCAL_SHARE))
