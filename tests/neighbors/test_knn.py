from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from selfclean_hooks.neighbors import knn as module
from selfclean_hooks.neighbors.exact_search import ANY, OTHER, SAME, order_by_distance, search_neighbors
from selfclean_hooks.neighbors.knn import NeighborLists, nearest_neighbors
from selfclean_hooks.neighbors.screening.device import PROCESSOR, UNIT, screening_on
from selfclean_hooks.neighbors.screening.screen import Screen, make_screen
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from tests.helpers.reference import (
    KINDS,
    SELFCLEAN_1K,
    distance_matrix,
    nearest_by_label,
    nearest_distances,
    random_vectors,
    unit_rows,
)

SCREENS = (torch.bfloat16, torch.float32)
SIZES = ((2, 3), (3, 1), (5, 2), (33, 16), (64, 1280), (65, 2), (500, 1), (500, 24))


def labels_for(n: int, classes: int = 4) -> NDArray[np.int64]:
    return np.random.default_rng(n).integers(0, classes, n)


def close(found: Any, expected: NDArray[np.float64]) -> None:
    """Equal up to a few roundings of a float32 distance, and exact for copies."""
    found = np.asarray(found, np.float64)
    np.testing.assert_array_equal(found == 0, expected == 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-14)


def check_against_twin(x: UnitRows, labels: NDArray[np.int64], found: NeighborLists, k: int = 16) -> None:
    d = distance_matrix(x.values.numpy())
    close(found.distances, nearest_distances(d, k))
    for pair, same in ((found.same, True), (found.other, False)):
        assert pair is not None
        close(pair[1], nearest_by_label(d, labels, same))
        there = pair[0].numpy() >= 0
        np.testing.assert_array_equal(there, np.isfinite(pair[1].numpy()))
        assert ((labels[pair[0].numpy()] == labels) == same)[there].all()
    rows = np.arange(len(x))[:, None]
    close(found.distances, d[rows, found.indices.numpy()])
    assert (found.indices.numpy() != rows).all()
    assert all(len(set(row)) == len(row) for row in found.indices.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dim"), SIZES)
def test_neighbours_are_those_of_the_full_matrix(n: int, dim: int, kind: str) -> None:
    x, labels = UnitRows.of(random_vectors(kind, n, dim, n + dim)), labels_for(n)
    for screen in SCREENS:
        check_against_twin(x, labels, nearest_neighbors(x, 16, labels, screen=screen))


@given(
    arrays(np.float64, st.tuples(st.integers(2, 40), st.integers(1, 4)), elements=st.floats(-3, 3, width=16)),
    st.integers(1, 5),
    st.sampled_from(SCREENS),
)
def test_neighbours_of_anything(vectors: NDArray[np.float64], k: int, screen: torch.dtype) -> None:
    x, labels = UnitRows.of(vectors), labels_for(len(vectors), 3)
    d = distance_matrix(x.values.numpy())
    found = nearest_neighbors(x, k, labels, screen=screen, block=32)
    np.testing.assert_allclose(found.distances, nearest_distances(d, k), rtol=1e-6, atol=1e-14)
    assert found.same is not None
    np.testing.assert_allclose(found.same[1], nearest_by_label(d, labels, True), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("n", [17, 20, 33, 70])
def test_neighbours_of_vectors_with_a_single_entry(n: int) -> None:
    """Most of them are alike in every second or third column, by which rows are compared first."""
    x, labels = UnitRows.of(np.concatenate([np.eye(n), np.eye(n)[:3]])), labels_for(n + 3)
    check_against_twin(x, labels, nearest_neighbors(x, 5, labels), 5)


@pytest.mark.parametrize("screen", SCREENS, ids=str)
@pytest.mark.parametrize("kind", ["clustered", "copies", "grid"])
@pytest.mark.parametrize(("n", "blocks"), [(131, (32, 64, 100)), (14, (1, 2, 13))])
def test_the_block_size_changes_nothing(n: int, blocks: tuple[int, ...], kind: str, screen: torch.dtype) -> None:
    x, labels = UnitRows.of(random_vectors(kind, n, 12, 0)), labels_for(n)
    whole = nearest_neighbors(x, 8, labels, screen=screen)
    for block in blocks:
        found = nearest_neighbors(x, 8, labels, screen=screen, block=block)
        assert torch.equal(found.distances, whole.distances)
        assert found.other is not None
        assert whole.other is not None
        assert torch.equal(found.other[1], whole.other[1])
        if kind == "clustered":  # all distances are distinct
            assert torch.equal(found.indices, whole.indices)


@pytest.mark.parametrize("above", [0.0, 0.1])
@pytest.mark.parametrize("dim", [1, 64, 1280])
def test_the_bound_holds(dim: int, above: float) -> None:
    rng = np.random.default_rng(dim)
    normal = rng.normal(size=(150, dim))
    for vectors in (
        normal,
        np.abs(normal),
        1 + 1e-3 * normal,
        normal * (np.arange(150) % 3 > 0)[:, None],
        np.ones((2, dim)) - 2.0**-9,
    ):
        x = UnitRows.of(vectors)
        exact = torch.from_numpy(distance_matrix(x.values.numpy()))
        for dtype in SCREENS:
            for centre in (x.values.mean(0), x.values[0], torch.zeros(dim)):
                screen = Screen.of(x, dtype, centre)
                seen = screen.distances(screen, above).double()
                highest = torch.stack([screen.highest_screened(d, screen.extent, above) for d in exact.T], 1) - above
                unit = UNIT[dtype] * 1.01 * (1 + 2 * UNIT[dtype])
                others = ~torch.eye(len(x), dtype=torch.bool)
                assert (seen <= highest + unit * highest.abs())[others].all()
                assert (highest - exact + above).max() < (0.02 if dtype == torch.bfloat16 else 1e-3)


def test_a_list_that_is_too_short_is_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x = UnitRows.of(random_vectors("positive", 300, 64, 1))
    expected = nearest_distances(distance_matrix(x.values.numpy()), 6)
    enough = nearest_neighbors(x, 6, screen=torch.float32)
    monkeypatch.setattr(module, "list_length", lambda x, screen, k: k)
    short = nearest_neighbors(x, 6, screen=torch.bfloat16)
    assert enough.num_fallback_rows == 0
    assert short.num_fallback_rows > 200
    close(short.distances, expected)
    monkeypatch.setattr(
        module, "search_neighbors", lambda x, rows, *_: (torch.full((len(rows), 6), -1), torch.zeros(len(rows), 6))
    )
    with pytest.raises(AssertionError):
        close(nearest_neighbors(x, 6, screen=torch.bfloat16).distances, expected)


@pytest.mark.parametrize("screen", [None, *SCREENS], ids=str)
@pytest.mark.parametrize("kind", [ANY, SAME, OTHER])
@pytest.mark.parametrize("data", ["clustered", "collapsed", "copies", "zero rows"])
def test_search_among_some_columns_and_in_small_batches(data: str, kind: str, screen: torch.dtype | None) -> None:
    x, groups = UnitRows.of(random_vectors(data, 120, 6, 3)), torch.from_numpy(labels_for(120))
    rows, columns = torch.arange(0, 120, 7), torch.arange(1, 120, 2)
    d = distance_matrix(x.values.numpy())
    np.fill_diagonal(d, np.inf)
    if kind != ANY:
        alike = (groups[:, None] == groups).numpy()
        d[alike if kind == OTHER else ~alike] = np.inf
    screened = torch.float32 if screen is None else make_screen(x, screen)
    for some in (columns, torch.arange(120), torch.arange(60, 71)):  # of the last all are candidates
        with screening_on(replace(PROCESSOR, budget=130)):
            indices, distances = search_neighbors(x, rows, 5, groups, kind, some, screened)
        close(distances, np.sort(d[rows][:, some], 1)[:, :5])
        close(distances, np.where(indices < 0, np.inf, d[rows[:, None], indices]))


def test_search_for_more_than_there_are() -> None:
    x = UnitRows.of(random_vectors("gauss", 4, 3, 0))
    indices, distances = search_neighbors(x, torch.arange(4), 6, torch.tensor([0, 0, 0, 1]), SAME)
    assert (indices >= 0).sum(1).tolist() == [2, 2, 2, 0]
    assert torch.equal(indices >= 0, distances.isfinite())


def test_labels_below_zero_are_classes_like_any_other() -> None:
    x, labels = UnitRows.of(random_vectors("clustered", 70, 5, 0)), labels_for(70) - 2
    check_against_twin(x, labels, nearest_neighbors(x, 16, labels))


def test_a_copy_in_a_collapsed_representation_is_the_nearest() -> None:
    vectors = 1 + 1e-5 * np.random.default_rng(0).normal(size=(400, 32))
    vectors[399] = vectors[7]
    found = nearest_neighbors(UnitRows.of(vectors), 16)
    assert found.indices[7, 0] == 399
    assert found.distances[399, 0] == 0


def test_equal_distances_are_ordered_by_position_and_none_is_last() -> None:
    g = torch.Generator().manual_seed(0)
    candidates, distances = torch.randperm(70_000, generator=g)[: 40 * 30].view(40, 30), torch.rand(40, 30, generator=g)
    distances = (4 * distances).round() / 4  # 0 and 1 among them
    distances[candidates % 7 == 0], candidates[candidates % 11 == 0] = torch.inf, -1
    distances[candidates < 0] = torch.inf
    keys = zip(distances.tolist(), torch.where(candidates < 0, 1 << 40, candidates).tolist(), strict=True)
    expected = [sorted(zip(*row, strict=True)) for row in keys]
    found = zip(*(part.tolist() for part in order_by_distance(candidates, distances)), strict=True)
    assert [[(d, i if i >= 0 else 1 << 40) for i, d in zip(*row, strict=True)] for row in found] == expected


@pytest.fixture
def lowered_precision() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def everything(x: UnitRows) -> list[torch.Tensor]:
    found = nearest_neighbors(x, 16, labels_for(len(x)))
    assert found.same is not None
    assert found.other is not None
    return [found.distances, found.indices, *found.same, *found.other]


@pytest.mark.usefixtures("lowered_precision")
def test_a_lowered_matmul_precision_changes_nothing() -> None:
    x = UnitRows.of(random_vectors("gauss", 400, 256, 0))
    lowered = everything(x)
    torch.set_float32_matmul_precision("highest")
    assert all(torch.equal(a, b) for a, b in zip(lowered, everything(x), strict=True))


@pytest.mark.usefixtures("lowered_precision")
@pytest.mark.parametrize("n", [300, 600])
def test_float32_products_are_float32_whatever_is_set(n: int) -> None:
    rows = UnitRows.of(random_vectors("gauss", n, 256, 0)).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = matrix_product(rows, rows)
    np.testing.assert_allclose(found, rows.double() @ rows.double().T, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    x = UnitRows.of(random_vectors("gauss", 200, 64, 0))
    with torch.autocast("cpu", dtype=dtype):
        cast = everything(x)
    assert all(torch.equal(a, b) for a, b in zip(cast, everything(x), strict=True))


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_unit_rows_of_any_scale(scale: float) -> None:
    vectors = random_vectors("zero rows", 50, 7, 0) * scale
    x = UnitRows.of(vectors, chunk=8)
    np.testing.assert_allclose(x.values, unit_rows(vectors), atol=1e-7)
    np.testing.assert_array_equal(x.zero.numpy() == 1, ~vectors.any(1))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_layout_and_dtype_do_not_matter_and_the_input_is_left_alone(dtype: str) -> None:
    vectors = (random_vectors("gauss", 40, 6, 0) * 10).astype(dtype)
    kept, expected = vectors.copy(), UnitRows.of(vectors)
    vectors.setflags(write=False)
    wide = np.zeros((80, 12), dtype)
    wide[::2, ::2] = vectors
    for same in (vectors, np.asfortranarray(vectors), wide[::2, ::2], vectors[::-1][::-1]):
        assert torch.equal(UnitRows.of(same).values, expected.values)
    np.testing.assert_array_equal(vectors, kept)


def test_distances_do_not_depend_on_how_they_are_chunked_nor_on_the_order_of_a_pair() -> None:
    x = UnitRows.of(random_vectors("zero rows", 60, 37, 0))
    rows = torch.arange(60)
    columns = rows.expand(60, 60)
    whole = x.distances(rows, columns)
    assert torch.equal(x.distances(rows, columns, budget=1), whole)
    assert torch.equal(whole, whole.T)


def test_ticks_reach_the_end() -> None:
    ticks: list[tuple[int, int]] = []
    nearest_neighbors(
        UnitRows.of(random_vectors("gauss", 200, 4, 0)), 3, block=64, tick=lambda done, of: ticks.append((done, of))
    )
    assert ticks == [(done, 10) for done in range(1, 11)]  # of the pairs of four blocks


@pytest.mark.parametrize("screen", SCREENS, ids=str)
def test_nearest_distances_of_the_reference(screen: torch.dtype) -> None:
    with np.load(SELFCLEAN_1K) as data:
        found = nearest_neighbors(UnitRows.of(data["embeddings"]), 16, screen=screen)
        np.testing.assert_allclose(found.distances[:, 0], data["nearest_distance"], atol=1e-6)
