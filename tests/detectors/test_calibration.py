"""What a score means, the thresholds built on it, and the tables that tell of it."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from selfclean_hooks import Audit, Thresholds, audit_embeddings
from selfclean_hooks.cli.amounts import thresholds_of
from selfclean_hooks.core.calibration import Calibration, clean_in_a_row
from selfclean_hooks.core.issues import ISSUES
from selfclean_hooks.decisions.settings import FDR, Top, is_below, parse_threshold
from selfclean_hooks.errors import AuditFileError, SettingError
from selfclean_hooks.gate.baseline import Baseline

Floats = NDArray[np.float64]
DETECTED = [issue.name for issue in ISSUES if issue.score_field and not issue.is_by_request]
SHARE = st.integers(0, 64).map(lambda sixtyfourths: sixtyfourths / 64)  # exact, and often equal
QUICK = settings(max_examples=80, deadline=None)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Knots that ascend and probabilities that do not fall."""
    knots = sorted(draw(st.sets(SHARE, min_size=1, max_size=8)))
    clean = sorted(draw(st.lists(SHARE, min_size=len(knots), max_size=len(knots))))
    return Calibration(np.array(knots), np.array(clean))


SCORES = st.lists(SHARE | st.just(math.nan), max_size=30).map(lambda values: np.array(values, np.float64))


def slow_clean(calibration: Calibration, score: float) -> float:
    """Between the two knots around a score in proportion, flat beyond the ends."""
    knots: list[tuple[float, float]] = list(zip(calibration.score.tolist(), calibration.clean.tolist(), strict=True))
    if score == 0 or math.isnan(score):
        return score
    if score <= knots[0][0]:
        return knots[0][1]
    for (low, before), (high, after) in pairwise(knots):
        if score <= high:
            return before + (after - before) * (score - low) / (high - low)
    return knots[-1][1]


def slow_of(calibration: Calibration, scores: Floats) -> list[float]:
    """The probability of each score there is, from the worst."""
    return [slow_clean(calibration, s) for s in sorted(s for s in scores.tolist() if not math.isnan(s))]


# --- Calibration ------------------------------------------------------------------------------------


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


# --- thresholds -------------------------------------------------------------------------------------


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


# --- tables -----------------------------------------------------------------------------------------


@cache
def audit_of(method: str, labelled: bool = True) -> Audit:
    """Four classes; 20 near copies, 12 wrong labels and 8 samples far from all."""
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 4
    rows = 3 + rng.normal(0, 1.2, (4, 16))[truth] + rng.normal(0, 0.5, (300, 16))
    rows = np.concatenate([rows, rows[:20] + rng.normal(0, 0.02, (20, 16)), -rng.uniform(1, 5, (8, 16))])
    labels = np.concatenate([truth, truth[:20], np.arange(8) % 4])
    labels[100:112] = (labels[100:112] + 1) % 4
    return audit_embeddings(rows, labels if labelled else None, method=method)


COLUMNS = ["index", "score", "is_issue", "probability", "expected_found"]


@pytest.mark.parametrize("issue", DETECTED)
def test_a_ranking_goes_from_the_worst(issue: str) -> None:
    audit = audit_of("default")
    table, scores = audit.ranking(issue), audit.scores.of(issue)
    assert table.columns.tolist() == COLUMNS
    assert table["index"].tolist() == sorted(range(328), key=lambda i: (scores[i], i))
    assert table["score"].tolist() == scores[table["index"]].tolist()
    assert table["is_issue"].tolist() == audit.decisions.flags[issue][table["index"]].tolist()
    wrong = [1 - slow_clean(audit.scores.calibration[issue], s) for s in table["score"].tolist()]
    np.testing.assert_allclose(table["probability"], wrong, atol=1e-12)
    np.testing.assert_allclose(table["expected_found"], np.cumsum(wrong), atol=1e-9)
    assert (np.diff(table["probability"]) <= 1e-12).all()


def test_a_ranking_may_be_written_to() -> None:
    audit = audit_of("default")
    table = audit.ranking("off_topic")
    table["score"] = 0.0
    table.loc[0, "probability"] = 7.0
    assert audit.ranking("off_topic")["score"].min() > 0
    assert audit.ranking("off_topic")["probability"].max() <= 1


@pytest.mark.parametrize("issue", DETECTED)
def test_a_ranking_without_probabilities(issue: str) -> None:
    table = audit_of("selfclean").ranking(issue)
    assert table.columns.tolist() == COLUMNS
    assert table[["probability", "expected_found"]].isna().all(axis=None)
    assert (np.diff(table["score"]) >= 0).all()
    assert len(table) == 328


def test_a_ranking_that_there_is_not() -> None:
    with pytest.raises(SettingError, match="there is a ranking for near_duplicates, off_topic, got 'label_errors'"):
        audit_of("default", labelled=False).ranking("label_errors")
    with pytest.raises(SettingError, match=r"there is a ranking for .*label_errors, got 'leakage'"):
        audit_of("default").ranking("leakage")


def test_the_calibration_table_adds_up_the_rankings() -> None:
    audit = audit_of("default")
    table = audit.calibration.set_index("issue")
    assert table.index.tolist() == list(DETECTED)
    for issue in DETECTED:
        ranking, row = audit.ranking(issue), table.loc[issue]
        hits = ranking[ranking["is_issue"]]
        assert row["num_issues"] == len(hits) == audit.decisions.flags[issue].sum()
        assert row["precision"] == pytest.approx(hits["probability"].mean(), nan_ok=True)
        assert row["estimated"] == pytest.approx(ranking["probability"].sum())
        assert row["estimated_low"] <= row["estimated"] <= row["estimated_high"]
        assert row["recall"] == pytest.approx(hits["probability"].sum() / row["estimated"])
        assert row["inspect_for_90"] == (ranking["expected_found"] < 0.9 * row["estimated"]).sum() + 1
    assert table.loc["near_duplicates", "estimated"] == pytest.approx(40, abs=10)
    assert table.loc["label_errors", "estimated"] == pytest.approx(12, abs=10)


def test_the_calibration_table_without_one() -> None:
    table = audit_of("selfclean").calibration
    assert table.columns.tolist() == audit_of("default").calibration.columns.tolist()
    assert len(table) == 0
    assert audit_of("default", labelled=False).calibration["issue"].tolist() == ["near_duplicates", "off_topic"]


# --- files ------------------------------------------------------------------------------------------


def test_a_saved_audit_keeps_what_scores_mean(tmp_path: Path) -> None:
    thresholds = Thresholds(FDR(0.2), Top(0.05), FDR(0.1))
    audit = audit_of("default").at(thresholds=thresholds)
    audit.save(tmp_path)
    loaded = Audit.load(tmp_path)
    assert loaded.thresholds == thresholds
    assert loaded.decisions.thresholds == audit.decisions.thresholds
    for name in ("local_scale", "scaled_tree_score", "pair_score", "tree_score"):
        np.testing.assert_array_equal(getattr(loaded.scores, name), getattr(audit.scores, name))
    for issue in DETECTED:
        before, after = audit.scores.calibration[issue], loaded.scores.calibration[issue]
        np.testing.assert_array_equal(after.score, before.score)
        np.testing.assert_array_equal(after.clean, before.clean)
        assert loaded.ranking(issue).equals(audit.ranking(issue))
    assert loaded.calibration.equals(audit.calibration)
    assert loaded.pairs.equals(audit.pairs)


def test_a_saved_audit_of_the_paper_has_no_calibration(tmp_path: Path) -> None:
    audit_of("selfclean").save(tmp_path)
    loaded = Audit.load(tmp_path)
    assert loaded.scores.calibration == {}
    assert (loaded.scores.local_scale, loaded.scores.scaled_tree_score) == (None, None)


@pytest.mark.parametrize(
    "knots",
    [Calibration(np.array([0.1, 0.5]), np.array([1.0, 0.0])), Calibration(np.array([0.5, 0.1]), np.array([0.0, 1.0]))],
)
def test_a_calibration_that_makes_no_sense_is_not_loaded(tmp_path: Path, knots: Calibration) -> None:
    audit = audit_of("selfclean")
    scores = replace(audit.scores, calibration={"off_topic": knots})
    replace(audit, scores=scores).save(tmp_path)
    with pytest.raises(AuditFileError, match="calibration_off_topic must be ascending scores and probabilities"):
        Audit.load(tmp_path)


# --- baseline ---------------------------------------------------------------------------------------

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
