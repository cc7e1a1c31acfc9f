"""JUnit XML beside the schema of Jenkins, and read by junitparser."""

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
import xmlschema

from selfclean_hooks import Audit, Limits
from selfclean_hooks.report.junit import as_junit
from selfclean_hooks.report.text import sample_name
from tests.decisions.test_policy import scores_of
from tests.helpers.format_data import HOSTILE, SCHEMAS, half_accepted, judged, one, two

XSD = xmlschema.XMLSchema(str(SCHEMAS / "junit-10.xsd"))


def read(text: str) -> Any:
    assert text.isascii()
    XSD.validate(text)
    return junitparser.JUnitXml.fromstring(text.encode())


def cases(suite: Any) -> dict[str, Any]:
    return {case.name: case for case in suite}


def outcome(case: Any) -> str:
    return ",".join(type(result).__name__ for result in case.result)


def test_the_schema_refuses_what_is_no_junit() -> None:
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        XSD.validate("<testsuites><testcase name='x'/></testsuites>")


def test_a_split_is_a_suite_and_an_issue_a_case() -> None:
    audits = two()
    found = read(as_junit(audits, judged(audits)))
    train, val = found
    assert (train.name, val.name) == ("selfclean_hooks.train", "selfclean_hooks.val")
    assert {case.classname for case in train} == {"selfclean_hooks.train"}
    assert {name: outcome(case) for name, case in cases(train).items()} == {
        "near_duplicates": "Failure",
        "off_topic": "",
        "label_errors": "Error",
        "leakage": "",
        "unreadable": "Failure",
    }
    assert {name: outcome(case) for name, case in cases(val).items()} == {
        "near_duplicates": "",
        "off_topic": "",
        "label_errors": "Failure",
        "unreadable": "",
    }
    assert (train.tests, train.failures, train.errors, train.skipped) == (5, 2, 1, 0)
    assert (found.tests, found.failures, found.errors) == (9, 3, 1)


def test_one_data_set_has_no_split_in_its_name() -> None:
    (suite,) = read(as_junit({"": one()}, judged({"": one()})))
    assert suite.name == "selfclean_hooks"
    assert {case.classname for case in suite} == {"selfclean_hooks"}


def test_a_failure_says_why_and_names_the_worst() -> None:
    audits = two()
    verdict = judged(audits)
    train, _ = read(as_junit(audits, verdict))
    (failure,) = cases(train)["near_duplicates"].result
    check = next(check for check in verdict.checks if check.issue == "near_duplicates")
    assert failure.message == check.reason
    reasons = audits["train"].decisions.reason
    assert failure.text.splitlines() == [f"train/{i}.png ({i}): {reasons[i]}" for i in (1, 2)]
    (error,) = cases(train)["label_errors"].result
    assert "there are no labels" in error.message


def test_what_has_no_limit_or_may_go_unchecked_is_skipped() -> None:
    audits = {"": one()}
    (suite,) = read(as_junit(audits, judged(audits, Limits(label_errors=0, not_run=("label_errors",)))))
    assert {name: outcome(case) for name, case in cases(suite).items()} == dict.fromkeys(
        ("near_duplicates", "off_topic", "label_errors", "unreadable"), "Skipped"
    )
    assert cases(suite)["off_topic"].result[0].message == "no limit; 10.00% (1.79-40.42)"
    assert suite.skipped == 4


def test_figures_are_properties_of_the_suite() -> None:
    audits = two()
    train, _ = read(as_junit(audits, judged(audits)))
    found = {entry.name: entry.value for entry in train.properties()}
    assert found["samples"] == "10"
    assert found["near_duplicates.contamination"] == "0.2"
    assert found["near_duplicates.interval"] == "0.0566822 to 0.509838"
    assert found["near_duplicates.limit"] == "10%"
    assert found["unreadable.limit"] == "0 samples"
    assert "label_errors.contamination" not in found


def test_no_more_than_twenty_are_named() -> None:
    audits = {"": Audit(scores_of(60, errors={i: "gone" for i in range(60)}))}
    (suite,) = read(as_junit(audits, judged(audits, Limits(unreadable=0))))
    lines = cases(suite)["unreadable"].result[0].text.splitlines()
    assert lines[0] == "sample 0: unreadable (gone)"
    assert lines[-1] == "and 40 more"
    assert len(lines) == 21


def test_entries_that_are_stale_are_reported() -> None:
    text = as_junit(*half_accepted())
    (suite,) = read(text)
    reported = ElementTree.fromstring(text.encode()).findtext("testsuite/system-out") or ""
    assert "gone | `file`.png" in reported
    assert {entry.name: entry.value for entry in suite.properties()}["off_topic.accepted"] == "1"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_stay_text_on_one_line(name: str) -> None:
    audits = two(name, other=name)
    audits["train"] = replace(audits["train"], scores=replace(audits["train"].scores, errors={9: name}))
    text = as_junit(audits, judged(audits))
    train, val = read(text)
    assert len(cases(train)) == 5
    assert "\n" not in val.name
    assert all(re.fullmatch(r"[\x20-\x7e\n]*", part) for part in [text])
    (failure,) = cases(train)["near_duplicates"].result
    assert [line.split(": near duplicate")[0] for line in failure.text.splitlines()] == [
        sample_name(audits["train"], i) for i in (1, 2)
    ]
