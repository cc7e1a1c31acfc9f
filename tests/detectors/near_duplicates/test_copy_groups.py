"""Groups of copies: found as by a recursion over the tree, of any size, and no classes of like samples."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from selfclean_hooks.detectors.near_duplicates.copy_groups import (
    neighbors_beyond_groups,
)
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from tests.detectors.near_duplicates.near_duplicate_findings import flags, found, gaussian, geometry, groups_of


def slow_groups(vectors: NDArray[np.floating], ratio: float) -> list[set[int]]:
    """The largest branches of scipy's tree, apart from nearly the whole, that are complete at `ratio` of their exit."""
    x = UnitRows.of(np.asarray(vectors, np.float32)).values.double().numpy()
    root, nodes = hierarchy.to_tree(hierarchy.linkage(pdist(x, "sqeuclidean") / 4, "single"), rd=True)
    above = {child.id: node for node in nodes for child in (node.left, node.right) if child is not None}
    groups: list[set[int]] = []
    for node in reversed(nodes):
        members = set(node.pre_order())
        if node.is_leaf() or node is root or any(members <= group for group in groups):
            continue
        is_tight = node.dist <= ratio**2 * above[node.id].dist
        if is_tight and len(x) - len(members) >= 0.05 * len(x):
            groups.append(members)
    return groups


@pytest.mark.parametrize("noise", [0.005, 0.05, 0.15])
@pytest.mark.parametrize("sizes", [[2] * 30, [3, 9, 40, 120], [200]])
def test_groups_are_those_of_a_recursion_over_the_tree(sizes: list[int], noise: float) -> None:
    rng, dim = np.random.default_rng(len(sizes)), 30
    copies = np.repeat(gaussian(len(sizes), dim, 7), sizes, 0)
    vectors = np.concatenate([gaussian(150, dim), copies + noise * rng.normal(size=copies.shape)])
    first = groups_of(geometry(vectors)).first
    fast = {frozenset((first == at).nonzero()[0].tolist()) for at in np.unique(first)}
    assert {group for group in fast if len(group) > 1} == {frozenset(g) for g in slow_groups(vectors, 0.2)}


def test_neighbors_beyond_groups_are_the_nearest_of_other_groups() -> None:
    rng = np.random.default_rng(0)
    copies = np.repeat(gaussian(12, 20, 3), 25, 0)
    vectors = np.concatenate([gaussian(60, 20), copies + 0.01 * rng.normal(size=copies.shape)])
    data = geometry(vectors)
    groups = groups_of(data)
    lists = data.neighbors.indices.numpy(), data.neighbors.distances.numpy()
    near, beyond = neighbors_beyond_groups(data.x, *lists, groups)
    x, firsts = data.x.values.double().numpy(), groups.originals
    assert len(firsts) == 72
    for row, at in enumerate(firsts.tolist()):
        assert not (set(near[row].tolist()) - set(firsts.tolist())) | ({at} & set(near[row].tolist()))
        assert len(set(near[row].tolist())) == near.shape[1]
        own = (groups.first == at).nonzero()[0]
        gaps = {
            other: ((x[own][:, None] - x[groups.first == other][None]) ** 2).sum(2) / 4
            for other in firsts.tolist()
            if other != at
        }
        k = near.shape[1]
        assert (beyond[row] >= np.sort([gap.min() for gap in gaps.values()])[:k] - 1e-6).all()
        assert (beyond[row] <= np.sort([gap.max() for gap in gaps.values()])[:k] + 1e-6).all()


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(
    ("singles", "sizes"),
    [
        (0, [2] * 150),
        (0, [7] * 60),
        (150, [5] * 150),
        (300, [13] * 15),
        (250, [40] * 15),
        (400, [300] * 2),
        (450, [900]),
    ],
)
def test_groups_of_copies_of_any_size_are_found_and_counted(singles: int, sizes: list[int], noise: float) -> None:
    rng, dim = np.random.default_rng(sizes[0]), 40
    copies = np.repeat(gaussian(len(sizes), dim, 5), sizes, 0)
    vectors = np.concatenate([gaussian(singles, dim, 6), copies + noise * rng.normal(size=copies.shape)])
    finding = found(vectors)
    flagged = flags(finding)
    assert flagged[singles:].mean() >= 0.95
    assert flagged[:singles].sum() <= 0.01 * len(vectors)
    assert finding.calibration is not None
    assert finding.calibration.estimate_count(finding.score)[0] == pytest.approx(len(copies), rel=0.1)


@pytest.mark.parametrize("spread", [0.15, 0.3, 0.45])
@pytest.mark.parametrize(("objects", "shots"), [(50, 9), (12, 10), (70, 2), (30, 20)])
def test_classes_of_like_samples_are_no_copies(objects: int, shots: int, spread: float) -> None:
    labels = np.arange(objects * shots) % objects
    vectors = gaussian(objects, 64)[labels] + spread * gaussian(len(labels), 64, 1)
    assert flags(found(vectors, labels)).mean() <= 0.02


@pytest.mark.parametrize(
    ("objects", "shots", "spread"),
    [(50, 9, 0.35), (12, 10, 0.35), (70, 2, 0.35), (200, 3, 0.35), (50, 9, 0.5), (80, 5, 0.6), (45, 7, 0.7)],
)
def test_groups_of_like_samples_without_labels_are_not_flagged_and_not_counted(
    objects: int, shots: int, spread: float
) -> None:
    like = np.arange(objects * shots) % objects
    finding = found(gaussian(objects, 64)[like] + spread * gaussian(len(like), 64, 1))
    assert flags(finding).mean() <= 0.02
    assert finding.calibration is not None
    assert finding.calibration.unknown
    assert np.isnan(finding.calibration.estimate_count(finding.score)).all()


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("sizes", [[25], [3] * 30, [7] * 8, [70, 4, 4], [250], [700]])
def test_what_may_be_copies_with_noise_is_in_the_interval_or_no_number_is_claimed(
    sizes: list[int], with_labels: bool
) -> None:
    copies = np.repeat(gaussian(len(sizes), 40, 5), sizes, 0)
    vectors = np.concatenate([gaussian(400, 40, 6), copies + 0.22 * gaussian(len(copies), 40, 7)])
    labels = np.append(np.arange(400) % 8, np.repeat(np.arange(len(sizes)) % 8, sizes)) if with_labels else None
    finding = found(vectors, labels)
    assert flags(finding)[:400].mean() <= 0.01
    assert finding.calibration is not None
    if not finding.calibration.unknown:
        _, low, high = finding.calibration.estimate_count(finding.score)
        assert low - 1 <= len(copies) <= high
    else:
        assert sum(sizes) > 0.15 * len(vectors)


@pytest.mark.parametrize("dim", [2, 3, 5, 9, 30, 100])
def test_samples_without_groups_are_counted(dim: int) -> None:
    finding = found(gaussian(420, dim))
    assert finding.calibration is not None
    assert not finding.calibration.unknown


@pytest.mark.parametrize(("copies", "noise"), [(120, 0.003), (330, 0.015)])
def test_copies_that_are_most_of_a_class_are_copies(copies: int, noise: float) -> None:
    rng = np.random.default_rng(copies)
    labels = np.append(np.arange(180) % 3, np.ones(copies, np.int64))
    vectors = 0.6 * gaussian(180, 48) + 1.0 * gaussian(3, 48, 5)[labels[:180]]
    vectors = np.concatenate([vectors, vectors[1:2] + noise * rng.normal(size=(copies, 48))])
    finding = found(vectors, labels)
    assert (finding.score[180:] < 0.1).all()
    assert flags(finding).sum() == copies + 1


def test_collapsed_features_of_a_trained_network_are_no_copies() -> None:
    labels = np.arange(600) % 4
    vectors = gaussian(4, 64)[labels] + 0.1 * gaussian(600, 64, 1)
    assert flags(found(vectors, labels)).mean() <= 0.01
    assert flags(found(vectors)).mean() <= 0.01
