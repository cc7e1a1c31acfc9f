import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Thresholds
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.detectors.selfclean import automatic_threshold, inner_quantile
from selfclean_hooks.errors import SettingError
from tests.helpers.reference import automatic_threshold as twin


@pytest.mark.parametrize("n", [3, 100, 5000])
@pytest.mark.parametrize(("pairs", "p"), [(False, 0.1), (True, 0.01)])
def test_the_automatic_threshold_is_the_fitted_quantile(n: int, pairs: bool, p: float) -> None:
    scores = np.random.default_rng(n).beta(5, 2, n)
    found = automatic_threshold(inner_quantile(scores), n, n // 2, pairs=pairs)
    assert found == pytest.approx(twin(scores, p, (n // 2) / n), rel=1e-9)


def test_zeros_and_ones_do_not_move_the_automatic_threshold() -> None:
    scores = np.random.default_rng(0).beta(5, 2, 500)
    with_ends = np.concatenate([np.zeros(40), scores, np.ones(60)])
    assert automatic_threshold(inner_quantile(with_ends), 500, 500) == automatic_threshold(
        inner_quantile(scores), 500, 500
    )


def test_exact_zeros_are_flagged_at_their_own_position() -> None:
    scores = np.random.default_rng(0).beta(5, 2, 500)
    scores[[7, 300]] = 0
    threshold = automatic_threshold(inner_quantile(scores), 500, 500)
    assert {7, 300} <= set(is_below(scores, threshold).nonzero()[0])
    np.testing.assert_array_equal(is_below(scores, threshold), (scores < threshold) | (scores == 0))


def test_lower_significance_flags_fewer() -> None:
    quantile = inner_quantile(np.random.default_rng(0).beta(5, 2, 500))
    automatic = [automatic_threshold(quantile, 500, 500, significance=s) for s in (1e-300, 1e-6, 0.01, 0.05, 0.5)]
    assert automatic == sorted(automatic)
    assert 0 <= automatic[0] < automatic[-1] < 1


@pytest.mark.parametrize("scores", [[], [0.0, 0.0], [1.0, 1.0, 0.0]])
def test_where_nothing_can_be_fitted_only_zeros_are_flagged(scores: list[float]) -> None:
    values = np.array(scores, np.float64)
    threshold = automatic_threshold(inner_quantile(values), len(values), len(values))
    assert threshold == 0
    np.testing.assert_array_equal(is_below(values, threshold), values == 0)


def test_equal_scores_are_not_flagged() -> None:
    values = np.full(50, 0.3)
    assert not is_below(values, automatic_threshold(inner_quantile(values), 50, 50) - 1e-9).any()


@given(st.lists(st.floats(0, 1) | st.just(math.nan)), st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_never_flags_more(scores: list[float], a: float, b: float) -> None:
    values = np.array(scores, np.float64)
    low, high = is_below(values, min(a, b)), is_below(values, max(a, b))
    assert not (low & ~high).any()
    assert not high[np.isnan(values)].any()
    assert low[values == 0].all()
    assert not is_below(values, -math.inf).any()


def test_what_a_threshold_resolves_to() -> None:
    thresholds, scores = Thresholds(near_duplicates=0.25, off_topic=None), np.linspace(0, 1, 11)
    assert thresholds.resolve("near_duplicates", 0.1, scores) == 0.25
    assert thresholds.resolve("off_topic", 0.1, scores) == -math.inf
    assert thresholds.resolve("label_errors", 0.1, scores) == 0.1


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, "high", True, [0.1], "0.5"])
def test_what_is_no_threshold_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match='the threshold of off_topic must be "auto", a score in \\[0, 1\\], FDR'):
        Thresholds(off_topic=value)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), None, "auto"])
def test_what_is_a_threshold_is_taken(value: Any) -> None:
    assert Thresholds(off_topic=value).off_topic == value
