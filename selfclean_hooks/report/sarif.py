"""The verdict as SARIF, for code scanning services."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from selfclean_hooks.core.issues import ISSUES, TOTAL, Issue
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.report.text import WORST, digest_of, name_of, why
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 5000  # GitHub shows 5,000 of a run and refuses 25,000
RULES = sorted(ISSUES, key=lambda issue: issue.is_by_request)
NUMBER = {issue.name: number for number, issue in enumerate(RULES)}
PLAIN = str.maketrans({"[": "\\[", "]": "\\]", "{": "{{", "}": "}}"})  # in a message these make links, placeholders


class Finding(NamedTuple):
    """One sample that counts for one issue."""

    order: tuple[bool, bool, int]  # accepted, not in a check that failed, rank among the samples of the check
    audit: AuditResult
    check: Check
    position: int
    pairs: Sequence[int] = ()  # of leakage, nearest first

    @property
    def is_accepted(self) -> bool:
        """By the baseline."""
        return self.order[0]

    @property
    def level(self) -> str:
        """ "error" in a check that failed."""
        return "warning" if self.order[1] else "error"


def as_sarif(audits: Mapping[str, AuditResult], verdict: Verdict) -> str:
    """One run with a result a finding, ASCII only; what failed is an error, the rest a warning.

    Of more than 5,000 findings the worst of every check are there, those of failed checks first, and a notification
    says how many are not. Files below the current folder are given relative to it. What could not be checked, and what
    in the baseline is out of date, are notifications.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
    """
    findings = sorted(_findings(audits, verdict), key=lambda finding: finding.order)
    shown, left_out = findings[:MOST_RESULTS], len(findings) - MOST_RESULTS
    known = {issue for audit in audits.values() for issue in audit.scores.issues}
    has_all = any(issue.is_by_request and issue.name in known for issue in RULES)
    rules = [_rule(issue) for issue in RULES if has_all or not issue.is_by_request]
    driver = {"name": "selfclean-hooks", "version": version("selfclean-hooks"), "rules": rules}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "selfclean-hooks/"},
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "the folder that the audit was started in"}}},
        "invocations": [
            {
                "executionSuccessful": not verdict.refused,
                "toolExecutionNotifications": list(_notifications(verdict, left_out)),
            }
        ],
        "results": [_result(finding, verdict.baseline) for finding in shown],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False)


def _findings(audits: Mapping[str, AuditResult], verdict: Verdict) -> Iterator[Finding]:
    """All findings but those of the total, which repeat those of the issues."""
    too_many = {check.split for check in verdict.checks if check.issue == TOTAL and not check.passed}
    for check in verdict.checks:
        if check.issue == TOTAL:
            continue
        is_tolerated = check.passed and check.split not in too_many
        pairs = _leaked(audits[check.split]) if check.issue == "leakage" else {}
        for is_accepted, positions in ((False, check.found), (True, check.accepted)):
            for rank, index in enumerate(positions.tolist()):
                order = (is_accepted, is_accepted or is_tolerated, rank)
                yield Finding(order, audits[check.split], check, index, pairs.get(index, ()))


def _leaked(audit: AuditResult) -> dict[int, list[int]]:
    """Position: its flagged pairs with samples of other splits, nearest first."""
    pairs: dict[int, list[int]] = {}
    if (leaks := audit.scores.leaks) is not None:
        for pair in audit.decisions.leaks.nonzero()[0].tolist():
            pairs.setdefault(int(leaks.index[pair]), []).append(pair)
    return pairs


def _result(finding: Finding, has_baseline: bool) -> dict[str, Any]:
    audit, index, issue = finding.audit, finding.position, finding.check.issue
    result: dict[str, Any] = {
        "ruleId": _rule_id(issue),
        "ruleIndex": NUMBER[issue],
        "level": finding.level,
        "message": {"text": _text(why(audit, index))},
        "locations": [location_of(name_of(audit, index), finding.check.split, index, _source(audit))],
        "relatedLocations": list(_related(finding)),
    }
    if digest := digest_of(audit, index):
        result["partialFingerprints"] = {"sampleDigest/v1": digest}
    if has_baseline:
        accepted = {"kind": "external", "justification": "accepted in the baseline"}
        result["baselineState"] = "unchanged" if finding.is_accepted else "new"
        result["suppressions"] = [accepted] if finding.is_accepted else []
    return result


def _related(finding: Finding) -> Iterator[dict[str, Any]]:
    """The copy that is kept instead, or the same in other splits."""
    audit, leaks = finding.audit, finding.audit.scores.leaks or LeakPairs.empty()
    if finding.check.issue == "near_duplicates":
        _, kept = audit.decisions.duplicates.of(finding.position)
        place = location_of(name_of(audit, kept), finding.check.split, kept, _source(audit))
        yield {"id": 1, **place, "message": {"text": "the copy that is kept"}}
    for number, pair in enumerate(finding.pairs[:WORST], 1):
        name, split = leaks.other_names[pair] if leaks.other_names else "", leaks.other_split(pair)
        place = location_of(name, split, int(leaks.other_index[pair]))
        yield {"id": number, **place, "message": {"text": _text(f"also in {visible(split)}")}}


def _notifications(verdict: Verdict, left_out: int) -> Iterator[dict[str, Any]]:
    yield from ({"level": "error", **_message(reason)} for reason in verdict.refused)
    for check in verdict.checks:
        if check.not_run or (check.issue == TOTAL and not check.passed):
            what = f"{check.issue} of {check.split}" if check.split else check.issue
            message = f"{what} was not checked: {check.not_run}" if check.not_run else check.reason
            rule = (
                {}
                if check.issue == TOTAL
                else {"associatedRule": {"id": _rule_id(check.issue), "index": NUMBER[check.issue]}}
            )
            yield {"level": "note" if check.passed else "error", **_message(message), **rule}
    if verdict.stale:
        listed = "; ".join(map(visible, verdict.stale[:WORST])) + "; ..." * (len(verdict.stale) > WORST)
        count = len(verdict.stale)
        yield {"level": "note", **_message(f"{count} stale entries of the baseline: {listed}")}
    if left_out > 0:
        yield {"level": "warning", **_message(f"{left_out} findings are left out: a run holds {MOST_RESULTS} at most")}


def _message(text: str) -> dict[str, Any]:
    return {"message": {"text": _text(visible(text, 5000))}}


def _text(text: str) -> str:
    """A message that makes no link and no placeholder."""
    return text.translate(PLAIN)


def _rule(issue: Issue) -> dict[str, Any]:
    rule = issue.rule
    return {
        "id": _rule_id(issue.name),
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.explanation},
        "help": {"text": rule.advice, "markdown": rule.advice},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": ["data-quality"]},
    }


def _rule_id(issue: str) -> str:
    return issue.replace("_", "-")


def _source(audit: AuditResult) -> str:
    """The one file that all samples are from, if they are."""
    name = str((audit.provenance.get("dataset") or {}).get("name", ""))
    return name if name.endswith((".npz", ".csv", ".parquet")) else ""


REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def location_of(name: str, split: str, index: int, source: str = "") -> dict[str, Any]:
    """A location of SARIF: the file if there is one, and always split and position.

    Args:
        name: file of the sample, "" where it has none.
        split: its name, "" for one data set.
        index: position in it.
        source: file that holds many samples, to point to where `name` is "".
    """
    logical = {"name": str(index), "fullyQualifiedName": f"{visible(split) or 'samples'}[{index}]", "kind": "sample"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if name or source:
        # GitHub leaves out what has no line, so every file is given its first one
        region = {"startLine": 1}
        location["physicalLocation"] = {"artifactLocation": artifact(name or source), "region": region}
    return location


def artifact(name: str) -> dict[str, str]:
    """The URI of a file: relative to the current folder where it lies below it, else absolute."""
    if REMOTE.match(name):
        return {"uri": quote(_bytes(name), safe="/:?#@!$&'()*+,;=%~")}
    path = Path(os.path.abspath(name))
    if path.is_relative_to(Path.cwd()):
        return {"uri": quote(_bytes(path.relative_to(Path.cwd()).as_posix())), "uriBaseId": "%SRCROOT%"}
    root = "file://" if path.as_posix().startswith("/") else "file:///"  # a drive has no slash before it
    return {"uri": root + quote(_bytes(path.as_posix()), safe="/:")}


def _bytes(name: str) -> bytes:
    """As on the disk, where a name is no valid text."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return name.encode("utf-8", "surrogatepass")
