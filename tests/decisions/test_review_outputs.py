"""Reviews in baselines and in every format."""

import json
from dataclasses import replace

from selfclean_hooks import Audit
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Limits, check
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.junit import as_junit
from selfclean_hooks.report.markdown import as_markdown
from selfclean_hooks.report.sarif import as_sarif
from tests.decisions.reviewed_audits import DIGEST, WARN, leak, leaking, reviewed, ten
from tests.decisions.test_policy import CLUSTER, low
from tests.helpers.review_data import mark


def test_a_baseline_takes_what_is_fine_and_leaves_what_is_confirmed() -> None:
    audit = ten(near=CLUSTER, off_topic=low(3, 4, 5))
    found = reviewed(
        audit,
        mark(audit, "off_topic", "rejected", 3),
        mark(audit, "off_topic", "confirmed", 4),
        mark(audit, "near_duplicates", "rejected", 7, 2),
    )
    baseline = Baseline.of({"": found})
    notes = {(key.issue, key.samples): entry.note for key, entry in baseline.entries.items()}
    assert {samples: note for (issue, samples), note in notes.items() if issue == "off_topic"} == {
        (DIGEST(4),): "reviewed: not an issue",
        (DIGEST(6),): "",
    }
    assert "reviewed: not an issue" in {note for (issue, _), note in notes.items() if issue == "near_duplicates"}

    def new(audit: Audit) -> dict[str, list[int]]:
        checks = audit.check(Limits(), baseline).checks
        return {each.issue: each.found.tolist() for each in checks if len(each.found)}

    assert new(found) == {"off_topic": [4]}
    assert new(audit) == {"off_topic": [4]}, "without the decisions too"
    assert found.check(Limits(), baseline).stale == ()
    mine = replace(next(iter(baseline.entries.values())), note="mine")
    assert Baseline.of({"": found}, Baseline({mine.key: mine})).entries[mine.key].note == "mine"


def test_what_is_confirmed_is_new_whatever_was_accepted_before() -> None:
    audit = ten(near=CLUSTER, off_topic=low(3), leaks=leaking().scores.leaks)
    baseline = Baseline.of({"": audit})
    assert audit.check(baseline=baseline)
    sure = reviewed(
        audit,
        mark(audit, "off_topic", "confirmed", 3),
        mark(audit, "near_duplicates", "confirmed", 8, 2),
        leak("confirmed", 1, 0),
    )
    verdict = sure.check(baseline=baseline)
    assert {each.issue: each.found.tolist() for each in verdict.checks if len(each.found)} == {
        "off_topic": [3],
        "near_duplicates": [8],
        "leakage": [1],
    }
    assert verdict.stale == ()
    after = Baseline.of({"": sure}, baseline)
    assert {s for key in after.entries for s in key.samples} & {DIGEST(4), DIGEST(9)} == set()
    assert (DIGEST(2), DIGEST(100)) not in {key.samples for key in after.entries}


def test_corrected_labels_are_no_findings_and_are_not_accepted() -> None:
    audit = ten(label=low(4))
    found = reviewed(audit, mark(audit, "label_errors", "relabelled", 4, label="7"))
    assert found.check(Limits(label_errors=0.0))
    assert len(Baseline.of({"": found})) == 0
    before = Baseline.of({"": audit})
    assert found.check(baseline=before).stale == ()


def test_what_is_fine_is_in_no_format() -> None:
    audit = ten(near=CLUSTER, off_topic=low(4, 5), leaks=leaking().scores.leaks, policy=WARN)
    found = reviewed(
        audit,
        mark(audit, "off_topic", "rejected", 4),
        mark(audit, "near_duplicates", "rejected", 7, 2),
        mark(audit, "near_duplicates", "confirmed", 6, 2),
        leak("rejected", 1, 0),
    )
    audits = {"": found}
    verdict = check(audits, {"": Limits(0.0, 0.0, leakage=0.0)})
    for text in (
        as_json(audits, verdict),
        as_markdown(audits, verdict).replace("&#46;", ".").replace("&#47;", "/"),
        as_junit(audits, verdict),
        as_sarif(audits, verdict),
    ):
        listed = {i for i in range(10) if f"dir/{i}.png" in text}
        assert listed == {2, 5, 6, 8}
    reported = json.loads(as_json(audits, verdict))
    assert {row["issue"]: row["num_issues"] for row in reported["summary"]} == {
        "near_duplicates": 2,
        "off_topic": 1,
        "label_errors": 0,
        "leakage": 1,
        "unreadable": 0,
    }
    assert sum(row["samples_1"] for row in reported["leakage"]) == 2, "2 is in val and in test"
