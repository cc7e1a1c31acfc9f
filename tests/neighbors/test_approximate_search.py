"""Approximate neighbours, the recall that is reported of them, and the tree of their graph."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.csgraph import minimum_spanning_tree as scipy_tree

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.neighbors import approximate_search
from selfclean_hooks.neighbors.approximate_search import ApproximateSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.report.as_json import as_json
from tests.helpers.reference import distance_matrix

pytest.importorskip("faiss")
N = 700
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 6, N)
VECTORS = RNG.normal(size=(6, 12))[LABELS] + 0.6 * RNG.normal(size=(N, 12))
VECTORS[:40] = VECTORS[40:80]
VECTORS[80:85] = 0


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate_search, "LEAST", 100)


def shares(found: NDArray[np.float32], exact: NDArray[np.float32]) -> tuple[float, float]:
    hits = found <= exact[:, -1:] * (1 + 1e-5)
    return float((found[:, 0] <= exact[:, 0] * (1 + 1e-5)).mean()), float(hits.mean())


@pytest.mark.parametrize("wanted", [0.5, 0.99])
def test_the_recall_is_that_of_brute_force(wanted: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate_search, "WANTED", wanted)
    monkeypatch.setattr(approximate_search, "PROBES", N)
    x, search = UnitRows.of(VECTORS), ApproximateSearch()
    found, exact = search(x, 9, LABELS), nearest_neighbors(x, 9, LABELS)
    (recall,) = search.recalls
    assert (recall.first, recall.of_all) == pytest.approx(shares(found.distances.numpy(), exact.distances.numpy()))
    assert recall.of_all > wanted - 0.05
    rows = np.arange(N)[:, None]
    d = distance_matrix(x.values.numpy())
    np.testing.assert_allclose(found.distances, d[rows, found.indices.numpy()], rtol=1e-5)
    assert (found.indices.numpy() != rows).all()
    for pair, same in ((found.same, True), (found.other, False)):
        assert pair is not None
        assert ((LABELS[pair[0].numpy()] == LABELS) == same).all()


def test_the_tree_is_that_of_the_graph_and_joins_what_it_leaves_apart() -> None:
    x = UnitRows.of(np.concatenate([VECTORS[85:300], VECTORS[85:300] * 0.01 + 3]))
    lists = nearest_neighbors(x, 4)
    d, n = distance_matrix(x.values.numpy()), len(x)
    tree = minimum_spanning_tree(x, lists, of_graph=True)
    listed = np.zeros((n, n), bool)
    listed[np.arange(n)[:, None], lists.indices] = True
    listed |= listed.T
    count, component = connected_components(listed)
    assert count > 1
    graph = np.where(listed | (component[:, None] != component), np.maximum(d, 1e-12), 0)
    np.testing.assert_allclose(tree.lengths, np.sort(scipy_tree(graph).data), rtol=1e-5, atol=1e-11)
    assert len(tree.edges) == n - 1


@pytest.mark.parametrize("method", ["default", "selfclean"])
def test_an_audit_says_what_was_found(method: str) -> None:
    audit = audit_embeddings(VECTORS[85:], LABELS[85:], method=method, search="approximate")
    exact = audit_embeddings(VECTORS[85:], LABELS[85:], method=method)
    k = 20 if method == "default" else 12
    assert f"of the {k} nearest neighbours were found" in " ".join(audit.provenance["notes"])
    assert json.loads(as_json(audit))["search"]["of_all"] >= 0.98
    assert json.loads(as_json(exact))["search"] is None
    assert np.corrcoef(audit.scores.off_topic, exact.scores.off_topic)[0, 1] > 0.99
    assert isinstance(audit, Audit)


def test_a_search_that_is_none() -> None:
    with pytest.raises(SettingError, match=r"search must be one of exact, approximate, got 'fast'"):
        audit_embeddings(VECTORS, search="fast")


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate_search, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"pip install 'selfclean-hooks\[faiss\]'"):
        audit_embeddings(VECTORS, search="approximate")
