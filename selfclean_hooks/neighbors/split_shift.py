"""How far apart two splits lie in the embedding, beside how far apart chance alone would put them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.neighbors.projection.principal_components import PrincipalComponents, principal_components
from selfclean_hooks.utils.arrays import FloatArray
from selfclean_hooks.utils.text import Tick

BLOCK_SIZE = 2048
MAX_PCA_SAMPLES = 20_000  # samples, for the principal components
ROUNDING = 1e-13  # unit rows are rounded to float32: variances below this are no property of the data


@dataclass(frozen=True)
class Shift:
    """The distance of two splits, and what it is worth.

    Attributes:
        distance: squared Frechet distance of Gaussians fitted to the unit rows of the two, in [0, 4]; 0: no shift.
        expected: median distance of two random splits of the same samples and sizes. Above 0, and the more so the
            smaller a split is: `distance` has the same bias, so judge it by this figure and not by itself.
        p_value: share of random splits at least as far apart, in (0, 1]; small: chance does not explain the distance.
        components: principal components in which both were computed; 0 where all samples are alike.
        explained: share of the variance that these components hold, in [0, 1].
    """

    distance: float
    expected: float
    p_value: float
    components: int
    explained: float


def split_shift(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    *,
    permutations: int = 199,
    components: int = 64,
    seed: int = 0,
    tick: Tick | None = None,
) -> Shift:
    """Compare two splits by `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))` and by a permutation test.

    m and S (divided by n - 1) are of the unit rows, in the first principal components of all samples together (of at
    most 20,000, evenly spaced in an order by content). Those do not depend on which sample is in which split, so the
    random splits are computed exactly as the given one is: on all samples, with the same sizes, in the same space.
    `p_value` is (1 + the random splits at least as far apart) /
    (1 + permutations); it holds for any sizes if the samples are independent. Frames of one video are not: kept
    together, they shift any split. In large splits the smallest shift is significant; see whether `distance` is also
    many times `expected`. In small ones a large p_value does not say that there is no shift: with a hundred samples the
    noise of the covariances hides all but large ones. A shift in directions that hold next to none of the variance of
    all samples is not seen.

    The result depends on neither the order of the rows nor that of x and y, up to rounding. A split of one sample has
    no covariance: p_value then says how unusual that sample is. A zero row has no direction and lies at the origin.

    Time is linear in N + M, and cubic in min(D, N + M) for the components. Memory beside the input is
    (N + M) * components and min(D, N + M)^2 numbers.

    Args:
        x: (N, D) finite vectors of any length, N > 0.
        y: (M, D), M > 0.
        permutations: random splits, at least 1; the smallest possible p_value is 1 / (1 + permutations).
        components: principal components at most, at least 1; fewer where there are fewer dimensions or samples.
        seed: of the random splits.
        tick: progress, called with (steps done, all steps).

    Raises:
        DataError: x and y are not vectors of the same length, or one of them holds none.
        SettingError: permutations or components is below 1.
    """
    _check(x, y, permutations, components)
    n, rng = len(x) + len(y), np.random.default_rng(seed)
    most = min(n, MAX_PCA_SAMPLES)
    step = _step_counter(2 * len(_slices(x, y)) + 1 + permutations, tick)
    weights = rng.standard_normal((x.shape[1],))
    key = np.concatenate([block @ weights for block in _unit_blocks(x, y, step)])
    order = np.argsort(key)  # by content, so that nothing below depends on the order of the input or on the split
    chosen = np.sort(order[np.linspace(0, n - 1, most).round().astype(np.int64)])
    there = chosen < len(x)
    some = x[chosen[there]], y[chosen[~there] - len(x)]
    found = principal_components(lambda: _unit_blocks(*some), components).kept(ROUNDING * most)
    explained = float(found.squares.sum() / found.total) if len(found.squares) else 1.0
    step()
    z = _project(x, y, found, step)
    part = np.arange(len(x)) if len(x) < len(y) else np.arange(len(x), len(z))  # the smaller split
    z, part = z[order], np.isin(order, part).nonzero()[0]
    scatter = z.T @ z
    distance = _distance(z, scatter, part)
    null = np.empty(permutations)
    for draw in range(permutations):
        null[draw] = _distance(z, scatter, rng.choice(len(z), len(part), replace=False, shuffle=False))
        step()
    ties = 1e-8 * np.trace(scatter) / len(z)  # the same split drawn again differs by rounding
    p_value = (1 + np.count_nonzero(null >= distance - ties)) / (1 + permutations)
    return Shift(distance, float(np.median(null)), float(p_value), z.shape[1], explained)


def _check(x: NDArray[np.floating], y: NDArray[np.floating], permutations: int, components: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        wanted = "a shift is between splits of (N, D) and (M, D) vectors, at least one each"
        raise DataError(f"{wanted}, got {x.shape} and {y.shape}: embed both with the same encoder")
    for name, value in (("permutations", permutations), ("components", components)):
        if value < 1:
            raise SettingError(f"{name} must be at least 1, got {value}: leave it out for the default")


def _step_counter(total: int, tick: Tick | None) -> Callable[[], None]:
    done = count(1)

    def step() -> None:
        if tick is not None:
            tick(next(done), total)

    return step


def _slices(x: NDArray[np.floating], y: NDArray[np.floating]) -> list[NDArray[np.floating]]:
    return [split[start : start + BLOCK_SIZE] for split in (x, y) for start in range(0, len(split), BLOCK_SIZE)]


def _unit_blocks(
    x: NDArray[np.floating], y: NDArray[np.floating], step: Callable[[], None] = lambda: None
) -> Iterator[FloatArray]:
    from selfclean_hooks.neighbors.unit_vectors import (
        UnitRows,  # imports torch, which a reader of results can do without
    )

    for rows in _slices(x, y):
        yield UnitRows.of(rows).values.numpy().astype(np.float64)
        step()


def _project(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    found: PrincipalComponents,
    step: Callable[[], None],
) -> FloatArray:
    """All samples in the components (N + M, K), centred."""
    z, start = np.empty((len(x) + len(y), found.axes.shape[1])), 0
    for block in _unit_blocks(x, y, step):
        rows = slice(start, start + len(block))
        z[rows] = (block - found.mean) @ found.axes
        start = rows.stop
    z -= z.mean(0)
    return z


def _distance(z: FloatArray, scatter: FloatArray, part: NDArray[np.int64]) -> float:
    """Squared Frechet distance of the rows `part` of z to all other rows; scatter is z.T @ z, and z has mean 0."""
    inside, outside = len(part), len(z) - len(part)
    rows = z[part]
    mean = rows.mean(0)
    rows -= mean
    gap = mean * (len(z) / outside)  # the mean of the others is -mean * inside / outside
    within = rows.T @ rows
    rest = scatter - within - np.outer(gap, gap) * (inside * outside / len(z))
    floor = ROUNDING * np.trace(scatter) / len(z)
    one, other = _matrix_root(within / max(1, inside - 1), floor), _matrix_root(rest / max(1, outside - 1), floor)
    overlap = np.linalg.svd(one.T @ other, compute_uv=False).sum()  # the trace of (S1 S2)^(1/2)
    return max(0.0, float(gap @ gap + (one**2).sum() + (other**2).sum() - 2 * overlap))


def _matrix_root(covariance: FloatArray, floor: float) -> FloatArray:
    """A (K, K) with A A^T = covariance. Eigenvalues that are rounding become 0: their root would not be small."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.where(values > floor, values, 0)))
