"""A map of all samples: their unit rows in two dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from selfclean_hooks.utils.arrays import Float32Array

EXACT = 2048  # dimensions, or samples where these are fewer, up to which the axes are found exactly
EXTRA, ROUNDS = 14, 12  # directions beside the two wanted, and passes over the data, of the search for axes of more
MOST_UMAP = 20_000
EDGE = 0.005  # share of the samples beyond each end of an axis, which are put on the edge
NOTHING = 1e-6  # of the longer axis: rounding
CHUNK = 4096


def project_to_plane(rows: Float32Array, umap: bool = False) -> tuple[Float32Array, str]:
    """(N, 2) places in [0, 1] of (N, D) unit rows, and how they were found: "UMAP" or "PCA".

    Args:
        rows: N of length 1 (or 0), finite; left as they are.
        umap: by UMAP, where umap-learn is installed, N is at most 20,000 and it does not fail.
    """
    found = by_umap(rows) if umap and find_spec("umap") is not None and len(rows) <= MOST_UMAP else None
    points, how = (pca(rows), "PCA") if found is None else (found, "UMAP")
    return scale_to_unit(points), how


def pca(rows: Float32Array) -> Float32Array:
    """(N, 2) float32: the centred rows along their two principal axes; the largest entry of each axis is positive.

    Exact where N or D is at most 2,048, else by iteration from a fixed start. Memory: one chunk, and D x D or N x N.
    """
    mean = rows.mean(0, dtype=np.float64)
    if min(rows.shape) > EXACT:
        axes = _iterated(rows, mean)
    else:
        axes = _of_columns(rows, mean) if rows.shape[1] <= len(rows) else _of_rows(rows, mean)
    largest = np.abs(axes).argmax(0)
    axes = axes * np.where(axes[largest, [0, 1]] < 0, -1, 1)
    return np.concatenate([part @ axes for _, part in _centred(rows, mean)]).astype(np.float32)


def by_umap(rows: Float32Array) -> Float32Array | None:
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


def _centred(rows: Float32Array, mean: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        yield part, rows[part] - mean


def _of_columns(rows: Float32Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, 2) axes from the covariance, (D, D)."""
    width = rows.shape[1]
    covariance = np.zeros((width, width))
    for _, part in _centred(rows, mean):
        single = part.astype(np.float32)  # twice as fast, and more exact than a picture shows
        covariance += single.T @ single
    return _top(covariance)


def _of_rows(rows: Float32Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, 2) axes from the products of the rows, (N, N)."""
    centred = rows - mean
    axes: NDArray[np.float64] = centred.T @ _top(centred @ centred.T)
    length = np.linalg.norm(axes, axis=0)
    kept: NDArray[np.float64] = np.where(length > NOTHING * length.max(), axes, 0)
    return np.asarray(kept / np.maximum(length, np.finfo(np.float64).tiny))


def _iterated(rows: Float32Array, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D, 2) axes by iterating a few directions more than are wanted."""
    start = np.random.default_rng(0).normal(size=(rows.shape[1], 2 + EXTRA))
    axes = np.linalg.qr(start)[0]
    for _ in range(ROUNDS):
        axes = np.linalg.qr(_through(rows, mean, axes))[0]
    small = axes.T @ _through(rows, mean, axes)
    return np.asarray(axes @ _top((small + small.T) / 2))


def _through(rows: Float32Array, mean: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The covariance (never made) times axes (D, k)."""
    out = np.zeros(axes.shape)
    for _, part in _centred(rows, mean):
        out += part.T @ (part @ axes)
    return out


def _top(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) eigenvectors of the largest eigenvalues, the largest first; a column of zeros beside a single one."""
    n = len(matrix)
    vectors = eigh(matrix, subset_by_index=[max(0, n - 2), n - 1])[1][:, ::-1]
    return np.pad(vectors, ((0, 0), (0, 2 - vectors.shape[1])))
