"""The direction of the farthest samples against a slow twin, and what must and must not be found by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.off_topic.discriminant import add_discriminant, direction, folds
from selfclean_hooks.neighbors.unit_vectors import UnitRows

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


def drawn(n: int, off: int, seed: int, apart: float = 2.2, one_class: bool = False) -> tuple[Doubles, Ints]:
    """Ten classes that vary, and `off` samples, the last, of all labels or one, with something else in common."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n + off) % 10
    rows = rng.normal(0, 1.2, (10, 48))[labels] + rng.normal(size=(n + off, 48))
    rows[n:] = rng.normal(0, 1.1, (off, 48)) + apart * np.sign(np.random.default_rng(1).normal(size=48)) / 2
    labels[n:] = 3 if one_class else rng.integers(0, 10, off)
    return rows, labels


def slow_projection(distance: Doubles, rows: Doubles, labels: Ints, number: int) -> list[float]:
    """Sample by sample, with the formula of the discriminant written out."""
    totals, of = [0] * 5, {}
    for size, label in sorted((-(labels == label).sum(), label) for label in set(labels.tolist())):
        of[label] = totals.index(min(totals))
        totals[of[label]] -= size
    order = sorted(range(len(rows)), key=lambda i: -distance[i])
    found, known = [], {}
    for i, label in enumerate(labels.tolist()):
        if of[label] not in known:
            others = [j for j in order if of[int(labels[j])] != of[label]]
            far, rest = ([j for j in others if j in set(part)] for part in (order[:number], order[3 * number :]))
            mean = rows[rest].mean(0)
            scatter = sum(np.outer(rows[j] - mean, rows[j] - mean) for j in rest) / (len(rest) - 1)
            scatter = scatter + 0.3 * np.diag(scatter).mean() * np.eye(len(mean))
            across = np.linalg.inv(scatter) @ (rows[far].mean(0) - mean)
            known[of[label]] = across, rows[rest] @ across
        across, along = known[of[label]]
        found.append((rows[i] @ across - np.median(along)) / along.std())
    return found


@pytest.mark.parametrize(("n", "off", "number"), [(180, 12, 10), (300, 0, 15)])
def test_projections_equal_a_slow_twin(n: int, off: int, number: int) -> None:
    vectors, labels = drawn(n, off, seed=n)
    rows = UnitRows.of(vectors).values
    distance = np.random.default_rng(0).normal(size=len(labels)) + 3 * (np.arange(len(labels)) >= n)
    found = direction(distance, rows, folds(labels), number)
    assert found is not None
    slow = np.array(slow_projection(distance, rows.double().numpy(), labels, number))
    np.testing.assert_allclose(found.projection, slow - np.median(slow), atol=1e-4)
    assert found.agreement == pytest.approx(found.projection[np.argsort(-distance)[:number]].mean(), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10, 40])
def test_classes_are_shared_out_evenly(classes: int) -> None:
    labels = np.random.default_rng(classes).integers(-1, classes, 2000)
    fold = folds(labels)
    assert all(len(set(fold[labels == label].tolist())) == 1 for label in set(labels.tolist()))
    assert len(set(fold.tolist())) == min(5, classes + 1)
    assert np.ptp(np.bincount(fold)) <= max(np.bincount(labels + 1))


@pytest.mark.parametrize(("off", "far"), [(50, 2.5), (20, 2.8)])
def test_what_is_of_one_other_source_is_found_by_it(off: int, far: float) -> None:
    vectors, labels = drawn(1000, off, off, apart=3.5)
    rows, strange = UnitRows.of(vectors).values, np.arange(1000 + off) >= 1000
    units = np.random.default_rng(0).normal(size=len(labels)) + far * strange  # a distance that tells a little
    found, agree = add_discriminant(units, 3.0, rows, labels)
    assert agree
    worst = [strange[np.argsort(-score)[:off]].mean() for score in (units, found)]
    assert worst[1] > max(0.85, 1.3 * worst[0])


@pytest.mark.parametrize("one_class", [False, True])
def test_far_samples_of_one_class_do_not_support_each_other(one_class: bool) -> None:
    vectors, labels = drawn(1000, 30, 2, apart=3.0, one_class=one_class)
    units = np.random.default_rng(2).normal(size=1030) + 3.0 * (np.arange(1030) >= 1000)
    found, agree = add_discriminant(units, 3.0, UnitRows.of(vectors).values, labels)
    assert agree is not one_class
    assert one_class is (found is units)


@pytest.mark.parametrize("seed", range(3))
def test_clean_samples_agree_in_no_direction(seed: int) -> None:
    vectors, labels = drawn(1000, 0, seed)
    far = np.linalg.norm(vectors - vectors.mean(0), axis=1)
    units = (far - np.median(far)) / far.std()
    found, agree = add_discriminant(units, 3.0, UnitRows.of(vectors).values, labels)
    assert not agree
    assert found is units


@pytest.mark.parametrize(
    ("n", "width", "classes"), [(189, 8, 4), (400, 0, 4), (400, 8, 1), (400, 1, 4)], ids=["few", "no row", "one", "1-D"]
)
def test_of_next_to_nothing(n: int, width: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    units, rows = (
        rng.normal(size=n),
        torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(n, width))).float()),
    )
    found, agree = add_discriminant(units, 3.0, rows, np.arange(n) % classes)
    assert not agree
    np.testing.assert_array_equal(found, units)


def test_an_audit_flags_them_whatever_their_labels() -> None:
    vectors, labels = drawn(1000, 50, 5)
    flagged = audit_embeddings(vectors, labels).decisions.flags["off_topic"]
    assert flagged[1000:].mean() > 0.7
    assert flagged[:1000].mean() < 0.005
    clean = audit_embeddings(*drawn(1000, 0, 5)).decisions.flags["off_topic"]
    assert clean.sum() <= 2
