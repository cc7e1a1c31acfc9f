"""The verdict as JUnit XML: a suite for every split and a case for every issue, for CI services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from selfclean_hooks.report.text import WORST, by_split, contamination_of, limit_of, sample_name, why
from selfclean_hooks.utils.text import LONGEST, visible

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

PACKAGE = "selfclean_hooks"
OUTCOMES = {"failure": "failures", "error": "errors", "skipped": "skipped"}  # element: the attribute that counts it


def as_junit(audits: Mapping[str, AuditResult], verdict: Verdict) -> str:
    """The verdict as JUnit XML, ASCII only. What XML forbids or hides in a name is written as an escape, as \\x00.

    A case fails where a limit is not kept, is an error where a check that has a limit could not run, and is skipped
    where there is no limit; what speaks against the audits is an error of its own. The figures are properties of the
    suite, for the schema knows none of cases.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
    """
    suites = [_suite(split, audit, checks) for split, audit, checks in by_split(audits, verdict)]
    for reason in verdict.refused:
        _add_refusal(suites[0], reason)
    if verdict.stale:
        lines = ["stale entries of the baseline:", *(visible(entry) for entry in verdict.stale)]
        ElementTree.SubElement(suites[0], "system-out").text = "\n".join(lines)
    root = ElementTree.Element("testsuites", {"name": "selfclean-hooks"})
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.attrib[count]) for suite in suites)))
    root.extend(suites)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=True)
    return text.decode("ascii")


def _suite(split: str, audit: AuditResult, checks: Sequence[Check]) -> ElementTree.Element:
    name = f"{PACKAGE}.{visible(split)}" if split else PACKAGE
    suite = ElementTree.Element("testsuite", {"name": name, "tests": str(len(checks))})
    outcomes = [_outcome(check) for check in checks]
    for outcome, attribute in OUTCOMES.items():
        suite.set(attribute, str(outcomes.count(outcome)))
    properties = ElementTree.SubElement(suite, "properties")
    for key, value in _properties(audit, checks):
        ElementTree.SubElement(properties, "property", {"name": key, "value": value})
    for check, outcome in zip(checks, outcomes, strict=True):
        _add_case(suite, name, audit, check, outcome)
    return suite


def _properties(audit: AuditResult, checks: Sequence[Check]) -> Iterator[tuple[str, str]]:
    yield "samples", str(len(audit))
    for check in checks:
        if not check.not_run:
            low, high = check.interval
            yield f"{check.issue}.found", str(len(check.found))
            yield f"{check.issue}.accepted", str(len(check.accepted))
            yield f"{check.issue}.contamination", f"{check.fraction:.6g}"
            yield f"{check.issue}.interval", f"{low:.6g} to {high:.6g}"
        if check.limit is not None:
            yield f"{check.issue}.limit", limit_of(check)


def _outcome(check: Check) -> str:
    if check.passed:
        return "skipped" if check.limit is None or check.not_run else ""
    return "error" if check.not_run else "failure"


def _add_case(suite: ElementTree.Element, name: str, audit: AuditResult, check: Check, outcome: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": name, "name": check.issue})
    message = visible(_message(check), 5 * LONGEST)
    if not outcome:
        ElementTree.SubElement(case, "system-out").text = message
        return
    kind = {"failure": {"type": "limit"}, "error": {"type": "not run"}}.get(outcome, {})
    element = ElementTree.SubElement(case, outcome, {"message": message, **kind})
    if outcome == "failure":
        element.text = "\n".join(_worst(audit, check))


def _add_refusal(suite: ElementTree.Element, reason: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": suite.attrib["name"], "name": "refused"})
    ElementTree.SubElement(case, "error", {"message": visible(reason, 5 * LONGEST), "type": "refused"})
    for count in ("tests", "errors"):
        suite.set(count, str(int(suite.attrib[count]) + 1))


def _message(check: Check) -> str:
    if check.limit is not None:
        return check.reason
    return f"not run: {check.not_run}" if check.not_run else f"no limit; {contamination_of(check)}"


def _worst(audit: AuditResult, check: Check) -> Iterator[str]:
    for index in check.found[:WORST].tolist():
        yield f"{sample_name(audit, index)}: {why(audit, index)}"
    if len(check.found) > WORST:
        yield f"and {len(check.found) - WORST} more"
