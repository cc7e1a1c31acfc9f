"""A map of all samples: their unit rows in two dimensions."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from selfclean_hooks.neighbors.pca import blocks_of, principal_components
from selfclean_hooks.utils.arrays import Float32Array

EXACT = 2048  # dimensions, or samples where these are fewer, up to which the axes are found exactly
EXTRA, ROUNDS = 14, 12  # directions beside the two wanted, and passes over the data, of the search for axes of more
MOST_UMAP = 20_000
EDGE = 0.005  # share of the samples beyond each end of an axis, which are put on the edge
NOTHING = 1e-6  # of the longer axis: rounding


def project_to_plane(rows: Float32Array, umap: bool = False) -> tuple[Float32Array, str]:
    """(N, 2) places in [0, 1] of (N, D) unit rows, and how they were found: "UMAP" or "PCA".

    Args:
        rows: N of length 1 (or 0), finite; left as they are.
        umap: by UMAP, where umap-learn is installed, N is at most 20,000 and it does not fail.
    """
    found = umap_projection(rows) if umap and find_spec("umap") is not None and len(rows) <= MOST_UMAP else None
    points, how = (pca(rows), "PCA") if found is None else (found, "UMAP")
    return scale_to_unit(points), how


def pca(rows: Float32Array) -> Float32Array:
    """(N, 2) float32: the centred rows along their two principal axes; the largest entry of each axis is positive.

    Exact where N or D is at most 2,048, else by iteration from a fixed start.
    """
    start = None
    if min(rows.shape) > EXACT:
        start = np.random.default_rng(0).normal(size=(rows.shape[1], 2 + EXTRA))
    found = principal_components(lambda: blocks_of(rows), 2, precision=np.float32, start=start, rounds=ROUNDS)
    found = found.kept(NOTHING**2 * found.squares[0])
    axes = np.pad(found.axes, ((0, 0), (0, 2 - found.axes.shape[1])))
    axes *= np.where(axes[np.abs(axes).argmax(0), [0, 1]] < 0, -1, 1)
    return np.concatenate([(block - found.mean) @ axes for block in blocks_of(rows)]).astype(np.float32)


def umap_projection(rows: Float32Array) -> Float32Array | None:
    """(N, 2) places by UMAP, with a random state of its own; None where it fails, as with very few samples."""
    from selfclean_hooks.utils.rng import preserve_rng_state

    with preserve_rng_state(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of compilers and unconnected samples: nothing a user can act upon
        try:
            umap = import_module("umap")
            found = umap.UMAP(metric="euclidean", random_state=0, n_jobs=1).fit_transform(rows)
        except Exception:  # whatever that library raises: there is another map
            return None
    return found.astype(np.float32) if found.shape == (len(rows), 2) and np.isfinite(found).all() else None


def scale_to_unit(points: Float32Array) -> Float32Array:
    """(N, 2) with each axis stretched to [0, 1] between its outer 0.5%, which go onto the edge; 0.5 where all agree."""
    low, high = np.quantile(points.astype(np.float64), [EDGE, 1 - EDGE], axis=0)
    differ = (high - low) > NOTHING * (high - low).max()
    spread = np.where(differ, high - low, 1)
    return np.where(differ, np.clip((points - low) / spread, 0, 1), 0.5).astype(np.float32)
