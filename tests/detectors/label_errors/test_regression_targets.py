"""Regression targets that vectors do not predict, that grow with their spread, and single ones out of all range."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from scipy.stats import t as t_distribution

from selfclean_hooks import audit_embeddings
from selfclean_hooks.detectors.label_errors.targets.regression import (
    ALIKE,
    NO_TARGET,
    rank_correlation,
    residual_by_prediction,
    target_scales,
    without_outliers,
)
from selfclean_hooks.detectors.label_errors.targets.residuals import (
    BINS,
    WIDTH,
    calibrate_residuals,
    right_densities,
    wrong_densities,
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


@pytest.mark.parametrize("sign", [1, -1])
def test_prices_have_few_flags_but_wrong_ones(sign: int) -> None:
    right = wrong = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(200, 32)).astype(np.float32)
        prices = sign * np.exp(0.7 * x[:, 0] + 0.3 * rng.normal(size=200))
        right += int(audit_embeddings(x, prices).decisions.flags["label_errors"].sum())
        prices[:10] *= np.where(rng.random(10) < 0.5, 30, 1 / 30)
        wrong += int(audit_embeddings(x, prices).decisions.flags["label_errors"][:10].sum())
    assert right <= 0.01 * 3 * 200
    assert wrong >= 0.8 * 3 * 10


def test_scales_of_targets_rise_or_fall_by_their_slope_and_have_an_inverse() -> None:
    targets = np.append(np.random.default_rng(3).standard_cauchy(200), [1e6, -1e6])
    scales = list(target_scales(targets))
    for scale in scales:
        values = scale.of(targets)
        np.testing.assert_allclose(scale.inverse(values), targets, rtol=1e-6)
        step = 1e-6 * scale.unit
        slope = (scale.of(targets[:200] + step) - values[:200]) * scale.unit / step
        np.testing.assert_allclose(np.abs(slope), np.exp(scale.log_slope(targets[:200])), rtol=1e-3)
        assert (np.sign(slope) == scale.sign).all()
    assert len(scales) == 7
    assert [scale.curvature for scale in target_scales(np.ones(9))] == [0]


def test_residuals_of_a_known_mixture_are_distinguished() -> None:
    rng = np.random.default_rng(5)
    other = 4 * rng.lognormal(sigma=0.5, size=5000)
    ratio = np.append(0.5 * np.abs(rng.standard_t(12, 4500)), rng.choice(other, 500))
    found, score = calibrate_residuals(ratio, other), 1 / (1 + ratio**2)
    expected, low, high = found.estimate_count(score)
    assert expected == pytest.approx(500, rel=0.1)
    assert low < expected < high < 700
    clean = found.probability_clean(score)
    assert (np.diff(clean[np.argsort(ratio)]) <= 0).all()
    assert ((clean < 0.5) == (ratio > 2)).mean() > 0.98
    assert calibrate_residuals(ratio, other[:0]).probability_clean(score).min() == 1


def test_densities_of_residuals_are_those_of_a_slow_twin() -> None:
    edges = [-math.inf, *(BINS[:-1] + WIDTH / 2), math.inf]
    width = 0.4 / t_distribution(8).ppf(0.75) * 0.6
    mass = [2 * np.diff(t_distribution(8).cdf(np.exp(ends) / width))[0] for ends in pairwise(edges)]
    np.testing.assert_allclose(right_densities(0.4)[0], mass, atol=1e-12)
    wrong = wrong_densities(np.array([2.0, 2.0, 5.0]), 0.4)
    np.testing.assert_allclose(wrong.sum(1), 1)
    assert (np.diff(wrong @ BINS) > 0).all()  # each kind farther off than the one before


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
