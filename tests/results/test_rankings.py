"""Rankings and the table of what scores mean, in memory and saved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfclean_hooks import Audit, Thresholds
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.decisions.settings import FDR, Top
from selfclean_hooks.errors import AuditFileError, SettingError
from tests.detectors.calibrations import DETECTED, audit_of, slow_clean

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
    for issue in ("off_topic", "label_errors"):
        ranking, row = audit.ranking(issue), table.loc[issue]
        hits = ranking[ranking["is_issue"]]
        assert row["num_issues"] == len(hits) == audit.decisions.flags[issue].sum()
        assert row["precision_low"] <= hits["probability"].mean() <= row["precision_high"]
        claimed = row["precision_high"] - row["precision_low"] <= BY_NAME[issue].widest_claim
        assert row["precision"] == pytest.approx(hits["probability"].mean() if claimed else math.nan, nan_ok=True)
        assert row["estimated"] == pytest.approx(ranking["probability"].sum())
        assert row["estimated_low"] <= row["estimated"] <= row["estimated_high"]
        assert row["recall"] == pytest.approx(hits["probability"].sum() / row["estimated"])
        assert row["inspect_for_90"] == (ranking["expected_found"] < 0.9 * row["estimated"]).sum() + 1
    assert table.loc["near_duplicates", "estimated"] == pytest.approx(20, abs=10)
    assert table.loc["label_errors", "estimated"] == pytest.approx(12, abs=10)


def test_of_a_set_of_near_duplicates_all_but_one_are_counted() -> None:
    audit = audit_of("default")
    scores, calibration = audit.scores, audit.scores.calibration["near_duplicates"]
    links = [
        *zip(scores.tree_score.tolist(), scores.tree_index.tolist(), strict=True),
        *zip(scores.pair_score.tolist(), scores.pair_index.tolist(), strict=True),
    ]
    group, joined = list(range(len(scores))), []
    for score, (one, other) in sorted(links):
        if group[one] != group[other]:
            joined.append(score)
            group = [group[one] if g == group[other] else g for g in group]
    right = 1 - calibration.probability_clean(np.array(joined))
    flags = np.array(joined) < audit.decisions.thresholds["near_duplicates"]
    row = audit.calibration.set_index("issue").loc["near_duplicates"]
    assert (
        row["num_issues"]
        == audit.decisions.surplus.sum()
        == audit.summary.set_index("issue").loc["near_duplicates", "num_issues"]
    )
    assert row["estimated"] == pytest.approx(right.sum())
    assert row["precision"] == pytest.approx(right[flags].mean())
    assert row["inspect_for_90"] == (right.cumsum() < 0.9 * right.sum()).sum() + 1


def test_the_calibration_table_without_one() -> None:
    table = audit_of("selfclean").calibration
    assert table.columns.tolist() == audit_of("default").calibration.columns.tolist()
    assert len(table) == 0
    assert audit_of("default", labelled=False).calibration["issue"].tolist() == ["near_duplicates", "off_topic"]


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
