"""Principal components beside a singular value decomposition of the whole."""

import numpy as np
import pytest

from selfclean_hooks.neighbors.projection.principal_components import (
    blocks_of,
    principal_components,
    rows_that_show,
)
from selfclean_hooks.utils.arrays import FloatArray


def rows(n: int, width: int) -> FloatArray:
    rng = np.random.default_rng(0)
    return np.asarray(rng.normal(size=(n, width)) * np.exp(-np.arange(width) / 4) + rng.normal(size=width))


@pytest.mark.parametrize("shape", [(9000, 12), (600, 513), (30, 50), (12, 12), (2, 5), (7, 1), (1, 3)])
@pytest.mark.parametrize("how", ["exact", "float32", "iterated"])
def test_components_are_those_of_a_singular_value_decomposition(shape: tuple[int, int], how: str) -> None:
    x, most = rows(*shape), min(4, *shape)
    start = np.random.default_rng(1).normal(size=(shape[1], min(shape[1], 10))) if how == "iterated" else None
    precision = np.float32 if how == "float32" else np.float64
    found = principal_components(lambda: blocks_of(x), most, precision=precision, start=start)
    _, s, v = np.linalg.svd(x - x.mean(0), full_matrices=False)
    tolerance = 1e-4 if how == "float32" else 1e-8
    np.testing.assert_allclose(found.mean, x.mean(0))
    np.testing.assert_allclose(found.squares, s[:most] ** 2, atol=tolerance * s[0] ** 2)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(most), atol=1e-6)
    clear = s[:most] > 0.01 * s[0]
    overlap = np.abs((found.axes.T * v[:most]).sum(1))
    np.testing.assert_allclose(overlap[clear & (s[0] > 0)], 1, atol=1e-4)
    if start is None or shape[1] <= 10:
        np.testing.assert_allclose(found.total, (s**2).sum(), rtol=1e-4, atol=1e-12)


def test_components_that_are_rounding_can_be_left_out() -> None:
    x = np.outer(np.arange(5.0), [1, 2, 3])
    found = principal_components(lambda: blocks_of(x), 3)
    assert found.kept(1e-9 * found.total).axes.shape == (3, 1)


@pytest.mark.parametrize("scale", [0.0, 1e-18, 1.0, 1e18])
def test_few_components_of_many_columns_where_rows_vary_in_one_direction_or_none(scale: float) -> None:
    x = scale * np.outer(np.arange(600.0), np.arange(520.0) % 7)
    found = principal_components(lambda: blocks_of(x), 2)
    np.testing.assert_allclose(found.squares, [found.total, 0], atol=1e-9 * found.total)
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(2), atol=1e-9)


@pytest.mark.parametrize("turns", [1, 3, 10])
def test_some_rows_show_the_directions_of_all(turns: int) -> None:
    x = rows(600, 8)
    x += 5 * (np.arange(600) % turns)[:, None]  # classes that take turns
    some = rows_that_show(x, 200)
    assert some.shape == (200, 8)
    assert rows_that_show(x, 600) is x
    np.testing.assert_array_equal(some, rows_that_show(x, 200))
    assert set(map(tuple, some)) <= set(map(tuple, x))
    every, found = principal_components(lambda: blocks_of(x), 2), principal_components(lambda: blocks_of(some), 2)
    np.testing.assert_allclose(np.abs(found.axes[:, 0] @ every.axes[:, 0]), 1, atol=0.05)
    np.testing.assert_allclose(found.squares * 3, every.squares, rtol=0.25)
