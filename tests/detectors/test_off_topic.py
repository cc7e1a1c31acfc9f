"""The off-topic scores and their calibration against slow, obvious twins, and properties that must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import ClusterNode, single, to_tree
from scipy.spatial.distance import squareform
from scipy.stats import gamma

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.off_topic import distance_to_rest, find_branches, off_topic_scores
from selfclean_hooks.detectors.off_topic_calibration import local_false_discovery_rate, off_topic_calibration
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


def clouds(n: int, classes: int, off: int, seed: int, dim: int = 16, tight: bool = False) -> tuple[Doubles, Ints]:
    """Classes around centres near each other, and `off` samples, the last, far from all: (N, D) and labels."""
    rng = np.random.default_rng(seed)
    base = np.zeros(dim)
    base[0] = 4
    labels = np.arange(n) % classes
    rows = base + rng.normal(0, 0.8, (classes, dim))[labels] + rng.normal(0, 0.6, (n, dim))
    strange = rng.normal(0, 1, (off, dim)) * 2
    if tight:
        strange = -base + rng.normal(0, 0.1, (off, dim))
    labels = np.concatenate([labels, rng.integers(0, classes, off)])
    return np.concatenate([rows, strange]), labels.astype(np.int64)


def score_of(vectors: Doubles, labels: Ints | None) -> Doubles:
    x = UnitRows.of(vectors)
    return off_topic_scores(x, minimum_spanning_tree(x, nearest_neighbors(x, 20)), labels)


def clean_of(score: Doubles, found: Calibration) -> Doubles:
    return np.interp(score, found.score, found.clean)


def slow_distances(vectors: Doubles) -> Doubles:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.array([[((a - b) ** 2).sum() / 4 for b in unit] for a in unit])


def slow_branches(distances: Doubles, labels: Ints | None) -> tuple[Doubles, list[set[int]]]:
    """Recursive, with sets."""
    n = len(distances)
    height, branch = np.zeros(n), [set[int]() for _ in range(n)]

    def body(node: ClusterNode) -> None:
        below = [child for child in (node.left, node.right) if child is not None]
        one, two = sorted(below, key=lambda child: (-child.count, child.id))
        for child in (one, two):
            inside = set(child.pre_order(lambda leaf: leaf.id))
            part = child is one or len(inside) > n / (10 if labels is None else 4)
            if labels is not None and len(inside) >= 5 and len(set(labels.tolist())) > 1:
                held = [[i for i in inside if labels[i] == label] for label in sorted(set(labels.tolist()))]
                members = max(held, key=len)
                part |= len(members) >= max((labels == labels[members[0]]).sum(), len(inside)) / 2
            if part and child.count > 1:
                body(child)
            else:
                for i in inside:
                    height[i], branch[i] = node.dist, inside

    body(to_tree(single(squareform(distances, checks=False))))
    return height, branch


@pytest.mark.parametrize(("n", "classes", "seed"), [(20, 2, 0), (60, 3, 1), (150, 10, 2), (150, 1, 3)])
@pytest.mark.parametrize("labelled", [True, False])
def test_scores_equal_a_slow_twin(n: int, classes: int, seed: int, labelled: bool) -> None:
    vectors, labels = clouds(n, classes, n // 10, seed, tight=seed % 2 == 0)
    given = labels if labelled else None
    distances = slow_distances(vectors)
    height, branch = slow_branches(distances, given)
    k = max(5, round(0.03 * len(vectors)))
    others = [[j for j in range(len(vectors)) if j not in own] for own in branch]
    rest = [sorted(distances[i, j] for j in outside)[k - 1] for i, outside in enumerate(others)]
    np.testing.assert_allclose(score_of(vectors, given), 1 - np.sqrt(height * np.array(rest)), atol=2e-6)


def test_many_references_are_stood_for_by_some() -> None:
    vectors, labels = clouds(3000, 5, 60, 0)
    x = UnitRows.of(vectors)
    alone = np.arange(len(vectors))
    whole, some = distance_to_rest(x, alone, 4000), distance_to_rest(x, alone, 500)
    assert np.corrcoef(np.log(whole), np.log(some))[0, 1] > 0.99
    assert np.abs(np.log(whole / some)).mean() < 0.1
    assert labels.max() == 4


def test_order_of_samples_does_not_matter() -> None:
    vectors, labels = clouds(300, 4, 20, 0)
    order = np.random.default_rng(1).permutation(len(vectors))
    np.testing.assert_allclose(score_of(vectors, labels)[order], score_of(vectors[order], labels[order]), atol=2e-6)
    score = score_of(vectors, labels)
    one, two = off_topic_calibration(score, labels), off_topic_calibration(score[order], labels[order])
    np.testing.assert_allclose(clean_of(score, one), clean_of(score, two), atol=1e-9)


@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("off", [10, 50, 100])
def test_off_topic_samples_are_found(tight: bool, labelled: bool, off: int) -> None:
    vectors, labels = clouds(1000, 5, off, 0, dim=32, tight=tight)
    score = score_of(vectors, labels if labelled else None)
    flagged = clean_of(score, off_topic_calibration(score, labels if labelled else None)) < 0.5
    assert score[-off:].max() < np.quantile(score[:-off], 0.05)
    if tight:  # the scattered ones lie too near to the rest of this small set for every fit
        assert flagged[-off:].mean() > 0.9
    assert flagged[:-off].mean() < 0.01


@pytest.mark.parametrize("n", [100, 2000])
@pytest.mark.parametrize("classes", [1, 10])
def test_clean_data_stay_clean(n: int, classes: int) -> None:
    flagged = []
    for seed in range(3):
        vectors, labels = clouds(n, classes, 0, seed)
        score = score_of(vectors, labels)
        flagged.append((clean_of(score, off_topic_calibration(score, labels)) < 0.5).mean())
    assert np.mean(flagged) <= 0.01


def test_copies_are_on_topic() -> None:
    vectors, labels = clouds(400, 4, 0, 0)
    copies = np.repeat(vectors[:10], 8, axis=0)
    score = score_of(np.concatenate([vectors, copies]), np.concatenate([labels, np.repeat(labels[:10], 8)]))
    np.testing.assert_allclose(score[:400], score_of(vectors, labels), atol=0.05)
    np.testing.assert_array_equal(score[:10], score[400::8])


@pytest.mark.parametrize("n", [2, 3, 5, 20, 40])
def test_few_and_identical_samples(n: int) -> None:
    rows = np.ones((n, 3))
    labels = np.zeros(n, np.int64)
    np.testing.assert_array_equal(score_of(rows, labels), 1)
    rows[-1] = [1, -1, 0]
    for given in (labels, np.arange(n), None):
        score = score_of(rows, given)
        found = off_topic_calibration(score, given)
        assert (score >= 0).all()
        assert (score <= 1).all()
        assert np.isfinite(found.clean).all()
        if n >= 20:
            assert score.argmin() == n - 1
            assert clean_of(score, found)[-1] < 0.5


def test_a_class_apart_is_not_off_topic() -> None:
    vectors, labels = clouds(400, 4, 0, 0)
    vectors[labels == 3] -= np.eye(1, 16)[0] * 8  # on the other side of the sphere
    assert score_of(vectors, labels)[labels == 3].min() > score_of(vectors, labels).min() * 0.9
    assert score_of(vectors, labels)[labels == 3].mean() > score_of(vectors, None)[labels == 3].mean() - 0.05


@pytest.mark.parametrize("classes", [1, 7, 1000])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_calibration_is_a_probability_that_rises(classes: int, share: float) -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.beta(20, 2, 2000), rng.beta(2, 20, int(2000 * share))])
    found = off_topic_calibration(score, rng.integers(0, classes, len(score)))
    assert (np.diff(found.score) > 0).all()
    assert (np.diff(found.clean) >= 0).all()
    assert ((found.clean >= 0) & (found.clean <= 1)).all()
    assert found.clean[-1] == 1


@pytest.mark.parametrize("shape", [0.5, 10.0])
def test_local_rate_equals_a_slow_twin(shape: float) -> None:
    rng, law = np.random.default_rng(0), gamma(shape)
    strange = np.concatenate([rng.normal(0, 1, 120), rng.normal(4, 0.5, 10)])
    start, unit = law.ppf(0.5), law.ppf(0.8) - law.ppf(0.5)
    upper = sorted((v for v in strange if v > np.median(strange)), reverse=True)
    expected = [80 * law.sf(start + unit * v) + 40 * law.sf(start + unit * (v - 0.5) / 1.5) for v in upper]
    steps = np.diff([0.0, *expected])
    places = range(len(steps))
    slow = [max(min(steps[a : b + 1].mean() for b in places[i:]) for a in range(i + 1)) for i in places]
    fast = local_false_discovery_rate(
        strange, np.array([80.0, 40.0]), np.array([0.0, 0.5]), np.array([1.0, 1.5]), shape
    )
    np.testing.assert_allclose(np.sort(fast)[: len(upper)], np.minimum(slow, 1), atol=2e-3)


def test_branches_of_a_chain() -> None:
    """Four samples in a row: the two nearest are the body, the others leave it one by one."""
    linkage = np.array([[0, 1, 0.1, 2], [2, 4, 0.2, 3], [3, 5, 0.4, 4]])
    height, branch = find_branches(linkage)
    np.testing.assert_allclose(height, [0.1, 0.1, 0.2, 0.4])
    np.testing.assert_array_equal(branch, [0, 1, 2, 3])
