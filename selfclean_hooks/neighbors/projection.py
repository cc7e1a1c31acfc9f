"""Principal components of rows that are read in blocks, and a map of all samples: their unit rows in two dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from selfclean_hooks.utils.arrays import Float32Array, FloatArray

T = TypeVar("T")
Rows = NDArray[np.floating[Any]]
BLOCK = 4096


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The directions in which rows vary most, and how much they do.

    Attributes:
        mean: (D,) of the rows.
        axes: (D, K) orthonormal columns, the direction of the largest variance first; their signs are arbitrary.
        squares: (K,) squared singular values of the centred rows: N times the variances.
        total: sum of all squared singular values, those of other directions included.
    """

    mean: FloatArray
    axes: FloatArray
    squares: FloatArray
    total: float

    def kept(self, above: float) -> PrincipalComponents:
        """Those whose squared singular value is above a limit."""
        count = int((self.squares > above).sum())
        return PrincipalComponents(self.mean, self.axes[:, :count], self.squares[:count], self.total)


def blocks_of(rows: Rows) -> Iterator[Rows]:
    """(N, D) rows, 4,096 at a time."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def principal_components(
    blocks: Callable[[], Iterable[Rows]],
    most: int,
    *,
    precision: type[np.floating[Any]] = np.float64,
    start: Rows | None = None,
    rounds: int = 12,
) -> PrincipalComponents:
    """The `most` leading components, or min(N, D) if that is less.

    Args:
        blocks: gives all rows, some (n, D) at a time, as often as it is called.
        most: how many components.
        precision: of the products of columns; float32 takes half the time.
        start: (D, at least `most`) directions to find the components from by subspace iteration, where products of all
            columns would take too long; None: exactly.
        rounds: of the iteration, each of which reads all rows.
    """
    mean, n = _mean(blocks())

    def centred() -> Iterator[FloatArray]:
        return (np.subtract(block, mean, dtype=precision) for block in blocks())

    if start is not None:
        axes = np.linalg.qr(start)[0]
        for _ in range(rounds):
            axes = np.linalg.qr(_products(centred(), precision, axes))[0]
        small = axes.T @ _products(centred(), precision, axes)
        squares, vectors = _leading((small + small.T) / 2, most)
        return PrincipalComponents(mean, axes @ vectors, squares, float(np.trace(small)))
    if n <= len(mean):  # products of rows are the smaller matrix, with the same eigenvalues
        rows = np.concatenate([*centred()])
        gram = rows @ rows.T
        squares, vectors = _leading(gram, most)
        return PrincipalComponents(mean, np.linalg.qr(rows.T @ vectors)[0], squares, float(np.trace(gram)))
    gram = _products(centred(), precision)
    squares, vectors = _leading(gram, most)
    return PrincipalComponents(mean, vectors, squares, float(np.trace(gram)))


def _mean(blocks: Iterable[Rows]) -> tuple[FloatArray, int]:
    """(D,) mean, and how many rows there are."""
    total, n = 0.0, 0
    for block in blocks:
        total, n = total + block.sum(0, dtype=np.float64), n + len(block)
    return np.asarray(total / n), n


def _products(centred: Iterable[FloatArray], precision: type[Any], axes: FloatArray | None = None) -> FloatArray:
    """The scatter matrix (D, D) of the rows, or its product with axes (D, K), for which it is not made."""
    parts = (block.astype(precision) for block in centred)
    if axes is None:
        return np.asarray(sum((part.T @ part).astype(np.float64) for part in parts))
    narrow = axes.astype(precision)
    return np.asarray(sum((part.T @ (part @ narrow)).astype(np.float64) for part in parts))


def _leading(matrix: FloatArray, most: int) -> tuple[FloatArray, FloatArray]:
    """The largest eigenvalues of a symmetric (n, n) matrix, none below 0, and their vectors (n, K), largest first."""
    n = len(matrix)
    values, vectors = eigh(matrix, subset_by_index=[max(0, n - most), n - 1])
    return values[::-1].clip(min=0), vectors[:, ::-1]


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
        found = in_thread(lambda: _fit_umap(rows))
    if found is None or found.shape != (len(rows), 2) or not np.isfinite(found).all():
        return None
    return found.astype(np.float32)


def _fit_umap(rows: Float32Array) -> Float32Array | None:
    try:
        umap = import_module("umap")
        found: Float32Array = umap.UMAP(metric="euclidean", random_state=0, n_jobs=1).fit_transform(rows)
    except Exception:  # whatever that library raises: there is another map
        return None
    return found


def in_thread(work: Callable[[], T]) -> T:
    """Work in a thread of its own, while this one waits for an interrupt: code that is compiled would swallow it."""
    with ThreadPool(1) as pool:
        waiting = pool.apply_async(work)
        while not waiting.ready():
            waiting.wait(0.1)
        return waiting.get()


def scale_to_unit(points: Float32Array) -> Float32Array:
    """(N, 2) with each axis stretched to [0, 1] between its outer 0.5%, which go onto the edge; 0.5 where all agree."""
    low, high = np.quantile(points.astype(np.float64), [EDGE, 1 - EDGE], axis=0)
    differ = (high - low) > NOTHING * (high - low).max()
    spread = np.where(differ, high - low, 1)
    return np.where(differ, np.clip((points - low) / spread, 0, 1), 0.5).astype(np.float32)
