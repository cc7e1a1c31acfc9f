"""Label scores against slow twins, and what must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from selfclean_hooks.detectors.label_errors import candidates, directions, ensemble
from selfclean_hooks.detectors.label_errors.calibration import LabelScores
from selfclean_hooks.detectors.label_errors.detector import automatic_threshold, score_labels
from selfclean_hooks.detectors.label_errors.directions import left_singular_vectors
from selfclean_hooks.detectors.label_errors.ensemble import PredictorInputs, predictor_inputs
from selfclean_hooks.detectors.label_errors.likelihood import (
    PSEUDO_COUNTS,
    ROUNDS,
    TRUST,
    EvenRates,
    LabelSupport,
    confusion_rates,
    label_log_odds,
    right_classes,
)
from selfclean_hooks.detectors.label_errors.predictors import (
    class_proximity,
    log_votes,
    voters_and_log_distances,
)
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_classes, leave_one_out_ridge
from selfclean_hooks.detectors.label_errors.targets.regression import score_regression
from selfclean_hooks.detectors.label_errors.weights import fit_weights, newton_step, newton_sums, sharpen_weights
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import SharedRows, UnitRows

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


def blobs(n: int = 300, dim: int = 16, classes: int = 3, spread: float = 0.5, seed: int = 0) -> tuple[Singles, Ints]:
    """Classes around random centres: (N, D), and (N,) true labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (rng.normal(size=(classes, dim))[y] + spread * rng.normal(size=(n, dim))).astype(np.float32), y


def run(x: Singles, y: Ints, k: int = 20) -> LabelScores:
    unit = UnitRows.of(x)
    near = nearest_neighbors(unit, k)
    return score_labels(unit, y, near.indices.numpy(), near.distances.numpy())


def seen(x: Singles, k: int = 20) -> PredictorInputs:
    unit = UnitRows.of(x)
    near = nearest_neighbors(unit, k)
    return predictor_inputs(unit, near.indices.numpy(), near.distances.numpy())


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
def test_principal_is_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    u, s = left_singular_vectors(SharedRows(x), 5)
    uu, ss, _ = np.linalg.svd((x - x.mean(0)).double().numpy(), full_matrices=False)
    assert np.allclose(s, ss[:5], rtol=1e-4)
    assert np.allclose(np.abs((u[:] * uu[:, :5]).sum(0)), 1, atol=1e-3)


def test_ridge_leaves_each_sample_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfclean_hooks.detectors.label_errors.ridge.RIDGE_STRENGTHS", (0.3,))
    x = np.random.default_rng(0).normal(size=(30, 4))
    x -= x.mean(0)
    y = np.eye(3)[np.arange(30) % 3]
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    fast = leave_one_out_ridge(u.astype(np.float32), s, y)
    penalty = 0.3 * (s**2).mean() * np.diag([1.0] * 4 + [0.0])  # the intercept is free
    design = np.c_[x, np.ones(30)]
    for i in range(30):
        rest = np.arange(30) != i
        beta = np.linalg.solve(design[rest].T @ design[rest] + penalty, design[rest].T @ y[rest])
        assert np.allclose(design[i] @ beta, fast[i], atol=1e-4)


def test_votes_and_nearness_by_hand() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(-1, 4, (50, 6))
    distances = np.sort(rng.random((50, 6)), 1).astype(np.float32)
    may, far = voters_and_log_distances(distances)
    prior = np.full(4, 0.25)
    every = np.tile(np.arange(4), (50, 1))
    votes, near = log_votes(labels, may, prior, every), class_proximity(labels, may, far, every)
    for i in range(50):
        for c in range(4):
            voting = [j for j in range(6) if labels[i, j] == c and distances[i, j] > 0.3 * distances[i].max()]
            assert np.isclose(votes[i, c], np.log(len(voting) + 0.25))
            ends = [np.log(max(distances[i, j], 0.5 * distances[i].max())) for j in (voting or [5])]
            assert np.isclose(near[i, c], -min(ends), atol=1e-5)


def random_support(n: int = 40, classes: int = 5, listed: int = 4) -> LabelSupport:
    rng = np.random.default_rng(3)
    support = rng.normal(size=(n, listed)) * 4
    return LabelSupport(np.argsort(rng.random((n, classes)), 1)[:, :listed], support, support)


def test_log_odds_by_hand() -> None:
    labels = random_support()
    rates = np.random.default_rng(8).dirichlet(np.ones(5), 5)
    found = label_log_odds(labels, rates, block=7)
    for i in range(40):
        fit = softmax(labels.support[i])
        for k, given in enumerate(labels.classes[i]):
            joint = fit * rates[labels.classes[i], given] ** TRUST
            assert np.isclose(found[i, k], np.log(joint[k] / (joint.sum() - joint[k])))


def test_confusion_rates_by_hand() -> None:
    labels = random_support()
    rates = np.where(np.eye(5), 0.9, 0.1 / 4)
    for _ in range(ROUNDS):
        count = np.zeros((5, 5))
        for classes, support in zip(labels.classes, labels.support, strict=True):
            joint = softmax(support) * rates[classes, classes[0]]
            count[classes, classes[0]] += joint / joint.sum()
        wrong = 1 - np.trace(count) / 40
        spread = np.where(np.eye(5), 1 - wrong, wrong / 4)
        rates = (count + PSEUDO_COUNTS * spread) / (count.sum(1, keepdims=True) + PSEUDO_COUNTS)
    assert np.allclose(confusion_rates(labels, 5), rates)


def test_the_usual_confusion_is_found_and_suspected() -> None:
    x, y = blobs(1200, classes=4, spread=1.2)
    given = y.copy()
    given[:200:4] = 2  # of class 0
    found = run(x, given)
    right = np.nonzero(y == given)[0]
    assert (found.score[:200:4] < np.quantile(found.score[right], 0.02)).mean() > 0.8


class InParts:
    """Features (F, N, M) and the classes (N, M) that they are of."""

    def __init__(self, features: NDArray[np.float64], listed: Ints | None = None, rows: int = 128) -> None:
        self.count, n, m = features.shape
        self.all = np.tile(np.arange(m), (n, 1)) if listed is None else listed, features
        self.parts = [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    def of(self, part: slice) -> tuple[Ints, Singles]:
        return self.all[0][part], self.all[1][:, part].astype(np.float32)


def test_weights_prefer_the_informative_predictor() -> None:
    rng = np.random.default_rng(4)
    knows, guesses = rng.normal(size=(2, 500, 3))
    knows[:, 0] += 2
    knows[::10, 0] -= 4  # wrong labels
    weights = fit_weights(InParts(np.stack([knows, guesses])), 3)
    np.testing.assert_allclose(weights, fit_weights(InParts(np.stack([knows, guesses]), rows=500), 3))
    assert weights[0] > 5 * weights[1] >= 0


def test_a_step_is_newtons() -> None:
    rng = np.random.default_rng(9)
    features, right = rng.normal(size=(3, 50, 4)), rng.dirichlet(np.ones(5), 50)[:, :4]
    start = np.full(3, 2.0)

    def loss(weights: NDArray[np.float64]) -> float:
        log_p = np.log(softmax(np.tensordot(weights, features, 1), axis=1))
        return float(-(right * log_p).sum() + 0.05 / 2 * (weights**2).sum())

    h, eye = 1e-4, np.eye(3) * 1e-4
    slope = np.array([(loss(start + e) - loss(start - e)) / (2 * h) for e in eye])
    curvature = np.array(
        [[(loss(start + a + b) - loss(start + a) - loss(start + b) + loss(start)) / h**2 for a in eye] for b in eye]
    )
    step = np.linalg.solve(curvature, slope)
    step *= 2 / max(2.0, np.abs(step).max())
    sums = newton_sums(features, softmax(np.tensordot(start, features, 1), axis=1), right)
    found = newton_step(start, 50, *sums)
    assert np.allclose(found, np.maximum(start - step, 0), atol=1e-3)


def test_confusions_do_not_blunt_the_sharp_support() -> None:
    rng = np.random.default_rng(10)
    right = np.arange(3000) % 3
    given = np.where((right == 0) & (rng.random(3000) < 0.3), 1, right)
    logits = rng.normal(size=(3000, 3)) + 4 * np.eye(3)[right]
    listed = np.argsort(np.where(np.arange(3) == given[:, None], -1, np.arange(3)), 1)
    features = InParts(np.take_along_axis(logits, listed, 1)[None], listed)
    blunt = fit_weights(features, 3)
    assert sharpen_weights(blunt, features, 3)[0] > 1.15 * blunt[0]


def test_wrong_labels_are_found_and_named() -> None:
    x, y = blobs(600, classes=4)
    given = y.copy()
    given[:30] = (y[:30] + 1) % 4
    found = run(x, given)
    flagged = found.score < automatic_threshold(found)
    assert (found.predicted[:30] == y[:30]).mean() > 0.9
    assert 2 * flagged[:30].sum() / (flagged.sum() + 30) > 0.9


def test_permutation_of_samples_permutes_scores() -> None:
    x, y = blobs(200)
    y[:10] = (y[:10] + 1) % 3
    order = np.random.default_rng(6).permutation(200)
    assert np.allclose(run(x, y).score[order], run(x[order], y[order]).score, atol=1e-3)


def test_names_of_classes_do_not_matter() -> None:
    x, y = blobs(200)
    assert np.allclose(run(x, y).score, run(x, np.array([7, 3, 900])[y]).score, atol=1e-6)


def test_no_label_is_no_score_and_no_vote() -> None:
    x, y = blobs(200)
    some = y.copy()
    some[::5] = -1
    found = run(x, some)
    assert (np.isnan(found.score) == (some == -1)).all()
    assert (found.predicted[some == -1] == -1).all()


def test_a_copy_has_no_say() -> None:
    x, y = blobs(300, spread=0.3)
    x[1], y[:2] = x[0], 1  # 0 is of class 0: a copy with the same wrong label
    assert (run(x, y).score[:2] < 0.3).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (blobs(20)[0], np.arange(20) % 2),
        (np.r_[np.zeros((1, 3)), np.ones((49, 3))].astype(np.float32), np.arange(50) % 3),
        (np.repeat(blobs(50)[0], 4, 0), np.repeat(blobs(50)[1], 4)),
        (blobs(100)[0], np.r_[np.zeros(99, int), 1]),
        (blobs(1000, 32, 500, 0.1)[0], np.arange(1000) % 500),
        (blobs(30)[0], np.zeros(30, int)),
        (blobs(30)[0], np.full(30, -1)),
        (blobs(100)[0], np.random.default_rng(0).integers(0, 3, 100)),
    ],
)
def test_edges_stay_in_range(x: Singles, y: Ints) -> None:
    found = run(x, y)
    score = found.score[y >= 0]
    assert ((score >= 0) & (score <= 1)).all()
    calibration = found.calibration
    low, high = (calibration.clean if c is None else c for c in (calibration.low, calibration.high))
    assert (low >= 0).all()
    assert (low <= calibration.clean).all()
    assert (calibration.clean <= high).all()
    assert (high <= 1).all()
    assert (np.diff(calibration.clean) >= 0).all()
    assert (np.diff(calibration.score) > 0).all()
    assert 0 <= automatic_threshold(found) <= np.nextafter(1, 2)


def test_clean_data_stay_clean() -> None:
    x, y = blobs(1000, classes=5)
    found = run(x, y)
    assert (found.score < automatic_threshold(found)).mean() < 0.01


def test_regression_finds_wrong_numbers() -> None:
    x, _ = blobs(500, spread=2.0)
    t = x @ np.random.default_rng(7).normal(size=x.shape[1]) + 0.1
    wrong = t.copy()
    wrong[:20] = t[::-1][:20] + 10
    predicted, found = score_regression(seen(x), wrong)
    assert np.median(np.abs(predicted[:20] - t[:20])) < np.median(np.abs(wrong[:20] - t[:20])) / 3
    assert np.median(found.score[:20]) < 0.1 < np.median(found.score)
    assert ((found.score >= 0) & (found.score <= 1)).all()


@pytest.mark.parametrize(("unit", "zero"), [(1, 1.7e9), (1e-3, -2024), (3e305, 0), (1e-290, 0), (-7, 5)])
def test_targets_of_any_unit_and_zero_point_get_the_same_scores(unit: float, zero: float) -> None:
    x, _ = blobs(120)
    t = (x @ np.random.default_rng(7).normal(size=x.shape[1])).astype(np.float64)
    t[:6] += 9
    predicted, found = score_regression(seen(x), t)
    moved, again = score_regression(seen(x), t * unit + zero)
    np.testing.assert_allclose(again.score, found.score, atol=1e-4)
    np.testing.assert_allclose((moved - zero) / unit, predicted, atol=1e-4 * np.ptp(t))


@pytest.mark.parametrize("classes", [3, 90])
def test_ridge_regression_of_classes_is_that_of_their_indicators(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "BLOCK", 64)
    x, y = blobs(n=200, classes=classes)
    u, s = left_singular_vectors(SharedRows(torch.from_numpy(x)), 12)
    expected = leave_one_out_ridge(u, s, y[:, None] == np.arange(classes), scale=200)
    ridge = leave_one_out_classes(u, s, y)
    found = [ridge.predict(u[part], y[part]) for part in (slice(0, 70), slice(70, 200))]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_candidates_of_many_classes_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(n=600, classes=100)
    y = np.where(np.arange(600) % 9 == 0, np.random.default_rng(1).integers(0, 100, 600), y)
    some = ensemble.label_support(seen(x), y, block=100)
    monkeypatch.setattr(candidates, "FEW_CLASSES", 100)
    whole = ensemble.label_support(seen(x), y)
    np.testing.assert_array_equal(some.classes, whole.classes)
    np.testing.assert_allclose(some.support, whole.support, atol=1e-4)


def test_even_rates_are_read_like_an_array() -> None:
    even, labels = EvenRates.of(5, 0.2), random_support()
    array = np.full((5, 5), 0.05) + 0.75 * np.eye(5)
    np.testing.assert_allclose(label_log_odds(labels, even), label_log_odds(labels, array))
    found, expected = (right_classes(labels.support**2, labels.classes, rates) for rates in (even, array))
    np.testing.assert_allclose(found, expected)
