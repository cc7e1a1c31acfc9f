"""Data on which a product in low precision shows little: found by other ways, and the same as by brute force."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates import pair_scores
from selfclean_hooks.detectors.protocol import Pairs
from selfclean_hooks.neighbors.clusters import TightParts, separated_clusters
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.knn import NeighborLists, nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.helpers.reference import dendrogram, distance_matrix, nearest_by_label, nearest_distances, random_vectors

N, DIM = 420, 24
RNG = np.random.default_rng(0)
NOISE, OF = RNG.normal(size=(N, DIM)), RNG.integers(0, 1 << 30, N)


def around(centres: int, noise: float, seed: int = 1) -> NDArray[np.float64]:
    """Clusters of a width."""
    return np.random.default_rng(seed).normal(size=(centres, DIM))[OF % centres] + noise * NOISE


HARD = {
    "a cone": 10 + NOISE,
    "a narrow cone": 1 + 1e-3 * NOISE,
    "next to no spread": 1 + 1e-5 * NOISE,
    "two clusters": around(2, 1e-2),
    "five clusters": around(5, 1e-3),
    "twenty clusters": around(20, 1e-2),
    "clusters and others": np.where((OF % 7 > 0)[:, None], around(3, 1e-2), NOISE),
    "clusters of clusters": around(3, 1e-1) + around(18, 1e-3, seed=2) * 1e-2,
    "clusters in a cone": 20 + around(6, 1e-2),
    "clusters of copies": around(4, 1e-2)[OF % 40],
    "most are copies": np.where((OF % 5 > 0)[:, None], NOISE[0], NOISE),
    "copies of each": NOISE[OF % 9],
    "half are zero": NOISE * (OF % 2)[:, None],
    "zero rows in clusters": around(3, 1e-2) * (OF % 4 > 0)[:, None],
    "spreads of all sizes": 1 + NOISE * 10.0 ** -(OF % 6)[:, None],
}


@pytest.fixture(scope="module", params=HARD)
def hard(request: pytest.FixtureRequest) -> tuple[UnitRows, NDArray[np.float64]]:
    x = UnitRows.of(HARD[request.param])
    return x, distance_matrix(x.values.numpy())


def close(found: torch.Tensor, expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-6, atol=1e-14)


def neighbors_of(x: UnitRows, labels: NDArray[np.int64], block: int | None = None) -> NeighborLists:
    return nearest_neighbors(x, 7, labels, screen=torch.bfloat16, block=block)


def test_neighbours_are_those_of_the_full_matrix(hard: tuple[UnitRows, NDArray[np.float64]]) -> None:
    x, d = hard
    for codes, block in ((OF % 6, None), (np.random.default_rng(3).integers(0, 5, N), 37)):
        found = neighbors_of(x, codes, block)
        rows = np.arange(N)
        close(found.distances, nearest_distances(d, 7))
        close(found.distances, d[rows[:, None], found.indices.numpy()])
        assert (found.indices.numpy() != rows[:, None]).all()
        assert all(len(set(row)) == 7 for row in found.indices.tolist())
        for same, pair in ((True, found.same), (False, found.other)):
            assert pair is not None
            close(pair[1], nearest_by_label(d, codes, same))
            there = pair[0].numpy() >= 0
            assert ((codes[pair[0].numpy()] == codes) == same)[there].all()


@pytest.mark.parametrize("k", [1, 7])
def test_heights_are_those_of_scipy(hard: tuple[UnitRows, NDArray[np.float64]], k: int) -> None:
    x, d = hard
    tree = minimum_spanning_tree(x, nearest_neighbors(x, k))
    np.testing.assert_allclose(tree.lengths, dendrogram(d)[:, 2], rtol=2e-6, atol=1e-14)
    np.testing.assert_allclose(tree.lengths, d[tuple(tree.edges.T)], rtol=2e-6, atol=1e-14)


def test_clusters_are_found_where_they_lie_apart_and_nowhere_else() -> None:
    def sizes(name: str) -> list[int]:
        return sorted(map(len, separated_clusters(UnitRows.of(HARD[name]), 8)))

    assert sizes("two clusters") == sorted(np.bincount(OF % 2))
    assert sizes("twenty clusters") == sorted(np.bincount(OF % 20))
    assert sum(sizes("clusters and others")) == (OF % 7 > 0).sum()
    assert sizes("a cone") == sizes("copies of each") == []


@pytest.mark.parametrize("kind", ["copies", "grid", "zero rows", "gauss"])
@pytest.mark.parametrize(("n", "dim"), [(2, 1), (3, 1), (5, 3), (70, 2)])
def test_distinct_rows_are_those_of_numpy(kind: str, n: int, dim: int) -> None:
    x, classes = UnitRows.of(random_vectors(kind, n, dim, n)), torch.arange(n) % 3
    for of, extra in ((None, ()), (classes, (classes.numpy(),))):
        found = DistinctRows.among(x, of)
        rows = np.column_stack([x.values.numpy() + 0.0, *extra])
        _, number = np.unique(rows, axis=0, return_inverse=True)
        same = number.reshape(-1)[:, None] == number.reshape(-1)
        np.testing.assert_array_equal((found.of[:, None] == found.of).numpy(), same)
        np.testing.assert_array_equal(found.first[found.of].numpy(), same.argmax(1))


def test_parts_are_narrow_beside_all_data() -> None:
    x = UnitRows.of(around(5, 1e-2))
    parts = TightParts.among(x, OF % 5)
    assert parts.is_narrow.all()
    d = 2 * np.sqrt(distance_matrix(x.values.numpy()))
    centre = x.values[torch.from_numpy(OF % 5 == 0)].mean(0)
    np.testing.assert_allclose(parts.nearest[0, 3], (x.values[OF % 5 == 3] - centre).norm(dim=1).min(), rtol=1e-5)
    assert parts.radius[0] >= d[np.ix_(OF % 5 == 0, OF % 5 == 0)].max() / 2
    assert not TightParts.among(UnitRows.of(NOISE), OF % 5).is_narrow.any()


def test_pairs_are_the_same_whatever_their_number_was_guessed_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    x = UnitRows.of(around(2, 1e-2))
    lists = nearest_neighbors(x, 7)
    scale, first = np.full(N, 0.2), np.arange(N)

    def pairs() -> Pairs:
        return pair_scores.score_pairs(x, lists.indices.numpy(), lists.distances.numpy(), scale, first, 3000)

    whole = pairs()
    d = np.sort(distance_matrix(x.values.numpy())[np.triu_indices(N, 1)])
    np.testing.assert_allclose(np.sort(whole.distance), d[:3000], rtol=1e-5)
    np.testing.assert_allclose(whole.complete_below, (s := np.sqrt(d[3000] / 0.2)) / (1 + s), rtol=1e-3)
    for guess in (1.0, 1e-4, 1e-9):
        monkeypatch.setattr(pair_scores, "_likely_limit", lambda *_, guess=guess: guess)
        np.testing.assert_array_equal(pairs().index, whole.index)
        np.testing.assert_allclose(pairs().complete_below, whole.complete_below, rtol=1e-3)
