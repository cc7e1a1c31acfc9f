"""Thresholds that follow from what scores mean: in words, as shares and rates, and beside a baseline."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Thresholds
from selfclean_hooks.cli.amounts import thresholds_of
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.decisions.settings import FDR, Top, is_below, parse_threshold
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline import Baseline
from tests.detectors.calibrations import DETECTED, QUICK, SCORES, SHARE, Floats, audit_of, calibrations


@QUICK
@given(calibrations(), SCORES, SHARE.filter(lambda q: q < 1), st.sampled_from(DETECTED))
def test_fdr_resolves_to_its_threshold(calibration: Calibration, scores: Floats, q: float, issue: str) -> None:
    threshold = Thresholds(**{issue: FDR(q)}).resolve(issue, 0.3, scores, calibration)
    assert threshold == calibration.fdr_threshold(scores, q)
    hits = scores[is_below(scores, threshold)]
    assert not len(hits) or calibration.probability_clean(hits).mean() <= q + 1e-12


@QUICK
@given(SCORES, SHARE)
def test_top_flags_at_most_its_share_and_equal_scores_alike(scores: Floats, share: float) -> None:
    threshold = Thresholds(off_topic=Top(share)).resolve("off_topic", 0.3, scores)
    there = scores[~np.isnan(scores)]
    hits = there[there < threshold]
    assert len(hits) <= share * len(there)
    left = there[there >= threshold]
    if len(left):  # to take along the next score would be too many
        assert (there <= left.min()).sum() > share * len(there)
    else:
        assert share == 1 or not len(there)


def test_fdr_needs_a_calibration() -> None:
    with pytest.raises(
        SettingError, match=r'fdr:0\.1 of off_topic needs calibrated scores.*audit with method="default"'
    ):
        Thresholds(off_topic=FDR(0.1)).resolve("off_topic", 0.3, np.ones(3))
    with pytest.raises(SettingError, match=r"fdr:0\.1 of label_errors needs calibrated scores"):
        audit_of("selfclean").at(thresholds=Thresholds(label_errors=FDR(0.1))).decisions  # noqa: B018  (raises)


@pytest.mark.parametrize("make", [FDR, Top])
@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, True, "0.1", None])
def test_what_is_no_share_is_refused(make: Any, share: Any) -> None:
    with pytest.raises(SettingError, match=r"in \[0, 1[\])], got"):
        make(share)


def test_shares_at_the_ends() -> None:
    assert (FDR(0).q, Top(0).fraction, Top(1).fraction) == (0, 0, 1)
    with pytest.raises(SettingError, match="FDR takes the fraction of flags that may be wrong"):
        FDR(1)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("fdr:0.1", FDR(0.1)),
        ("fdr:10%", FDR(0.1)),
        ("top:5%", Top(0.05)),
        ("top:0.05", Top(0.05)),
        ("top:1", Top(1)),
        ("auto", "auto"),
        ("fdr", "fdr"),
        ("fdr:", "fdr:"),
        ("top:many", "top:many"),
        ("best:3", "best:3"),
        (0.2, 0.2),
        (None, None),
    ],
)
def test_thresholds_in_words(text: Any, made: Any) -> None:
    assert parse_threshold(text) == made


@pytest.mark.parametrize("text", ["fdr:1", "fdr:-0.1", "top:101%", "top:nan"])
def test_words_for_no_share_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"in \[0, 1[\])], got"):
        parse_threshold(text)


@pytest.mark.parametrize("text", ["fdr:", "top:many", "best:3"])
def test_words_that_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r'the threshold of off_topic must be "auto"'):
        Thresholds.from_dict({"off_topic": text})


VALUE = st.sampled_from(["auto", None, 0.25, 0.0, 1.0]) | SHARE.map(Top) | SHARE.filter(lambda q: q < 1).map(FDR)


@QUICK
@given(VALUE, VALUE, VALUE)
def test_what_was_written_is_read(near: Any, off: Any, label: Any) -> None:
    thresholds = Thresholds(near, off, label)
    assert Thresholds.from_dict(thresholds.to_dict()) == thresholds
    assert all(isinstance(value, (str, float, type(None))) for value in thresholds.to_dict().values())


def test_thresholds_on_the_command_line() -> None:
    found = thresholds_of(["label_errors=fdr:0.1", "off-topic=top:5%"], Thresholds(near_duplicates=0.2))
    assert found == Thresholds(0.2, Top(0.05), FDR(0.1))


def test_only_scores_and_none_are_chosen() -> None:
    thresholds = Thresholds(FDR(0.1), None, 0.2)
    assert [thresholds.is_fixed(issue) for issue in DETECTED] == [False, True, True]
    assert not Thresholds(off_topic=Top(0.1)).is_fixed("off_topic")
    assert not Thresholds().is_fixed("off_topic")


ESTIMATED = Thresholds(FDR(0.2), Top(0.03), FDR(0.2))


def test_a_baseline_of_estimated_thresholds_accepts_what_it_saw(tmp_path: Path) -> None:
    audit = audit_of("default").at(thresholds=ESTIMATED)
    assert all(audit.decisions.flags[issue].any() for issue in DETECTED)
    assert not audit.check(baseline=Baseline({}))
    baseline = Baseline.of({"": audit})
    assert baseline.thresholds == {("", issue): audit.decisions.thresholds[issue] for issue in DETECTED}
    baseline.write(tmp_path / "baseline")
    read = Baseline.read(tmp_path / "baseline")
    assert read.thresholds == baseline.thresholds
    assert audit.check(baseline=read)
    assert read.stale({"": audit}) == ()


def test_a_baseline_lowers_estimated_thresholds_and_no_others() -> None:
    audit = audit_of("default").at(thresholds=replace(ESTIMATED, label_errors=0.3))
    now = audit.decisions.thresholds
    lower = {("", issue): now[issue] / 2 for issue in DETECTED}
    narrowed = Baseline({}, lower).narrowed(audit, "")
    assert narrowed.decisions.thresholds == {
        "near_duplicates": now["near_duplicates"] / 2,
        "off_topic": now["off_topic"] / 2,
        "label_errors": 0.3,
        "group_leakage": now["group_leakage"],
        "image_quality": now["image_quality"],
    }
    for issue in ("near_duplicates", "off_topic"):
        expected = is_below(audit.scores.of(issue), now[issue] / 2)
        np.testing.assert_array_equal(narrowed.decisions.flags[issue], expected)
    higher = {("", issue): 1.0 for issue in DETECTED}
    assert Baseline({}, higher).narrowed(audit, "").decisions.thresholds == now
    assert Baseline({}, {}).narrowed(audit, "") is audit


def test_what_an_estimated_threshold_flags_beyond_the_baseline_is_no_finding() -> None:
    strict = audit_of("default").at(thresholds=Thresholds(None, Top(0.01), None))
    wide = strict.at(thresholds=Thresholds(None, Top(0.2), None))
    assert wide.decisions.flags["off_topic"].sum() > 2 * strict.decisions.flags["off_topic"].sum()
    assert wide.check(baseline=Baseline.of({"": strict}))
    assert not wide.check(baseline=Baseline({}))
