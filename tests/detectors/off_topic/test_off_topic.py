"""The off-topic scores and their calibration against slow, obvious twins, and properties that must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import ClusterNode, single, to_tree
from scipy.spatial.distance import squareform

from selfclean_hooks import audit_embeddings
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.image_view import edges_and_colours
from selfclean_hooks.detectors.off_topic.branches import (
    find_branches,
)
from selfclean_hooks.detectors.off_topic.calibration import class_groups, off_topic_calibration
from selfclean_hooks.detectors.off_topic.detector import BranchOffTopic, best_of_copies, off_topic_scores
from selfclean_hooks.detectors.off_topic.distances import blend, distance_to_classes, evenly_spaced, relation, whiten
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
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
    return found_in(vectors, labels).score


def found_in(vectors: Doubles, labels: Ints | None) -> Finding:
    x = UnitRows.of(vectors)
    near = nearest_neighbors(x, 20)
    return BranchOffTopic()(Geometry(x, labels, near, minimum_spanning_tree(x, near), lambda q: q))


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
            part = child is one or len(inside) > n * (0.06 if labels is None else 0.25)
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


def slow_whitened(vectors: Doubles) -> Doubles:
    """By the eigenvectors of the covariance."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    values, axes = np.linalg.eigh(np.cov(centred.T, bias=True))
    kept = values > 1e-9
    whitened = centred @ axes[:, kept] / np.sqrt(values[kept] + values[kept].mean())
    return np.asarray(whitened / np.linalg.norm(whitened, axis=1, keepdims=True))


def slow_distance_to_classes(
    distances: Doubles, branch: list[set[int]], labels: Ints | None, fraction: float
) -> Doubles:
    n, found = len(distances), []
    large = [] if labels is None else [c for c in sorted(set(labels.tolist())) if (labels == c).sum() >= 20]
    classes = [[i for i in range(n) if labels is not None and labels[i] == c] for c in large]
    rest = [i for i in range(n) if labels is None or labels[i] not in large]
    for i in range(n):
        nearest = [1.0]
        for members in (*classes, *([rest] if rest else [])):
            k = min(max(3, round(fraction * len(members))), max(3, round(0.03 * n)), len(members))
            outside = sorted(distances[i, j] for j in members if j not in branch[i])
            nearest += [outside[k - 1]] if len(outside) >= k else []
        found.append(min(nearest))
    return np.array(found)


@pytest.mark.parametrize(("n", "classes", "seed"), [(20, 2, 0), (60, 3, 1), (150, 6, 2), (150, 1, 3)])
@pytest.mark.parametrize("labelled", [True, False])
def test_scores_equal_a_slow_twin(n: int, classes: int, seed: int, labelled: bool) -> None:
    vectors, labels = clouds(n, classes, n // 10, seed, tight=seed % 2 == 0)
    given = labels if labelled else None
    distances = slow_distances(vectors)
    height, branch = slow_branches(distances, given)
    plain = slow_distance_to_classes(distances, branch, given, 0.1)
    whitened = slow_distance_to_classes(slow_distances(slow_whitened(vectors)), branch, given, 0.03)
    logs = np.log(np.stack([height, plain, whitened]) + 1e-4)
    middle = np.median(logs, axis=1)
    spread = np.quantile(logs, 0.8, axis=1) - middle
    units = [(logs[view] - middle[view]) / spread[view] for view in range(3)]
    slow = 1 + 1e-4 - np.exp(middle.mean() + spread.min() * np.mean(units, axis=0))
    np.testing.assert_allclose(score_of(vectors, given), slow, atol=2e-5)


def test_many_references_are_stood_for_by_some() -> None:
    vectors, labels = clouds(3000, 5, 60, 0)
    x, alone = UnitRows.of(vectors), np.arange(3060)
    whole, some = (
        distance_to_classes(x, alone, class_groups(len(c), labels[c], 20), c, 0.1)
        for c in (evenly_spaced(3060, 4000), evenly_spaced(3060, 500))
    )
    assert np.corrcoef(np.log(whole), np.log(some))[0, 1] > 0.99
    assert np.abs(np.log(whole / some)).mean() < 0.1


def test_directions_are_whitened_from_some_samples() -> None:
    vectors, _ = clouds(3000, 5, 0, 0)
    x = UnitRows.of(vectors).values
    some, whole = whiten(x).numpy()[:40], slow_whitened(vectors)[:40]
    assert np.corrcoef((some @ some.T).ravel(), (whole @ whole.T).ravel())[0, 1] > 0.99
    assert whiten(x[:1].expand(30, -1)).shape == (30, 0)  # rows that are all the same vary in no direction


def test_no_distance_decides_alone() -> None:
    rng = np.random.default_rng(0)
    narrow, wide = np.exp(rng.normal(-2, 0.05, 500)), np.exp(rng.normal(-4, 0.8, 500))
    blended = blend(np.stack([narrow, wide])).distance()
    apart = [np.corrcoef(np.log(blended + 1e-4), np.log(d))[0, 1] for d in (narrow, wide)]
    assert apart[0] == pytest.approx(apart[1], abs=0.1)
    assert blended.max() <= 1


def test_weights_of_distances_by_hand() -> None:
    rng = np.random.default_rng(0)
    distances = np.exp(rng.normal(-3, 0.4, (3, 50)))
    weighted, twice = blend(distances, np.array([1.0, 1, 2])), blend(distances[[0, 1, 2, 2]])
    np.testing.assert_allclose(weighted.distance(), twice.distance(), atol=1e-3)
    np.testing.assert_array_equal(blend(distances, np.ones(3)).units, blend(distances).units)


def test_the_farthest_stay_apart_below_a_distance_of_1() -> None:
    found = blend(np.exp(np.random.default_rng(0).normal(-0.5, 0.1, (2, 50))).clip(0, 1))
    far = found._replace(units=found.units + 40 * (np.arange(50) > 45)).distance()
    assert far.max() == pytest.approx(1)
    assert (np.argsort(far) == np.argsort(found.units + 40 * (np.arange(50) > 45))).all()


def slow_relation(x: Doubles, view: Doubles) -> float:
    """All samples are asked, one pair after the other."""
    n, share = len(x), []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        near = sorted(others, key=lambda j: -float(view[i] @ view[j]))[:10]
        share += [sum(float(x[i] @ x[k]) > float(x[i] @ x[j]) for k in others) / n for j in near]
    return float(np.clip((0.375 - np.mean(share)) / 0.125, 0, 1))


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.2, 1.6, 9.0])
def test_relation_of_a_view_equals_a_slow_twin(noise: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 6))
    x, view = UnitRows.of(rows).values, UnitRows.of(rows + noise * rng.normal(size=rows.shape)).values
    found = relation(x, view)
    assert found == pytest.approx(slow_relation(x.numpy().astype(float), view.numpy().astype(float)), abs=0.01)
    assert {0.0: 1.0, 9.0: 0.0}.get(noise, found) == found


@pytest.mark.parametrize("n", [2, 3, 12])
def test_relation_of_few_samples(n: int) -> None:
    x = UnitRows.of(np.random.default_rng(n).normal(size=(n, 4))).values
    assert 0 <= relation(x, x) <= 1


def of_two_colours(n: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Ints]:
    """Miniatures of two classes of one colour each."""
    labels = np.arange(n) % 2
    colour = np.array([[200, 60, 60], [60, 60, 200]])[labels][:, None, None]
    return (colour + rng.integers(-40, 40, (n, 16, 16, 3))).astype(np.uint8), labels


def test_images_count_where_they_see_what_the_embedding_sees() -> None:
    """What the embedding hardly sees is found by its colours; where these mean nothing else, they change nothing."""
    rng = np.random.default_rng(0)
    images, labels = of_two_colours(400, rng)
    images[:8, :, :, 1], images[:8, :, :, 0] = 250, 0
    rows = np.eye(2)[labels] @ rng.normal(size=(2, 24)) * 2 + rng.normal(size=(400, 24))
    for vectors, counts in ((rows, True), (rng.normal(size=(400, 24)), False)):
        x = UnitRows.of(vectors)
        branches = find_branches(minimum_spanning_tree(x, nearest_neighbors(x, 20)).linkage(), labels)[:2]
        plain, seen = (off_topic_scores(x, *branches, labels, given)[0] for given in (None, images))
        assert (relation(x.values, UnitRows.of(edges_and_colours(images)).values) > 0) is counts
        if counts:
            rank = [np.argsort(np.argsort(score))[:8].mean() for score in (plain, seen)]
            assert rank[1] < rank[0] / 3
        else:
            np.testing.assert_array_equal(plain, seen)
        with_images, without = (off_topic_scores(x, *branches, None, given)[0] for given in (images, None))
        np.testing.assert_array_equal(with_images, without)


def test_order_of_samples_does_not_matter() -> None:
    vectors, labels = clouds(300, 4, 20, 0)
    order = np.random.default_rng(1).permutation(len(vectors))
    np.testing.assert_allclose(score_of(vectors, labels)[order], score_of(vectors[order], labels[order]), atol=2e-6)
    score = score_of(vectors, labels)
    one, two = off_topic_calibration(score, labels), off_topic_calibration(score[order], labels[order])
    np.testing.assert_allclose(clean_of(score, one), clean_of(score, two), atol=1e-9)


@pytest.mark.parametrize("tight", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("off", [10, 60])
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
    for seed in range(3 if n > 100 else 10):
        vectors, labels = clouds(n, classes, 0, seed)
        found = found_in(vectors, labels if classes > 1 else None)
        flagged.append((found.score < found.automatic).mean())
    assert np.mean(flagged) <= 0.01


def test_copies_are_on_topic() -> None:
    vectors, labels = clouds(400, 4, 0, 0)
    copies = np.repeat(vectors[:10], 8, axis=0)
    score = score_of(np.concatenate([vectors, copies]), np.concatenate([labels, np.repeat(labels[:10], 8)]))
    assert (score[:400] > score_of(vectors, labels) - 0.05).all()
    np.testing.assert_allclose(score[:10], score[400::8], atol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 40])
def test_few_and_identical_samples(n: int) -> None:
    rows = np.ones((n, 3))
    labels = np.zeros(n, np.int64)
    assert score_of(rows, labels).min() > 0.99
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


@pytest.mark.parametrize("missing", [0.3, 0.6, 0.9])
def test_where_many_labels_are_missing_no_class_is_off_topic(missing: float) -> None:
    rng = np.random.default_rng(1)
    y = np.arange(120) % 3
    x = np.clip(rng.normal(80 + 50 * y[:, None], 20, (120, 300)), 0, 255)  # of unequal spread, seen from the origin
    labels = np.where(rng.random(120) < missing, -1, y)
    assert len(audit_embeddings(x, labels).worst("off_topic")) == 0


def test_a_class_apart_is_not_off_topic() -> None:
    vectors, labels = clouds(400, 4, 0, 0)
    vectors[labels == 3] -= np.eye(1, 16)[0] * 8  # on the other side of the sphere
    assert score_of(vectors, labels)[labels == 3].min() > score_of(vectors, labels).min() * 0.9
    assert score_of(vectors, labels)[labels == 3].mean() > score_of(vectors, None)[labels == 3].mean() - 0.05


@pytest.mark.parametrize(
    "pairs", [[], [(0, 3)], [(0, 3), (3, 5), (1, 2)], [(a, b) for b in range(8) for a in range(b)]]
)
def test_copies_are_on_topic_as_far_as_the_best_of_them(pairs: list[tuple[int, int]]) -> None:
    score = np.random.default_rng(1).random(8)
    slow = score.copy()
    for _ in score:
        for a, b in pairs:
            slow[a] = slow[b] = max(slow[a], slow[b])
    assert best_of_copies(score, np.array(pairs, int).reshape(-1, 2)).tolist() == slow.tolist()
