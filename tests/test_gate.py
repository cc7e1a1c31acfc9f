from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_policy import low, scores_of

from selfclean_hooks import Audit, Limits
from selfclean_hooks.errors import SettingError


@pytest.fixture
def found() -> Audit:
    return Audit(scores_of(near=[(0, 1, 0.0), (1, 2, 0.01)], off_topic=low(4), errors={9: "gone"}))


def test_without_limits_everything_passes(found: Audit) -> None:
    verdict = found.check(Limits())
    assert verdict.passed
    assert verdict
    assert verdict.reasons == ()


@pytest.mark.parametrize(("limit", "passed"), [(0.0, False), (0.19, False), (0.2, True), (1, True)])
def test_a_limit_is_met_up_to_and_with_itself(found: Audit, limit: float, passed: bool) -> None:
    assert found.check(Limits(near_duplicates=limit)).passed is passed


def test_reasons_give_figures_and_positions_failures_first(found: Audit) -> None:
    verdict = found.check(Limits(near_duplicates=0.5, off_topic=0.05, label_errors=0.0, unreadable=0.0))
    assert not verdict
    assert verdict.reasons == (
        "off_topic: 0.1000 (1 of 10 samples) exceeds the limit 0.05; worst: 4",
        "unreadable: 0.1000 (1 of 10 samples) exceeds the limit 0; worst: 9",
        "near_duplicates: 0.2000 (2 of 10 samples) is within the limit 0.5",
        "label_errors: 0.0000 (0 of 10 samples) is within the limit 0",
    )


def test_a_check_that_did_not_run_meets_no_limit(found: Audit) -> None:
    scores = replace(found.scores, not_run={"label_errors": "there are no labels"}, label=np.full(10, np.nan))
    verdict = replace(found, scores=scores).check(Limits(label_errors=1.0))
    assert not verdict
    assert verdict.reasons == ("label_errors: not run (there are no labels), so the limit 1 is not met",)


@pytest.mark.parametrize("value", [-0.01, 1.01, 5, np.nan, "1%", True, [0.1]])
def test_what_is_no_limit_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match=r"the limit of off_topic must be a fraction in \[0, 1\] or None, got"):
        Limits(off_topic=value)
