"""Regression targets that vectors do not predict, that grow with their spread, and single ones out of all range."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.label_errors.targets import (
    ALIKE,
    NO_TARGET,
    rank_correlation,
    residual_by_prediction,
    without_outliers,
)

Floats = NDArray[np.float64]


def data(n: int = 400, seed: int = 0) -> tuple[NDArray[np.float32], Floats]:
    """Vectors (N, 16), and targets that these predict."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 16))
    return x.astype(np.float32), 3 * x[:, 0] + x[:, 1] + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["normal", "heavy"])
def test_targets_that_vectors_do_not_predict_are_not_judged(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=400) if kind == "normal" else rng.standard_cauchy(400)
    audit = audit_embeddings(data(seed=seed)[0], targets)
    assert audit.scores.calibration["label_errors"].unknown == NO_TARGET
    assert not audit.decisions.flags["label_errors"].any()


@pytest.mark.parametrize("value", [-1e3, 1e5, 1e9])
def test_a_single_target_out_of_all_range_is_flagged_and_no_others(value: float) -> None:
    x, targets = data()
    targets[7] = value
    flags = audit_embeddings(x, targets).decisions.flags["label_errors"]
    assert flags[7]
    assert flags.sum() <= 4


def test_few_targets_whose_spread_grows_with_them_are_flagged() -> None:
    flagged = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(600, 32)).astype(np.float32)
        prices = np.exp(0.7 * x[:, 0] + 0.3 * rng.normal(size=600))
        flagged += int(audit_embeddings(x, prices).decisions.flags["label_errors"].sum())
    assert flagged <= 0.03 * 3 * 600


@pytest.mark.parametrize("n", [1, 2, ALIKE - 1, ALIKE, 200])
def test_residuals_of_alike_predictions_are_those_of_a_slow_twin(n: int) -> None:
    rng = np.random.default_rng(n)
    residual, predicted = rng.random(n), rng.normal(size=n)
    found, order = residual_by_prediction(residual, predicted), np.argsort(predicted)
    for place, i in enumerate(order):
        size = min(ALIKE, n)
        first = min(max(place - size // 2, 0), n - size)
        assert found[i] == pytest.approx(np.median(residual[order[first : first + size]]))


def test_rank_correlation_is_that_of_scipy_and_none_where_one_is_constant() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 60).astype(float), rng.normal(size=60)
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(x, np.ones(60)) == 0


def test_outliers_move_to_the_outer_fences_where_there_are_any() -> None:
    targets = np.array([0.0, 1, 2, 3, 4, 100, -50])
    low, high = np.quantile(targets, (0.25, 0.75))
    expected = [0, 1, 2, 3, 4, high + 3 * (high - low), low - 3 * (high - low)]
    np.testing.assert_allclose(without_outliers(targets), expected)
    flat = np.array([0.0, 0, 0, 0, 9])
    np.testing.assert_array_equal(without_outliers(flat), flat)
