"""Groups, classes and series: what lies apart together is a class, or counts once."""

from __future__ import annotations

import numpy as np
import pytest

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.off_topic.branches import (
    MAX_IN_SERIES,
    SERIES_RATIO,
    USUAL,
    find_branches,
    independent_samples,
)
from selfclean_hooks.detectors.protocol import Finding
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.detectors.off_topic.test_off_topic import Doubles, Ints, clouds, found_in


def both_ways(vectors: Doubles, labels: Ints) -> tuple[Finding, Finding]:
    return found_in(vectors, None), found_in(vectors, labels)


def calibration_of(found: Finding) -> Calibration:
    assert found.calibration
    return found.calibration


def groups(*sizes: int) -> tuple[Doubles, Ints]:
    """One cloud a size in 16 dimensions, each far from the others."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(16)[labels] * 4 + np.random.default_rng(0).normal(0, 0.3, (len(labels), 16)), labels


def test_a_group_that_may_be_a_class_widens_the_interval() -> None:
    vectors, labels = groups(560, 60)
    most = [calibration_of(found).estimate_count(found.score)[2] for found in both_ways(vectors, labels)]
    assert most[0] >= 60 > most[1]


def test_of_groups_without_labels_no_number_is_known_though_what_is_in_none_is_flagged() -> None:
    vectors, labels = groups(*[80] * 6)
    strange = np.random.default_rng(1).normal(0, 1, (5, 16)) - 2
    alone, labelled = both_ways(np.concatenate([vectors, strange]), np.append(labels, [0, 1, 2, 3, 4]))
    assert "groups apart" in calibration_of(alone).unknown
    assert not calibration_of(labelled).unknown
    for found in (alone, labelled):
        assert (found.score < found.automatic).nonzero()[0].tolist() == [480, 481, 482, 483, 484]


def test_branches_of_a_chain() -> None:
    """Four samples in a row: the two nearest are the body, the others leave it one by one."""
    linkage = np.array([[0, 1, 0.1, 2], [2, 4, 0.2, 3], [3, 5, 0.4, 4]])
    height, branch, may_be_class = find_branches(linkage)
    np.testing.assert_allclose(height, [0.1, 0.1, 0.2, 0.4])
    assert not may_be_class.any()
    np.testing.assert_array_equal(branch, [0, 1, 2, 3])


def series(objects: int, shots: int, spread: float, seed: int = 0) -> tuple[Doubles, Ints]:
    """(N, 48) shots of objects, and which one each is of."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(objects), shots)
    return rng.normal(size=(objects, 48))[of] + spread * rng.normal(size=(len(of), 48)), of


@pytest.mark.parametrize(("shots", "singles"), [(4, 30), (2, 700), (3, 2), (1, 0)])
def test_one_of_a_series_is_counted_where_many_samples_are_in_one(shots: int, singles: int) -> None:
    vectors, _ = series(20, shots, 0.01)
    vectors = np.concatenate([vectors, np.random.default_rng(1).normal(size=(singles, 48))])
    x = UnitRows.of(vectors)
    tree = minimum_spanning_tree(x, nearest_neighbors(x, min(16, len(x) - 1)))
    height = find_branches(tree.linkage()).height
    group = np.arange(len(vectors))
    for (one, other), length in zip(tree.edges.tolist(), tree.lengths.tolist(), strict=True):
        if length <= SERIES_RATIO * max(height[one], np.quantile(height, USUAL)):
            group[group == group[other]] = group[one]
    alone = np.isin(group, np.flatnonzero(np.bincount(group) == 1)).mean()
    counted = independent_samples(tree, height)
    assert set(group[counted]) == set(group)
    assert len(counted) == (len(set(group)) if 1 - alone > MAX_IN_SERIES else len(vectors))


@pytest.mark.parametrize(("objects", "shots", "spread"), [(25, 18, 0.03), (11, 70, 0.06), (12, 9, 0.04)])
@pytest.mark.parametrize("labelled", [False, True])
def test_series_of_shots_are_not_off_topic(objects: int, shots: int, spread: float, labelled: bool) -> None:
    """An object a little farther from the others than these are from each other is an object like them."""
    vectors, of = series(objects, shots, spread, seed=3)
    found = found_in(vectors, of % 3 if labelled else None)
    assert not (found.score < found.automatic).any()


@pytest.mark.parametrize(("shots", "others"), [(230, 60), (900, 170)])
def test_what_lies_beside_many_shots_of_one_thing_is_not_off_topic(shots: int, others: int) -> None:
    rng = np.random.default_rng(shots)
    vectors = rng.normal(size=48) + 0.6 * rng.normal(size=(others, 48))
    vectors = np.concatenate([vectors, vectors[:1] + 0.01 * rng.normal(size=(shots, 48))])
    found = found_in(vectors, None)
    assert not (found.score < found.automatic).any()


def test_copied_data_have_the_off_topic_samples_that_they_had() -> None:
    vectors, labels = clouds(300, 3, 12, seed=5)
    once = found_in(vectors, labels)
    copied = vectors + 0.003 * np.random.default_rng(2).normal(size=vectors.shape)
    twice = found_in(np.concatenate([vectors, copied]), np.tile(labels, 2))
    flagged = np.flatnonzero(once.score < once.automatic)
    assert len(flagged)
    again = twice.score < twice.automatic
    np.testing.assert_array_equal(again[: len(vectors)], again[len(vectors) :])
    assert again[flagged].mean() >= 0.9
    assert again.sum() <= 2.5 * len(flagged)


@pytest.mark.parametrize("copies", [15, 60])
def test_copies_of_one_sample_on_topic_are_on_topic(copies: int) -> None:
    vectors, labels = clouds(240, 4, 0, seed=7)
    far = int(found_in(vectors, labels).score.argmin())
    again = vectors[far] + 0.001 * np.random.default_rng(3).normal(size=(copies, vectors.shape[1]))
    found = found_in(np.concatenate([vectors, again]), np.append(labels, np.full(copies, labels[far])))
    assert (found.score < found.automatic).sum() <= 2


@pytest.mark.parametrize("distance", [5.0, 8.0])
def test_small_classes_that_lie_apart_together_are_classes(distance: float) -> None:
    """Sandals, sneakers and boots among dresses."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(14), 11 * [13] + 3 * [8])
    apart = labels >= 11
    axis = np.where(apart[:, None], distance * np.eye(24)[1], 3 * np.eye(24)[0])
    vectors = axis + 0.5 * rng.normal(size=(14, 24))[labels]
    vectors += np.where(apart, 0.6, 0.35)[:, None] * rng.normal(size=(167, 24))
    found = found_in(vectors, labels)
    assert not (found.score < found.automatic).any()
