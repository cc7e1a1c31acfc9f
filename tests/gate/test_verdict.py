from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from selfclean_hooks import Audit, Baseline, Limits, SplitsAudit, audit_embeddings
from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Check, Count, check
from tests.decisions.test_policy import leaks_of, low, scores_of

NEAR = [(0, 1, 0.0), (0, 2, 0.01), (1, 2, 0.01)]


@pytest.fixture
def found() -> Audit:
    return Audit(scores_of(near=NEAR, off_topic=low(4), errors={9: "gone"}))


@pytest.fixture
def unlabelled(found: Audit) -> Audit:
    scores = replace(found.scores, not_run={"label_errors": "there are no labels"}, label=np.full(10, np.nan))
    return replace(found, scores=scores)


def test_without_limits_everything_passes(found: Audit) -> None:
    verdict = found.check(Limits())
    assert verdict.passed
    assert verdict
    assert verdict.reasons == verdict.failures == verdict.stale == ()
    assert not verdict.baseline
    assert [each.issue for each in verdict.checks] == ["near_duplicates", "off_topic", "label_errors", "unreadable"]
    assert [each.found.tolist() for each in verdict.checks] == [[1, 2], [4], [], [9]]
    assert {(each.split, each.samples, each.limit, each.not_run, each.passed) for each in verdict.checks} == {
        ("", 10, None, "", True)
    }
    assert verdict.checks[1].reason == ("off_topic: 0.1000 (1 of 10 samples; 95% interval 0.0179 to 0.4042), no limit")


@pytest.mark.parametrize(
    ("limit", "passed"), [(0.0, False), (0.19, False), (0.2, True), (1, True), (Count(1), False), (Count(2), True)]
)
def test_a_limit_is_met_up_to_and_with_itself(found: Audit, limit: float | Count, passed: bool) -> None:
    assert found.check(Limits(near_duplicates=limit)).passed is passed


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_is_within_itself_and_beyond_anything_less(hits: tuple[int, int]) -> None:
    count, n = hits
    at = Check("off_topic", "", n, np.arange(count), np.arange(0), (), limit=count / n)
    assert at.passed
    assert count == 0 or not replace(at, limit=(count - 0.5) / n).passed
    assert replace(at, limit=Count(count)).passed
    assert count == 0 or not replace(at, limit=Count(count - 1)).passed


def test_reasons_are_sentences_with_figures_and_worst_examples_failures_first(found: Audit) -> None:
    verdict = found.check(Limits(near_duplicates=0.5, off_topic=0.05, label_errors=Count(0), unreadable=0.0))
    assert not verdict
    assert verdict.failures == (
        "off_topic: 0.1000 (1 of 10 samples; 95% interval 0.0179 to 0.4042) exceeds the limit 0.05; worst: 4",
        "unreadable: 0.1000 (1 of 10 samples; 95% interval 0.0179 to 0.4042) exceeds the limit 0; worst: 9",
    )
    assert verdict.reasons == (
        *verdict.failures,
        "near_duplicates: 0.2000 (2 of 10 samples; 95% interval 0.0567 to 0.5098) is within the limit 0.5",
        "label_errors: 0.0000 (0 of 10 samples; 95% interval 0.0000 to 0.2775) is within the limit 0 samples",
    )


def test_the_worst_five_are_called_by_their_files(found: Audit) -> None:
    names = tuple("" if i == 3 else f"dir/{i}.png" for i in range(10))
    scores = scores_of(off_topic=np.array([0.09, 0.08, 0.07, 0.01, 0.05, 0.04, 0.03, 0.9, 0.9, 0.9]))
    (reason,) = replace(found, scores=scores, names=names).check(Limits(off_topic=Count(5))).reasons
    assert reason.endswith(
        " exceeds the limit 5 samples; worst: 3, dir/6.png (6), dir/5.png (5), dir/4.png (4), dir/2.png (2) and 2 more"
    )


def test_a_check_that_did_not_run_meets_no_limit(unlabelled: Audit) -> None:
    verdict = unlabelled.check(Limits(label_errors=1.0))
    assert not verdict
    assert verdict.reasons == ("label_errors: not run (there are no labels), so the limit 1 is not met",)


def test_a_check_that_did_not_run_may_be_allowed_not_to(unlabelled: Audit) -> None:
    verdict = unlabelled.check(Limits(label_errors=0.0, not_run=["label_errors"]))
    assert verdict
    assert verdict.reasons == ("label_errors: not run (there are no labels), which is allowed",)
    assert not unlabelled.check(Limits(label_errors=0.0, not_run=("leakage", "off_topic")))


def test_a_check_without_limit_that_did_not_run_fails_nothing(unlabelled: Audit) -> None:
    verdict = unlabelled.check(Limits(off_topic=1.0))
    assert verdict
    labels = verdict.checks[2]
    assert labels.not_run == "there are no labels"
    assert labels.reason == "label_errors: not run (there are no labels)"
    assert labels.reason not in verdict.reasons


def test_leakage_where_no_other_split_was_given_did_not_run(found: Audit) -> None:
    verdict = found.check(Limits(leakage=0.5))
    assert verdict.failures == ("leakage: not run (no other split was given), so the limit 0.5 is not met",)
    assert found.check(Limits(leakage=0.5, not_run={"leakage"}))


def test_leakage_counts_samples_of_the_split(found: Audit) -> None:
    leaks = leaks_of(("val", 2, 17, 0.0), ("test", 3, 4, 0.05), ("val", 3, 5, 0.061), ("val", 4, 1, 0.2))
    audit = replace(found, scores=replace(found.scores, leaks=leaks))
    verdict = audit.check(Limits(leakage=Count(1)))
    assert verdict.failures == (
        "leakage: 0.2000 (2 of 10 samples; 95% interval 0.0567 to 0.5098) exceeds the limit 1 samples; worst: 2, 3",
    )
    assert audit.check(Limits(leakage=Count(2)))


def test_the_total_counts_samples_with_any_issue_once_those_with_most_first(found: Audit) -> None:
    audit = replace(found, scores=replace(found.scores, label=low(2, 4, 5)))
    verdict = audit.check(Limits(total=0.4))
    assert verdict.failures == (
        "total: 0.5000 (5 of 10 samples; 95% interval 0.2366 to 0.7634) exceeds the limit 0.4; worst: 2, 4, 1, 5, 9",
    )
    assert audit.check(Limits(total=0.5))
    assert audit.check(Limits(total=Count(5)))
    assert not audit.check(Limits(total=Count(4)))


def test_a_total_needs_every_check_that_may_not_go_unchecked(unlabelled: Audit) -> None:
    verdict = unlabelled.check(Limits(total=1.0))
    assert verdict.failures == ("total: not run (label_errors: there are no labels), so the limit 1 is not met",)
    assert unlabelled.check(Limits(total=0.4, not_run=("label_errors",)))
    assert not unlabelled.check(Limits(total=0.3, not_run=("label_errors",)))


def test_every_split_has_its_own_limits(found: Audit) -> None:
    clean = Audit(scores_of(n=5, off_topic=low(n=5), label=low(n=5)))
    audits = {"train": found, "val": found, "test": clean}
    verdict = check(audits, {"train": Limits(off_topic=0.1), "val": Limits(off_topic=0.0), "test": Limits(total=0.0)})
    assert verdict.failures == (
        "val: off_topic: 0.1000 (1 of 10 samples; 95% interval 0.0179 to 0.4042) exceeds the limit 0; worst: 4",
    )
    assert [reason.split(" ")[:2] for reason in verdict.reasons[1:]] == [["train:", "off_topic:"], ["test:", "total:"]]
    assert {(each.split, each.samples) for each in verdict.checks} == {("train", 10), ("val", 10), ("test", 5)}
    assert check(audits, {"train": Limits(off_topic=0.1)})  # the others have none


@pytest.mark.parametrize(
    ("splits", "known"), [(("train", "val"), "are only train, val"), (("",), "are no splits: one data set was audited")]
)
def test_limits_for_a_split_that_there_is_not_are_refused(found: Audit, splits: tuple[str, ...], known: str) -> None:
    with pytest.raises(SettingError) as caught:
        check(dict.fromkeys(splits, found), {"vla": Limits()})
    assert str(caught.value) == f"limits are given for the split 'vla', and there {known}"


@given(st.integers(1, 3_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_those_of_scipy(hits: tuple[int, int]) -> None:
    count, n = hits
    twin = binomtest(count, n).proportion_ci(method="wilson")
    low, high = wilson(count, n)
    np.testing.assert_allclose((low, high), (twin.low, twin.high), rtol=1e-6, atol=1e-9)
    assert 0 <= low <= count / n <= high <= 1


def test_an_audit_and_its_checks_give_the_same_figures(found: Audit) -> None:
    checks = found.check(Limits()).checks
    assert {each.issue: each.fraction for each in checks} == found.contamination
    assert {each.issue: each.interval for each in checks} == found.intervals


@pytest.mark.parametrize("value", [-0.01, 1.01, 5, np.nan, "1%", True, [0.1]])
def test_what_is_no_limit_is_refused(value: Any) -> None:
    with pytest.raises(SettingError) as caught:
        Limits(off_topic=value)
    assert str(caught.value) == (
        f"the limit of off_topic must be a fraction in [0, 1] or None, got {value!r}; a number of samples is given as "
        "Count(5)"
    )


@pytest.mark.parametrize("value", [-1, 1.0, "5", None, True])
def test_what_is_no_count_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="a Count must be a whole number of samples, 0 or more, got"):
        Count(value)


@pytest.mark.parametrize("value", ["label_errors", ("labels",), ("total",), {"off_topic", ""}])
def test_what_is_no_list_of_issues_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="not_run must list issues that may go unchecked, of near_duplicates, off_"):
        Limits(not_run=value)


def test_a_baseline_may_be_a_path_and_limits_may_be_left_out(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    vectors[1] = vectors[0]
    found = audit_embeddings(vectors)
    splits = SplitsAudit({"train": found, "val": found})
    for one, audits in ((found, {"": found}), (splits, splits.audits)):
        Baseline.of(audits).write(tmp_path / "b")
        assert one.check(baseline=tmp_path / "b")
        assert one.check(baseline=str(tmp_path / "b"))
        assert not one.check(baseline=Baseline({}))
        assert not one.check(Limits(near_duplicates=Count(np.int64(0))))
