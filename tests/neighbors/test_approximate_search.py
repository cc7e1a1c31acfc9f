"""Approximate neighbours, and the recall that is reported of them."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.errors import SettingError
from selfclean_hooks.neighbors import approximate_search
from selfclean_hooks.neighbors.approximate_search import ApproximateSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
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
    found, exact = search(x, 9), nearest_neighbors(x, 9)
    (recall,) = search.recalls
    assert (recall.first, recall.of_all) == pytest.approx(shares(found.distances.numpy(), exact.distances.numpy()))
    assert recall.of_all > wanted - 0.05
    rows = np.arange(N)[:, None]
    d = distance_matrix(x.values.numpy())
    np.testing.assert_allclose(found.distances, d[rows, found.indices.numpy()], rtol=1e-5)
    assert (found.indices.numpy() != rows).all()


def test_an_audit_says_what_was_found_and_all_but_labels_is_exact() -> None:
    audit = audit_embeddings(VECTORS[85:], LABELS[85:], search="approximate")
    exact = audit_embeddings(VECTORS[85:], LABELS[85:])
    assert "of the 20 nearest neighbours were found" in " ".join(audit.provenance["notes"])
    assert json.loads(as_json(audit))["search"]["of_all"] >= 0.98
    assert json.loads(as_json(exact))["search"] is None
    assert np.corrcoef(audit.scores.label, exact.scores.label)[0, 1] > 0.99
    np.testing.assert_array_equal(audit.scores.off_topic, exact.scores.off_topic)
    np.testing.assert_array_equal(audit.scores.tree_distance, exact.scores.tree_distance)
    assert isinstance(audit, Audit)


def test_a_search_that_is_none() -> None:
    with pytest.raises(SettingError, match=r"search must be one of exact, approximate, got 'fast'"):
        audit_embeddings(VECTORS, search="fast")


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate_search, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"pip install 'selfclean-hooks\[faiss\]'"):
        audit_embeddings(VECTORS, search="approximate")
