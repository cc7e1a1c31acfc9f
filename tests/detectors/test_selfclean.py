from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage

from selfclean_hooks.core.scores import Scores
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.detectors.protocol import Pairs
from selfclean_hooks.detectors.selfclean import distance_ratio, lad_scores, nearest_pairs
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows, pair_distance_quantile
from tests.helpers.reference import (
    KINDS,
    SELFCLEAN_1K,
    all_pairs,
    automatic_threshold,
    dendrogram,
    distance_matrix,
    label_scores,
    lad,
    random_vectors,
)

TOP = (10, 50, 100, 300)


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[Any]]:
    with np.load(SELFCLEAN_1K) as data:
        return dict(data)


@pytest.fixture(scope="module")
def scored(reference: dict[str, NDArray[Any]]) -> Scores:
    return score(reference["embeddings"], reference["labels"], method="selfclean")


def worst(scores: NDArray[np.float64], k: int) -> tuple[set[int], set[int]]:
    """Samples surely among the k worst, and those that may be: scores tie."""
    threshold = np.sort(scores)[k - 1]
    return set((scores < threshold - 1e-4).nonzero()[0]), set((scores <= threshold + 1e-4).nonzero()[0])


def test_pairs_of_the_reference(reference: dict[str, NDArray[np.float64]], scored: Scores) -> None:
    expected = dict(
        zip(map(tuple, reference["near_duplicate_pairs"]), reference["near_duplicate_distance"], strict=True)
    )
    np.testing.assert_allclose(scored.pair_distance[:1000], reference["near_duplicate_distance"], atol=1e-6)
    found = dict(zip(map(tuple, scored.pair_index), scored.pair_distance, strict=True))
    assert expected.keys() <= found.keys()
    assert all(abs(found[pair] - distance) <= 1e-6 for pair, distance in expected.items())
    for k in TOP:
        assert set(map(tuple, scored.pair_index[:k])) == set(map(tuple, reference["near_duplicate_pairs"][:k]))


def test_label_scores_of_the_reference(reference: dict[str, NDArray[np.float64]], scored: Scores) -> None:
    np.testing.assert_allclose(scored.label, reference["label_score"], atol=1e-5)
    for k in TOP:
        sure, possible = worst(reference["label_score"], k)
        assert sure <= set(np.argsort(scored.label, kind="stable")[:k]) <= possible


def test_off_topic_scores_of_the_reference(reference: dict[str, NDArray[np.float64]], scored: Scores) -> None:
    np.testing.assert_allclose(scored.off_topic, reference["off_topic_score"], atol=1e-4)
    for k in TOP:
        sure, possible = worst(reference["off_topic_score"], k)
        assert sure <= set(np.argsort(scored.off_topic, kind="stable")[:k]) <= possible


def test_the_known_issues_of_the_reference_rank_first(
    reference: dict[str, NDArray[np.float64]], scored: Scores
) -> None:
    for truth, values in (("is_off_topic", scored.off_topic), ("is_label_error", scored.label)):
        bad = reference[truth].astype(bool)
        assert (values[bad][:, None] < values[~bad]).mean() > 0.8


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 3, 5, 33, 200])
def test_lad_is_the_plain_recursion(n: int, seed: int) -> None:
    merges = linkage(np.random.default_rng(seed).random(n * (n - 1) // 2), "single")
    np.testing.assert_allclose(lad_scores(merges), lad(merges), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dim"), [(2, 3), (5, 2), (65, 2), (300, 24)])
def test_off_topic_scores_by_brute_force(n: int, dim: int, kind: str) -> None:
    vectors = random_vectors(kind, n, dim, 0)
    d = distance_matrix(UnitRows.of(vectors).values.numpy())
    found = score(vectors, None, method="selfclean")
    assert ((found.off_topic >= 0) & (found.off_topic <= 1)).all()
    if len(np.unique(d[np.triu_indices(n, 1)])) == n * (n - 1) // 2:  # ties may be joined in any order
        np.testing.assert_allclose(found.off_topic, lad(dendrogram(d)), atol=1e-6)


def test_lad_of_a_chain_does_not_recurse() -> None:
    n = 20_000
    sizes = np.arange(2, n + 1)
    merges = np.stack(
        [np.r_[0, np.arange(2, n)], np.r_[1, np.arange(n, 2 * n - 2)], np.linspace(0, 1, n - 1), sizes], 1
    )
    scores = lad_scores(merges)
    assert np.isfinite(scores).all()
    assert (np.diff(scores[2:]) <= 0).all()  # what joins later comes first


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "dim", "classes"), [(3, 2, 2), (33, 1, 3), (65, 2, 10), (150, 24, 4), (40, 8, 30)])
def test_label_scores_by_brute_force(n: int, dim: int, classes: int, kind: str) -> None:
    vectors, labels = random_vectors(kind, n, dim, 1), np.random.default_rng(n).integers(0, classes, n)
    labels[:2] = 0, 1
    d = distance_matrix(UnitRows.of(vectors).values.numpy())
    np.testing.assert_allclose(score(vectors, labels, method="selfclean").label, label_scores(d, labels), atol=1e-5)


def test_label_score_of_copies_of_both_kinds_is_defined() -> None:
    a, b = np.array([0.0, 0.0, 0.2, np.float32(1e-30)]), np.array([0.0, 0.2, 0.0, 0.2])
    np.testing.assert_array_equal(distance_ratio(a, b), [0.5, 1.0, 0.0, 1.0])


def pairs_of(x: UnitRows, k: int, at_least: int, below: float, at_most: int = 10**6) -> Pairs:
    return nearest_pairs(x, nearest_neighbors(x, k), at_least, below, at_most)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("n", "k", "at_least", "below"), [(2, 16, 9, 0.0), (30, 3, 10**6, 0.0), (65, 2, 100, 0.3), (200, 5, 7, 0.1)]
)
def test_pairs_by_brute_force(n: int, k: int, at_least: int, below: float, kind: str) -> None:
    x = UnitRows.of(random_vectors(kind, n, 6, 2))
    d = distance_matrix(x.values.numpy())
    expected = all_pairs(d)
    found = pairs_of(x, k, at_least, below)
    wanted = max(min(at_least, len(expected)), sum(distance < below for distance, _, _ in expected))
    assert len(found.index) == wanted
    np.testing.assert_allclose(
        found.distance, [distance for distance, _, _ in expected[:wanted]], rtol=1e-6, atol=1e-14
    )
    np.testing.assert_allclose(found.distance, d[tuple(found.index.T)], rtol=1e-6, atol=1e-14)
    assert (found.index[:, 0] < found.index[:, 1]).all()
    assert len(np.unique(found.index, axis=0)) == wanted
    check_complete(found, d)


def check_complete(found: Pairs, d: NDArray[np.float64]) -> None:
    """Every pair that lies clearly below `complete_below` is listed."""
    first, second = np.triu(d < found.complete_below * (1 - 1e-6), 1).nonzero()
    assert set(zip(first.tolist(), second.tolist(), strict=True)) <= set(map(tuple, found.index.tolist()))


def test_pairs_where_every_list_reaches_far_enough() -> None:
    x = UnitRows.of(random_vectors("gauss", 40, 6, 2))
    found = nearest_pairs(x, nearest_neighbors(x, 20), 5, 1e-9, 100)
    assert len(found.index) == 5
    check_complete(found, distance_matrix(x.values.numpy()))


@pytest.mark.parametrize("at_most", [50, 333, 5000])
@pytest.mark.parametrize("kind", ["gauss", "collapsed", "copies", "positive"])
def test_a_cap_on_the_pairs_is_honest(kind: str, at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    split: Callable[..., Any] = torch.Tensor.split
    monkeypatch.setattr(
        torch.Tensor, "split", lambda self, size, dim=0: split(self, min(size, 40), dim)
    )  # as if N were large
    x = UnitRows.of(random_vectors(kind, 300, 6, 2))
    d = distance_matrix(x.values.numpy())
    found = pairs_of(x, 4, 10, 0.9, at_most)
    assert len(found.index) == at_most
    assert found.complete_below < 0.9
    np.testing.assert_allclose(found.distance, [p[0] for p in all_pairs(d)[:at_most]], rtol=1e-6, atol=1e-14)
    check_complete(found, d)


def test_a_cap_filled_by_copies_says_that_nothing_is_complete() -> None:
    vectors = random_vectors("gauss", 100, 6, 0)
    vectors[:60] = vectors[0]
    found = pairs_of(UnitRows.of(vectors), 4, 10, 0.5, at_most=200)
    assert (found.distance == 0).all()
    assert found.complete_below == 0


@pytest.mark.parametrize(("kind", "n"), [("gauss", 200), ("clustered", 500), ("positive", 500), ("copies", 300)])
def test_automatic_threshold_of_pairs_by_brute_force(kind: str, n: int) -> None:
    vectors = random_vectors(kind, n, 16, 5)
    d = distance_matrix(UnitRows.of(vectors).values.numpy())
    pairs = d[np.triu_indices(n, 1)]
    found = score(vectors, None, method="selfclean").automatic["near_duplicates"]
    assert found == pytest.approx(automatic_threshold(pairs, 0.01, n / len(pairs)), rel=0.02)


def test_pair_quantiles_from_a_sample_of_rows_are_near_those_of_all_pairs() -> None:
    x = UnitRows.of(random_vectors("clustered", 600, 16, 5))
    pairs = distance_matrix(x.values.numpy())[np.triu_indices(600, 1)]
    for p in (0.01, 0.07, 0.5, 0.99):
        assert pair_distance_quantile(x)(p) == pytest.approx(np.quantile(pairs, p), rel=0.02)
        assert pair_distance_quantile(x, budget=600 * 200)(p) == pytest.approx(np.quantile(pairs, p), rel=0.2)


def test_there_are_no_quantiles_where_all_distances_are_zero() -> None:
    assert np.isnan(pair_distance_quantile(UnitRows.of(np.ones((5, 3)) * np.arange(1, 6)[:, None]))(0.1))


def test_automatic_thresholds_of_samples_by_brute_force() -> None:
    vectors, labels = random_vectors("clustered", 300, 16, 5), np.random.default_rng(0).integers(0, 4, 300)
    found = score(vectors, labels, method="selfclean")
    for issue, values in (("off_topic", found.off_topic), ("label_errors", found.label)):
        assert found.automatic[issue] == pytest.approx(automatic_threshold(values, 0.1, 1), rel=1e-9)
