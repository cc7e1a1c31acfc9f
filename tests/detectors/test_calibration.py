"""What a score means, the thresholds built on it, and the tables that tell of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from selfclean_hooks.core.calibration import Calibration, clean_in_a_row
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.errors import SettingError
from tests.detectors.calibrations import QUICK, SCORES, SHARE, Floats, calibrations, slow_clean


def slow_of(calibration: Calibration, scores: Floats) -> list[float]:
    """The probability of each score there is, from the worst."""
    return [slow_clean(calibration, s) for s in sorted(s for s in scores.tolist() if not math.isnan(s))]


@QUICK
@given(calibrations(), SCORES)
def test_probability_is_interpolated(calibration: Calibration, scores: Floats) -> None:
    before = scores.copy()
    slow = [slow_clean(calibration, s) for s in scores.tolist()]
    np.testing.assert_allclose(calibration.probability_clean(scores), slow, atol=1e-12)
    np.testing.assert_array_equal(scores, before)


@QUICK
@given(calibrations(), SHARE.filter(lambda level: level > 0))
def test_probability_threshold_is_where_the_probability_reaches_the_level(
    calibration: Calibration, level: float
) -> None:
    threshold = calibration.probability_threshold(level)
    for score in np.linspace(0, 1, 257)[1:].tolist():
        if score < threshold - 1e-9:
            assert slow_clean(calibration, score) < level
        elif threshold + 1e-9 < score < 1:
            assert slow_clean(calibration, score) >= level - 1e-9


@QUICK
@given(calibrations(), SCORES, SHARE)
def test_fdr_threshold_is_the_highest_within_the_rate(calibration: Calibration, scores: Floats, q: float) -> None:
    threshold = calibration.fdr_threshold(scores, q)
    below = scores[scores < threshold]
    assert not len(below) or np.mean(slow_of(calibration, below)) <= q + 1e-12
    for higher in sorted({s for s in scores.tolist() if s >= threshold}):  # to flag these too would be too many
        assert np.mean(slow_of(calibration, scores[scores <= higher])) > q - 1e-12


@QUICK
@given(calibrations(), SCORES)
def test_best_f1_threshold_is_the_best_of_all(calibration: Calibration, scores: Floats) -> None:
    def gain(threshold: float) -> float:
        hits = [1 - clean for clean in slow_of(calibration, scores[is_below(scores, threshold)])]
        every = sum(1 - clean for clean in slow_of(calibration, scores))
        return 2 * sum(hits) / (len(hits) + every) if hits else 0.0

    candidates = [0.0, *(s + 1e-9 for s in scores.tolist() if not math.isnan(s))]
    assert gain(calibration.best_f1_threshold(scores)) == pytest.approx(max(map(gain, candidates)))


@QUICK
@given(calibrations(), SCORES, st.sampled_from([0.5, 0.9, 0.95]))
def test_estimate_is_a_sum_of_independent_samples(calibration: Calibration, scores: Floats, share: float) -> None:
    expected, low, high = calibration.estimate_count(scores, share)
    wrong = [1 - clean for clean in slow_of(calibration, scores)]
    spread = norm.ppf(0.5 + share / 2) * math.sqrt(sum(p * (1 - p) for p in wrong))
    assert expected == pytest.approx(sum(wrong))
    assert low == pytest.approx(max(0, sum(wrong) - spread))
    assert high == pytest.approx(min(len(wrong), sum(wrong) + spread))


def test_the_interval_holds_the_number_as_often_as_it_says() -> None:
    calibration, rng = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0])), np.random.default_rng(0)
    scores = rng.uniform(size=300)
    _, low, high = calibration.estimate_count(scores, 0.9)
    issues = (rng.uniform(size=(4000, 300)) > calibration.probability_clean(scores)).sum(1)
    assert ((issues >= low) & (issues <= high)).mean() == pytest.approx(0.9, abs=0.03)


@QUICK
@given(calibrations(), SCORES, st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_review_effort_is_the_first_rank_with_the_recall(
    calibration: Calibration, scores: Floats, recall: float
) -> None:
    wrong, found, looked = [1 - clean for clean in slow_of(calibration, scores)], 0.0, 0
    while found < recall * sum(wrong) * (1 - 1e-9):
        found, looked = found + wrong[looked], looked + 1
    assert calibration.review_effort(scores, recall) == looked


def test_no_scores_are_no_issues() -> None:
    calibration, nothing = Calibration(np.array([0.2]), np.array([0.7])), np.full(3, np.nan)
    assert calibration.estimate_count(nothing) == (0, 0, 0)
    assert calibration.review_effort(nothing) == 0
    assert calibration.fdr_threshold(nothing, 0.5) == 0
    assert np.isnan(calibration.probability_clean(nothing)).all()


@QUICK
@given(st.floats(0.001, 0.9), st.floats(0.001, 0.9))
def test_clean_in_a_row_is_the_first_that_leaves_little_doubt(rate: float, doubt: float) -> None:
    fine = 0
    while (1 - rate) ** (fine + 1) > doubt * (1 + 1e-9):
        fine += 1
    assert clean_in_a_row(rate, doubt) in (fine, fine - 1)  # one less by rounding
    assert (1 - rate) ** (clean_in_a_row(rate, doubt) + 1) <= doubt * (1 + 1e-6)


def test_clean_in_a_row_of_the_text() -> None:
    assert clean_in_a_row() == clean_in_a_row(0.05, 0.05) == 58


def test_interval_goes_from_the_greatest_to_the_least_probability_of_being_clean() -> None:
    scores = np.linspace(0.01, 1, 200)
    knots = np.array([0.1, 0.2])
    plain = Calibration(knots, np.array([0.1, 1.0]))
    open_ended = Calibration(knots, np.array([0.1, 1.0]), np.array([0.0, 0.9]), np.array([0.3, 1.0]))
    estimated, low, high = open_ended.estimate_count(scores)
    assert estimated == plain.estimate_count(scores)[0]
    few, many = (1 - np.interp(scores, knots, ends) for ends in ([0.3, 1.0], [0.0, 0.9]))
    assert low == pytest.approx(max(0, few.sum() - 1.959964 * np.sqrt((few * (1 - few)).sum())))
    assert high == pytest.approx(many.sum() + 1.959964 * np.sqrt((many * (1 - many)).sum()))
    assert low < plain.estimate_count(scores)[1]
    assert high > plain.estimate_count(scores)[2]


def test_what_cannot_be_estimated_is_no_number_and_asks_for_no_flag() -> None:
    nothing = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]), unknown="nothing stands apart")
    assert np.isnan(nothing.estimate_count(np.linspace(0, 1, 50))).all()
    assert nothing.fdr_threshold(np.linspace(0, 1, 50), 0.9) == 0


@pytest.mark.parametrize(("rate", "doubt"), [(0.0, 0.05), (1.0, 0.05), (0.05, 0.0), (0.05, 1.5)])
def test_a_rate_and_a_doubt_lie_between_0_and_1(rate: float, doubt: float) -> None:
    with pytest.raises(SettingError, match="must lie between 0 and 1"):
        clean_in_a_row(rate, doubt)
