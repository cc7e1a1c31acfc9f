import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import cophenet, is_valid_linkage

from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree import edge_lists
from selfclean_hooks.neighbors.tree.spanning_tree import Tree, minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.helpers.reference import KINDS, dendrogram, distance_matrix, random_vectors

SIZES = ((2, 3), (3, 1), (33, 16), (64, 1280), (65, 2), (300, 1), (300, 24))


def tree_of(x: UnitRows, k: int = 16) -> Tree:
    return minimum_spanning_tree(x, nearest_neighbors(x, k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dim"), SIZES)
def test_heights_are_those_of_scipy(n: int, dim: int, kind: str) -> None:
    x = UnitRows.of(random_vectors(kind, n, dim, n))
    d = distance_matrix(x.values.numpy())
    expected = dendrogram(d)
    for tree in (tree_of(x, 1), tree_of(x, 16)):
        assert tree.edges.shape == (n - 1, 2)
        assert (tree.edges[:, 0] < tree.edges[:, 1]).all()
        np.testing.assert_allclose(tree.lengths, expected[:, 2], rtol=1e-6, atol=1e-14)
        np.testing.assert_allclose(tree.lengths, d[tuple(tree.edges.T)], rtol=1e-6, atol=1e-14)
        merges = tree.linkage()
        assert is_valid_linkage(merges)
        np.testing.assert_allclose(cophenet(merges), cophenet(expected), rtol=1e-5, atol=1e-14)


def test_far_clusters_are_joined_though_no_list_leaves_its_cluster() -> None:
    rng = np.random.default_rng(0)
    x = UnitRows.of(rng.normal(size=(4, 20))[np.repeat(range(4), 100)] + 1e-2 * rng.normal(size=(400, 20)))
    tree = tree_of(x, 5)
    np.testing.assert_allclose(tree.lengths, dendrogram(distance_matrix(x.values.numpy()))[:, 2], rtol=1e-6)
    assert tree.num_fallback_rows > 0
    assert (tree.lengths > 0.1).sum() == 3


def test_copies_are_joined_at_exactly_zero() -> None:
    vectors = np.repeat(random_vectors("gauss", 20, 8, 0), 30, axis=0)
    tree = tree_of(UnitRows.of(vectors))
    assert (tree.lengths == 0).sum() == 20 * 29


def test_permuting_the_rows_permutes_the_tree() -> None:
    vectors = random_vectors("gauss", 200, 6, 0)
    order = np.random.default_rng(1).permutation(200)
    tree, shuffled = (tree_of(UnitRows.of(v)) for v in (vectors, vectors[order]))
    np.testing.assert_array_equal(np.sort(order[shuffled.edges], 1), tree.edges)
    np.testing.assert_array_equal(shuffled.lengths, tree.lengths)


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_few_rows_at_a_time_give_the_same_tree(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = UnitRows.of(random_vectors("clustered", 100, 6, 0))
    whole = tree_of(x, 2)
    monkeypatch.setattr(edge_lists, "BATCH", rows)
    part = tree_of(x, 2)
    np.testing.assert_array_equal(part.edges, whole.edges)
    np.testing.assert_array_equal(part.lengths, whole.lengths)


def test_the_lists_given_are_left_alone() -> None:
    x = UnitRows.of(random_vectors("clustered", 200, 6, 0))
    lists = nearest_neighbors(x, 2)
    before = lists.indices.clone(), lists.distances.clone()
    assert minimum_spanning_tree(x, lists).num_fallback_rows > 0
    assert torch.equal(lists.indices, before[0])
    assert torch.equal(lists.distances, before[1])
