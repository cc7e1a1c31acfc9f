"""A map of all samples: their unit rows in two dimensions."""

from __future__ import annotations

import numpy as np

from selfclean_hooks.neighbors.projection.principal_components import (
    blocks_of,
    principal_components,
    rows_that_show,
)
from selfclean_hooks.neighbors.projection.tsne import NEIGHBORS, tsne
from selfclean_hooks.utils.arrays import Float32Array, IntArray

ENOUGH = 2048  # samples that show the axes of any number
MOST_TSNE = 20_000  # samples: all are compared with all for their neighbours
DIRECTIONS = 50  # in which the neighbours of t-SNE are found
EDGE = 0.005  # share of the samples beyond each end of an axis, which are put on the edge
NOTHING = 1e-6  # of the longer axis: rounding


def project_to_plane(rows: Float32Array, copies: IntArray, by_tsne: bool = False) -> tuple[Float32Array, str]:
    """(N, 2) places in [0, 1] of (N, D) unit rows, and how they were found: "t-SNE" or "PCA".

    Args:
        rows: N of length 1 (or 0), finite; left as they are.
        copies: (N,) number shared by rows that are equal, which lie in one place.
        by_tsne: by t-SNE, where more than 15 rows differ and N is at most 20,000.
    """
    _, first, group = np.unique(copies, return_index=True, return_inverse=True)
    if by_tsne and len(first) > NEIGHBORS and len(rows) <= MOST_TSNE:
        return scale_to_unit(tsne(pca(rows, DIRECTIONS)[first])[group]), "t-SNE"
    return scale_to_unit(pca(rows)), "PCA"


def pca(rows: Float32Array, most: int = 2) -> Float32Array:
    """(N, most) float32: the centred rows along their principal axes; the largest entry of each axis is positive.

    The axes are those of at most 2,048 of them. Axes that the rows do not have are 0.
    """
    some = rows_that_show(rows, ENOUGH)
    found = principal_components(lambda: blocks_of(some), most, precision=np.float32)
    found = found.kept(NOTHING**2 * found.squares[0])
    axes = np.pad(found.axes, ((0, 0), (0, most - found.axes.shape[1])))
    axes *= np.where(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) < 0, -1, 1)
    mean, along = found.mean.astype(np.float32), axes.astype(np.float32)
    return np.concatenate([(block - mean) @ along for block in blocks_of(rows)])


def scale_to_unit(points: Float32Array) -> Float32Array:
    """(N, 2) with each axis stretched to [0, 1] between its outer 0.5%, which go onto the edge; 0.5 where all agree."""
    low, high = np.quantile(points.astype(np.float64), [EDGE, 1 - EDGE], axis=0)
    differ = (high - low) > NOTHING * (high - low).max()
    spread = np.where(differ, high - low, 1)
    return np.where(differ, np.clip((points - low) / spread, 0, 1), 0.5).astype(np.float32)
