"""Labels that tell the tail of a class from what belongs to none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.off_topic.class_agreement import are_of_their_classes, neighbor_agreement
from selfclean_hooks.detectors.off_topic.detector import TOO_MANY, why_not_off_topic
from selfclean_hooks.detectors.protocol import Geometry
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.testing import digits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def test_agreement_by_hand() -> None:
    rng = np.random.default_rng(0)
    n, k = 80, 5
    labels, branch = rng.integers(-1, 3, n), rng.integers(0, 9, n)
    neighbors = rng.integers(-1, n, (n, k))
    found = neighbor_agreement(labels, branch, neighbors)
    for i in range(n):
        usable = [j for j in neighbors[i] if j >= 0 and labels[j] >= 0 and branch[j] != branch[i]]
        expected = np.nan if labels[i] < 0 or not usable else float(labels[usable[0]] == labels[i])
        assert found[i] == expected or (np.isnan(found[i]) and np.isnan(expected))


@pytest.mark.parametrize(("rate", "expected"), [(0.1, False), (0.4, False), (0.8, True)])
def test_flagged_samples_that_agree_like_the_others_are_of_their_classes(rate: float, expected: bool) -> None:
    n, labels = 1000, np.arange(1000) % 10
    score = np.linspace(0, 1, n)
    flagged = score < 0.05
    agreement = np.full(n, 0.9)
    agreement[:] = np.arange(n) % 10 < 9
    agreement[flagged] = np.arange(flagged.sum()) % 10 < 10 * rate
    assert are_of_their_classes(agreement, score, flagged, labels) is expected


def test_few_samples_prove_nothing() -> None:
    n = 200
    score, labels = np.linspace(0, 1, n), np.arange(n) % 4
    flagged = score < 0.02
    assert not are_of_their_classes(np.ones(n), score, flagged, labels)
    flagged = score < 0.2
    assert not are_of_their_classes(np.where(flagged, np.nan, 1.0), score, flagged, labels)


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


@pytest.mark.parametrize(("share", "expected"), [(0.2, ""), (0.3, TOO_MANY), (1.0, TOO_MANY)])
def test_most_samples_are_not_off_topic(share: float, expected: str) -> None:
    x = UnitRows.of(np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
    near = nearest_neighbors(x, 20)
    geometry = Geometry(x, None, near, minimum_spanning_tree(x, near), lambda q: q)
    score = np.linspace(0, 1, 100)
    assert why_not_off_topic(geometry, score, score < share, None) == expected
