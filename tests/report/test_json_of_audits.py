"""The report as JSON: counts, verdict and leakage, and nothing that is no JSON."""

import json
from dataclasses import replace

import pytest

from selfclean_hooks import Limits, Policy, Thresholds
from selfclean_hooks.report.as_json import as_json
from tests.report.html.page_reader import N, leaking, made


def test_json_holds_the_counts_and_no_nan() -> None:
    audit = made(labels=False, thresholds=Thresholds(None))
    found = json.loads(as_json(audit), parse_constant=lambda constant: pytest.fail(constant))
    assert set(found) >= {"format", "samples", "summary", "contamination", "not_run", "kept", "verdict"}
    assert (found["format"], found["samples"], found["kept"], found["verdict"]) == (1, N, N, None)
    assert found["contamination"] == audit.contamination
    assert found["not_run"] == {"label_errors": "there are no labels"}
    rows = {row["issue"]: row for row in found["summary"]}
    assert rows["near_duplicates"]["threshold"] is None
    assert rows["label_errors"]["num_issues"] is None
    assert rows["off_topic"]["action"] == "warn"


def test_json_holds_leakage_where_it_was_looked_for() -> None:
    found = json.loads(as_json(leaking(made(policy=Policy(leakage="drop")))))
    assert found["contamination"]["leakage"] == 35 / N
    row = next(row for row in found["summary"] if row["issue"] == "leakage")
    assert (row["num_issues"], row["action"]) == (35, "drop")
    assert found["kept"] == N - 35


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_json_holds_the_verdict(limit: float) -> None:
    audit = made()
    verdict = audit.check(Limits(near_duplicates=limit))
    found = json.loads(as_json(audit, verdict))["verdict"]
    assert (found["passed"], found["reasons"]) == (limit == 0.5, list(verdict.reasons))


def test_json_of_a_refused_policy_has_no_kept() -> None:
    assert json.loads(as_json(made(policy=Policy(near_duplicates="drop", max_drop_fraction=0))))["kept"] is None


def test_json_is_ascii_whatever_the_data_says() -> None:
    audit = made(labels=False)
    audit = replace(audit, scores=replace(audit.scores, not_run={"label_errors": "é \udcff"}))
    assert as_json(audit).isascii()
    assert json.loads(as_json(audit))["not_run"] == {"label_errors": "é \udcff"}
