"""A second look at images: their edges and colours in miniature, which a backbone trained on other data sees less of.

Labels that one representation alone supports are often wrong by the other, so both are asked and the given labels
decide how much each counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.utils.arrays import Float32Array

SIDE = 16  # that miniatures are looked at in; finer edges tell less of what is shown
CELLS, DIRECTIONS = 4, 8  # of the histograms of edges; 8 cells a side tell labels a little worse
COLOUR_CELLS, COLOUR_WEIGHT = 8, 0.5  # 0.25 to 1 are equally good


def edges_and_colours(miniatures: NDArray[np.uint8], block: int = 256) -> Float32Array:
    """Rows (N, 320) of a miniature's edges and colours, each of mean 0 over the samples and of length 1 and 0.5.

    Edges: for each of 4 x 4 cells the root of the histogram of gradients over 8 directions, of the channel in which the
    gradient is largest (Dalal & Triggs, "Histograms of oriented gradients for human detection", 2005). Colours: means
    of 8 x 8 cells.

    Args:
        miniatures: (N, S, S, 3), S a multiple of 8 up to 16, or of 16.
        block: images at a time; the result does not depend on it.
    """
    miniatures = reduced(miniatures)
    blocks = [miniatures[start : start + block] for start in range(0, len(miniatures), block)]
    edges = np.sqrt(np.concatenate([_directions(part.astype(np.float32)) for part in blocks]))
    colours = np.concatenate([_cells(part.astype(np.float32), COLOUR_CELLS) for part in blocks])
    colours = colours.reshape(len(miniatures), -1)
    return np.hstack([_unit(edges - edges.mean(0)), COLOUR_WEIGHT * _unit(colours - colours.mean(0))])


def reduced(miniatures: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """Images (N, S, S, 3) at a side (N, side, side, 3) that S is a multiple of; as they are where S is no larger."""
    n, each = len(miniatures), miniatures.shape[1] // side
    if each <= 1:
        return miniatures
    cells = miniatures.reshape(n, side, each, side, each, 3)
    sums = sum(cells[:, :, y, :, x].astype(np.uint16) for y in range(each) for x in range(each))
    return np.asarray((sums + each * each // 2) // (each * each), np.uint8)


def _directions(images: Float32Array) -> Float32Array:
    """(R, cells * cells * directions): how strong the edges of each direction are in each cell."""
    n, side = images.shape[:2]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    squared = across * across + down * down
    channel = squared.argmax(-1)[..., None]
    squared, across, down = (np.take_along_axis(a, channel, -1)[..., 0] for a in (squared, across, down))
    angle = (np.arctan2(down, across) * (DIRECTIONS / np.pi)) % DIRECTIONS
    below, strength = np.floor(angle), np.sqrt(squared)
    beyond = angle - below  # the strength is shared between the two directions next to it
    cell = np.arange(side) // (side // CELLS)
    place = (np.arange(n)[:, None, None] * CELLS + cell[:, None]) * CELLS + cell
    out = np.zeros(n * CELLS * CELLS * DIRECTIONS)
    for step, share in ((0, 1 - beyond), (1, beyond)):
        at = place * DIRECTIONS + (below.astype(np.int64) + step) % DIRECTIONS
        out += np.bincount(at.ravel(), (share * strength).ravel(), len(out))
    return out.reshape(n, -1).astype(np.float32)


def _cells(maps: Float32Array, cells: int) -> Float32Array:
    """Means (R, cells, cells, C) of the cells of maps (R, S, S, C)."""
    rows, side, _, channels = maps.shape
    each = side // cells
    means: Float32Array = maps.reshape(rows, cells, each, cells, each, channels).mean((2, 4))
    return means


def _unit(rows: Float32Array) -> Float32Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32Array = rows / np.maximum(length, np.finfo(np.float32).tiny)
    return unit
