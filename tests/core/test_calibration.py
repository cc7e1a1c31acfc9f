"""The precision of flags by a calibration: a number where it is known, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selfclean_hooks.core.calibration import CONFIDENCE, Calibration
from selfclean_hooks.report.text import precision_of

KNOTS = np.array([0.1, 0.3, 0.6])
CLEAN, LOW, HIGH = np.array([0.1, 0.4, 0.9]), np.array([0.0, 0.2, 0.7]), np.array([0.3, 0.8, 1.0])


@pytest.mark.parametrize("flags", [1, 7, 200])
@pytest.mark.parametrize("bounded", [True, False])
def test_the_precision_and_its_interval_are_those_of_a_slow_twin(flags: int, bounded: bool) -> None:
    calibration = Calibration(KNOTS, CLEAN, *((LOW, HIGH) if bounded else ()))
    scores = np.random.default_rng(flags).uniform(0.05, 0.5, flags)

    def end(curve: np.ndarray, sign: int) -> float:
        wrong = [1 - float(np.interp(score, KNOTS, curve)) for score in scores]
        spread = math.sqrt(sum(p * (1 - p) for p in wrong))
        return min(1.0, max(0.0, (sum(wrong) + sign * CONFIDENCE * spread) / flags))

    expected, low, high = calibration.estimate_precision(scores)
    assert expected == pytest.approx(end(CLEAN, 0))
    assert low == pytest.approx(end(HIGH if bounded else CLEAN, -1), abs=1e-5)
    assert high == pytest.approx(end(LOW if bounded else CLEAN, 1), abs=1e-5)
    for widest in (high - low - 1e-9, high - low + 1e-9):
        claimed, *interval = calibration.estimate_precision(scores, widest)
        assert interval == [low, high]
        assert claimed == expected if widest > high - low else math.isnan(claimed)


def test_there_is_no_precision_without_flags_or_where_it_is_unknown() -> None:
    known, unknown = Calibration(KNOTS, CLEAN), Calibration(KNOTS, CLEAN, unknown="hard")
    assert np.isnan(known.estimate_precision(np.zeros(0))).all()
    assert np.isnan(unknown.estimate_precision(np.full(9, 0.2))).all()


@pytest.mark.parametrize(
    ("precision", "low", "high", "text"),
    [
        (0.734, 0.6, 0.8, "73%"),
        (math.nan, 0.354, 0.916, "35-92%"),
        (math.nan, math.nan, math.nan, ""),
        (1, 1, 1, "100%"),
    ],
)
def test_a_precision_in_words(precision: float, low: float, high: float, text: str) -> None:
    assert precision_of({"precision": precision, "precision_low": low, "precision_high": high}) == text
