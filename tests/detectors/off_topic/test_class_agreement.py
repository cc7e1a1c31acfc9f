"""Labels that tell the tail of a class from what belongs to none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.off_topic import detector
from selfclean_hooks.detectors.off_topic.calibration import off_topic_calibration
from selfclean_hooks.detectors.off_topic.class_agreement import ClassAgreement, neighbor_agreement
from selfclean_hooks.detectors.off_topic.detector import BranchOffTopic, automatic_threshold
from selfclean_hooks.detectors.protocol import Geometry
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.testing import digits
from tests.detectors.off_topic.test_off_topic import clouds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def test_agreement_by_hand() -> None:
    rng = np.random.default_rng(0)
    n, k = 60, 30
    labels, branch = rng.integers(-1, 3, n), rng.integers(0, 9, n)
    neighbors = rng.integers(-1, n, (n, k))
    found = neighbor_agreement(labels, branch, neighbors)
    for i in range(n):
        usable = [j for j in neighbors[i] if j >= 0 and labels[j] >= 0 and branch[j] != branch[i]]
        usable = usable[: min(10, max(1, np.count_nonzero(labels == labels[i]) // 2))]
        expected = np.nan if labels[i] < 0 or not usable else np.mean([labels[j] == labels[i] for j in usable])
        assert found[i] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_likelihood_equals_a_slow_twin(share: float) -> None:
    rng = np.random.default_rng(0)
    n, bins, labels = 900, np.minimum(rng.geometric(0.12, 900) - 1, 18), rng.integers(-1, 4, 900)
    agreement = np.where(rng.random(n) < 0.1, np.nan, (0.8 - 0.02 * bins + rng.normal(0, 0.2, n)).clip(0, 1))
    counts = np.bincount(bins, minlength=19).astype(np.float64)
    clean = np.full((2, 19), share) * np.array([[1.0], [0.5]])
    evidence = ClassAgreement.of(agreement, labels, bins, counts)
    assert evidence is not None
    known = [i for i in range(n) if not np.isnan(agreement[i])]
    middle = [i for i in known if 1 <= bins[i] <= 8]
    slope, start = np.polyfit([0.14 * (bins[i] - 0.5) for i in middle], agreement[middle], 1)
    chance = sum((np.count_nonzero(labels == c) / np.count_nonzero(labels >= 0)) ** 2 for c in range(4))
    for row, part in ((0, share), (1, share / 2)):
        slow = np.float64(0)
        for first in range(1, 19, 3):
            together = [b for b in range(first, first + 3) if b < 19]
            values = [agreement[i] for i in known if bins[i] in together]
            if len(values) < 3:
                continue
            z = min(float(np.mean([0.14 * (b - 0.5) for b in together])), 1.75)
            mean = part * max(float(start + slope * z), chance) + (1 - part) * chance
            variance = max(float(np.var(agreement[middle])), 0.01) / len(values) + (0.05 * part) ** 2
            slow -= (np.mean(values) - mean) ** 2 / 2 / variance + np.log(variance) / 2
        assert evidence.log_likelihood(clean)[row] == pytest.approx(slow, rel=1e-9)


def test_few_known_neighbours_say_nothing() -> None:
    counts, bins = np.full(20, 10.0), np.repeat(np.arange(20), 10)
    agreement = np.where(np.arange(200) < 25, 1.0, np.nan)  # 15 of them beyond the median
    assert ClassAgreement.of(agreement, np.arange(200) % 4, bins, counts) is None


@pytest.mark.parametrize("off", [0, 60])
def test_labels_tell_a_tail_from_off_topic_samples(off: int) -> None:
    """The same distances, with labels of neighbours that agree as elsewhere, and with those that agree by chance."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    log_distance = np.sort(np.concatenate([rng.normal(-2, 0.1, 940), rng.normal(-1.72, 0.05, 60)]))
    agreement = np.full(1000, 0.8) + rng.normal(0, 0.1, 1000)
    agreement[1000 - off :] = 0.1
    score = 1 - np.exp(log_distance)
    found = off_topic_calibration(score, labels, agreement=agreement)
    _, fewest, most = found.estimate_count(score)
    assert fewest <= off <= most
    assert (score < automatic_threshold(found)).sum() == pytest.approx(off, abs=15)
    without = off_topic_calibration(score, labels)
    assert without.unknown or without.estimate_count(score)[2] - without.estimate_count(score)[1] > most - fewest


def planted(x: Floats, labels: Ints, number: int, seed: int) -> tuple[Floats, Ints]:
    """With so many samples of noise behind it, whose labels are random."""
    rng = np.random.default_rng(seed)
    noise = rng.permuted(np.tile(np.ravel(x)[: x.shape[1] * 4].reshape(4, -1).max(0), (number, 1)), axis=1)
    noise = noise * rng.random((number, x.shape[1]))
    return np.concatenate([x, noise]), np.concatenate([labels, rng.integers(0, labels.max() + 1, number)])


def test_the_tail_of_handwritten_digits_is_not_off_topic_and_noise_is() -> None:
    images, labels = digits()
    pixels = images.reshape(len(images), -1).astype(np.float64)
    assert audit_embeddings(pixels, labels).decisions.flags["off_topic"].sum() <= 0.01 * len(pixels)
    found = audit_embeddings(*planted(pixels, labels, 40, 1)).decisions.flags["off_topic"]
    assert found[len(pixels) :].sum() >= 36
    assert found[: len(pixels)].sum() <= 8


@pytest.mark.parametrize("per_class", [8, 14, 30])
def test_classes_of_unequal_spread_are_not_off_topic(per_class: int) -> None:
    rng, classes = np.random.default_rng(per_class), 12
    y = np.repeat(np.arange(classes), per_class)
    spread = np.geomspace(0.1, 0.6, classes)
    x = rng.normal(size=(classes, 32))[y] + spread[y, None] * rng.normal(size=(len(y), 32))
    assert audit_embeddings(x, y).decisions.flags["off_topic"].sum() <= max(1, 0.01 * len(x))


@pytest.mark.parametrize(("share", "unknown"), [(0.13, False), (0.2, True), (1.0, True)])
def test_most_samples_are_not_off_topic(share: float, unknown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = UnitRows.of(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
    near = nearest_neighbors(x, 20)
    geometry = Geometry(x, None, near, minimum_spanning_tree(x, near), lambda q: q)
    monkeypatch.setattr(detector, "off_topic_scores", lambda *_: (np.linspace(0, 1, 100), False))
    monkeypatch.setattr(detector, "automatic_threshold", lambda *_: share)
    found = BranchOffTopic()(geometry)
    assert found.calibration is not None
    assert (found.calibration.unknown == detector.TOO_MANY) is unknown
    assert found.automatic == (0 if unknown else share)


@pytest.mark.parametrize(("size", "unknown"), [(60, False), (45, True), (20, True), (15, False)])
def test_most_of_a_class_is_not_off_topic(size: int, unknown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = UnitRows.of(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
    near, labels = nearest_neighbors(x, 20), np.where(np.arange(100) < size, 0, 1)  # classes below 20 do not count
    geometry = Geometry(x, labels, near, minimum_spanning_tree(x, near), lambda q: q)
    monkeypatch.setattr(detector, "off_topic_scores", lambda *_: (np.linspace(0, 1, 100), False))
    monkeypatch.setattr(detector, "automatic_threshold", lambda *_: 0.2)
    found = BranchOffTopic()(geometry)
    assert found.calibration is not None
    assert (found.calibration.unknown == detector.TOO_MANY) is unknown


@pytest.mark.parametrize(("seed", "spread"), [(4, 1.2), (4, 1.5)])
def test_a_class_that_varies_more_than_others_is_not_off_topic(seed: int, spread: float) -> None:
    x, y = clouds(1200, 6, 0, seed)
    wide = y == 2
    x[wide] += np.random.default_rng(seed).normal(0, spread, x[wide].shape)
    assert audit_embeddings(x, y).decisions.flags["off_topic"].sum() <= 0.01 * len(x)
