"""Principal components of rows that are read in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, eigsh

from selfclean_hooks.utils.arrays import FloatArray

Rows = NDArray[np.floating[Any]]
BLOCK = 4096
ENOUGH = 8192  # rows that show the directions of any number


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


def rows_that_show(rows: Rows, enough: int = ENOUGH) -> Rows:
    """All of (N, D) rows, or of more than `enough` as many, drawn at random from a fixed seed.

    Evenly spaced ones would all be of one class where classes take turns.
    """
    if len(rows) <= enough:
        return rows
    return np.asarray(rows[np.sort(np.random.default_rng(0).choice(len(rows), enough, replace=False))])


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
        precision: of the products of columns and of what is found from them; float32 takes half the time.
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
    gram = _products(centred(), precision).astype(precision)
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


FEW, LARGE = 8, 512  # so few eigenvectors of so large a matrix are found by Lanczos' method


def _leading(matrix: Rows, most: int) -> tuple[FloatArray, FloatArray]:
    """The largest eigenvalues of a symmetric (n, n) matrix, none below 0, and their vectors (n, K), largest first."""
    n = len(matrix)
    found = _by_lanczos(matrix, most) if most <= FEW and n >= LARGE else None
    values, vectors = found or eigh(matrix, subset_by_index=[max(0, n - most), n - 1])
    return values[::-1].astype(np.float64).clip(min=0), vectors[:, ::-1].astype(np.float64)


def _by_lanczos(matrix: Rows, most: int) -> tuple[FloatArray, FloatArray] | None:
    """The largest eigenvalues, ascending, and their vectors; None where they do not converge."""
    try:
        start = np.random.default_rng(0).standard_normal(len(matrix))
        values, vectors = eigsh(matrix.astype(np.float64), most, v0=start)
    except ArpackError:
        return None
    order = np.argsort(values)
    return values[order], vectors[:, order]
