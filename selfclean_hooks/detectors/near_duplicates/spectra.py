"""Pairs of images that show the same wherever it lies: copies that were shifted, or cropped at a side.

A network's neighbour lists miss copies that were shifted by a tenth, as do those of the pixels themselves. The
magnitudes of an image's Fourier transform stay as they are wherever its content lies, so their neighbour lists hold
such copies. They hold others as well: what is found here is only worth being aligned (`certain_copies`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.near_duplicates.shades import luminance
from selfclean_hooks.neighbors.cross_search import cross_nearest_neighbors
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import Float32Array, IntArray

SIDE = 16  # that images are looked at in: 32 finds fewer crops
LISTED, USUAL = 3, 8  # neighbours that may be copies, and the one whose distance is usual
MAX_RATIO = 0.85  # of both lengths: nine in ten shifted copies are below, and a third of the others at most


def similar_spectra(miniatures: NDArray[np.uint8], among: NDArray[np.uint8] | None = None) -> IntArray:
    """Pairs of images with spectra far more alike than usual, (P, 2) positions: of an image, and of one among others.

    Args:
        miniatures: (N, S, S, 3), S 16 or a multiple.
        among: (M, S, S, 3) images that theirs are compared with; by default each with all others of them.
    """
    return alike_by(spectra, miniatures, among, LISTED)


def alike_by(
    described: Callable[[NDArray[np.uint8]], Float32Array],
    miniatures: NDArray[np.uint8],
    among: NDArray[np.uint8] | None,
    listed: int,
) -> IntArray:
    """Pairs of images (P, 2) far more alike than usual by what describes them: of an image, and of one among others.

    Args:
        described: rows (N, R) of images.
        miniatures: (N, S, S, 3).
        among: (M, S, S, 3) images that theirs are compared with; None: each with all others of them.
        listed: neighbours of each at most.
    """
    others = miniatures if among is None else among
    if min(len(miniatures), len(others) - 1) < 1:
        return np.empty((0, 2), np.int64)
    magnitudes = described(others)
    mean = magnitudes.mean(0)
    rows = UnitRows.of(magnitudes - mean)
    if among is None:
        found = nearest_neighbors(rows, min(USUAL, len(rows) - 1))
        near, distance = found.indices.numpy(), found.distances.numpy()
    else:
        magnitudes = described(miniatures)
        found_there = cross_nearest_neighbors(UnitRows.of(magnitudes - mean), rows, min(USUAL, len(rows)))[0]
        near, distance = found_there[0].numpy(), found_there[1].numpy()
    alike = (distance <= MAX_RATIO**2 * distance[:, -1:]) & (near >= 0) & (magnitudes.max(1, keepdims=True) > 0)
    row, rank = np.nonzero(alike[:, :listed])
    return np.stack([row, near[row, rank]], 1).astype(np.int64)


def spectra(miniatures: NDArray[np.uint8]) -> Float32Array:
    """(N, 144) square roots of the magnitudes of the Fourier transform of images (N, S, S, 3), in grey at 16 x 16."""
    grey = luminance(reduced(miniatures, SIDE))
    magnitude = np.abs(np.fft.rfft2(grey - grey.mean((1, 2), keepdims=True)))
    return np.asarray(np.sqrt(magnitude).reshape(len(grey), -1), np.float32)
