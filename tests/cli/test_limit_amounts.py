from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Limits, Thresholds
from selfclean_hooks.cli.amounts import limits_of, thresholds_of
from selfclean_hooks.cli.options.gate import LIMIT, GateOptions
from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Count

ONE = ("",)
TWO = ("train", "val")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("0.01", 0.01),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1%", 0.01),
        ("0.5%", 0.005),
        ("100%", 1.0),
        ("count:0", Count(0)),
        ("count:5", Count(5)),
        ("count:123456", Count(123456)),
    ],
)
def test_amounts_are_fractions_percentages_or_counts(text: str, limit: float | Count) -> None:
    assert limits_of({"off_topic": [text]}, (), ONE) == {"": Limits(off_topic=limit)}


@given(st.floats(0, 1))
def test_any_fraction_is_read_as_it_was_written(value: float) -> None:
    assert limits_of({"total": [repr(value)]}, (), ONE) == {"": Limits(total=value)}


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "nan", "inf", "-0.1", "1.01", "5", "101%", "-1%", "%", "nan%", "1%%", "0,5", "None", "auto"),
        *("count:", "count:-1", "count:1.5", "count:x", "Count:5", "count:5%", "5 samples", "count:" + "9" * 99),
        *("val=", "val=x", "val=2"),
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        limits_of({"off_topic": [text]}, (), TWO)
    assert str(caught.value) == (
        "the limit of off_topic must be a fraction in [0, 1] or a number of samples (0.01, 1%, count:5, or val=0.01 "
        f"for one split), got {text!r}"
    )


def test_a_limit_that_names_a_split_counts_there_and_before_one_that_does_not() -> None:
    texts = {"off_topic": ["val=0", "10%"], "leakage": ["train=count:3"], "total": []}
    assert limits_of(texts, ["label-errors", "leakage"], TWO) == {
        "train": Limits(off_topic=0.1, leakage=Count(3), not_run=("label_errors", "leakage")),
        "val": Limits(off_topic=0.0, not_run=("label_errors", "leakage")),
    }
    assert limits_of({}, (), TWO) == {"train": Limits(), "val": Limits()}


def test_splits_may_have_any_name() -> None:
    assert limits_of({"total": ["a=b=1%", "=0.5"]}, (), ("a=b", "c")) == {
        "a=b": Limits(total=0.01),
        "c": Limits(total=0.5),
    }


@pytest.mark.parametrize(
    ("splits", "known"),
    [(TWO, "there are train, val"), (ONE, "a single data set was audited, without a name")],
)
def test_a_split_that_there_is_not_is_refused(splits: tuple[str, ...], known: str) -> None:
    with pytest.raises(SettingError) as caught:
        limits_of({"leakage": ["test=0.1"]}, (), splits)
    assert str(caught.value) == f"the limit test=0.1 of leakage names an unknown split: {known}"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["val=0.1", "val=0.1"], "the limit of off_topic for val is given twice: leave out one"),
        (["0.1", "0.2"], "the limit of off_topic is given twice: leave out one"),
    ],
)
def test_a_limit_given_twice_is_refused(written: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        limits_of({"off_topic": written}, (), TWO)
    assert str(caught.value) == message


@pytest.mark.parametrize("issue", ["total", "labels", "", "Off_topic", "near duplicates"])
def test_only_issues_may_go_unchecked(issue: str) -> None:
    with pytest.raises(SettingError) as caught:
        limits_of({}, [issue], ONE)
    assert str(caught.value) == (
        f"there is no issue {issue!r}: choose from near_duplicates, off_topic, label_errors, group_leakage, "
        "image_quality, leakage, unreadable"
    )


def test_thresholds_take_the_place_of_those_before() -> None:
    before = Thresholds(near_duplicates=0.1, off_topic=0.2, label_errors=0.3)
    assert thresholds_of([], before) == before
    found = thresholds_of(["near-duplicates=auto", "off_topic=none"], before)
    assert found == Thresholds(near_duplicates="auto", off_topic=None, label_errors=0.3)
    assert thresholds_of(["label_errors=0"], before) == Thresholds(0.1, 0.2, 0.0)


@pytest.mark.parametrize("value", ["", "x", "nan", "-1", "1.5", "1%", "0.1=0.2"])
def test_what_is_no_threshold_is_refused(value: str) -> None:
    message = r'the threshold of off_topic must be "auto", a score in \[0, 1\], FDR'
    with pytest.raises(SettingError, match=message):
        thresholds_of([f"off_topic={value}"], Thresholds())


@pytest.mark.parametrize("text", ["leakage=0.1", "total=0.1", "unreadable=0", "0.1", "", "=0.1", "labels=auto"])
def test_a_threshold_is_for_an_issue_that_has_scores(text: str) -> None:
    names = "near_duplicates, off_topic, label_errors, group_leakage, image_quality"
    with pytest.raises(SettingError, match=rf"there is no issue .*: choose from {names}$"):
        thresholds_of([text], Thresholds())


def test_every_issue_has_a_limit_on_the_command_line() -> None:
    options = [field.name.removeprefix(LIMIT) for field in fields(GateOptions) if field.name.startswith(LIMIT)]
    assert sorted(options) == sorted([*NAMES, "total"])
