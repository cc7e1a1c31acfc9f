"""What tests share, and when they do not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selfclean_hooks.detectors import methods
from selfclean_hooks.neighbors.approximate_search import ApproximateSearch
from selfclean_hooks.neighbors.screening.device import PROCESSOR, screening_on
from tests.helpers.forked import forked
from tests.helpers.scored_once import ScoredOnce

X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
Y = np.arange(12) % 3


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was computed; an entry for each call."""
    made: list[Any] = []
    really = methods._assemble

    def counted(*args: Any) -> Any:
        made.append(really(*args))
        return made[-1]

    monkeypatch.setattr(methods, "_assemble", counted)
    return made


@pytest.fixture
def score(made: list[Any]) -> ScoredOnce:
    return ScoredOnce()


def test_the_same_is_computed_once_and_comes_back_whole(score: ScoredOnce, made: list[Any]) -> None:
    ticks: list[Any] = []
    first = score(X, Y, tick=lambda *done: ticks.append(done))
    assert ticks
    half, expected = len(ticks), first.label.copy()
    first.label[:] = 0
    again = score(X.copy(), Y.copy(), tick=lambda *done: ticks.append(done))
    assert len(made) == 1
    assert ticks[half:] == ticks[:half]
    np.testing.assert_array_equal(again.label, expected)
    assert again.calibration.keys() == made[0].calibration.keys()
    np.testing.assert_array_equal(again.near_duplicate, made[0].near_duplicate)


def in_blocks(score: ScoredOnce) -> None:
    with screening_on(replace(PROCESSOR, budget=9)):
        score(X, Y)


@pytest.mark.parametrize(
    "other",
    [
        lambda score: score(X + 1, Y),
        lambda score: score(X, Y + 1),
        lambda score: score(X, Y, method="selfclean"),
        lambda score: score(X, Y, pairs_below=0.5),
        lambda score: score(X, Y, search=ApproximateSearch()),
        in_blocks,
    ],
)
def test_anything_else_is_computed(other: Any, score: ScoredOnce, made: list[Any]) -> None:
    score(X, Y)
    other(score)
    assert len(made) == 2


def test_replaced_code_is_used(score: ScoredOnce, made: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    score(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(methods, "MIN_PAIRS", 1)
        score(X, Y)
    assert len(made) == 2
    score(X, Y)
    assert len(made) == 2


def test_another_process_computes_its_own(score: ScoredOnce, made: list[Any]) -> None:
    score(X, Y)
    assert forked(lambda: (score(X, Y), print(len(made)))).out == "2\n"
