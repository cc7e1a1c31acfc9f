"""The limits of an assertion, what "auto" means once it is known what could be checked, and what pytest says of it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Count, Limits
from selfclean_hooks.report.text import issue_in_words, limit_of, sample_name, why
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.audits.audit import Audit
    from selfclean_hooks.gate.verdict import Check, Verdict

Amount = float | Count | Literal["auto"] | None
Tolerance = Amount | Mapping[str, Amount]  # for every data set, or by name of the split

AUTO = {"near_duplicates": 0.01, "leakage": 0.01, "unreadable": 0.0}  # what is no matter of judgement
WORST = 5  # samples named of each issue
STALE = 3  # entries of the baseline
BASELINE = "data-baseline.jsonl"  # suggested


def by_split(
    given: Mapping[str, Tolerance], splits: Sequence[str], not_run: Collection[str]
) -> dict[str, dict[str, Amount]]:
    """Limits by split and issue; refused now, and not after an hour of work.

    Args:
        given: issue: limit. Of one by split, a split that is left out has none.
        splits: names there are; ("",) for one data set.
        not_run: issues that may go unchecked.

    Raises:
        SettingError: a limit makes no sense, names a split that there is not, or there is nothing to assert.
    """
    for issue, limit in given.items():
        unknown = [name for name in limit if name not in splits] if isinstance(limit, Mapping) else []
        if unknown:
            known = ", ".join(filter(None, splits)) or "no splits, as one data set was given"
            raise SettingError(f"{issue}= names the split {unknown[0]!r}, and there are {known}")
    asked = {
        split: {issue: limit.get(split) if isinstance(limit, Mapping) else limit for issue, limit in given.items()}
        for split in splits
    }
    for limits in asked.values():
        _limits({issue: limit for issue, limit in limits.items() if not _is_auto(limit)}, not_run)
    if all(limit is None for limits in asked.values() for limit in limits.values()):
        raise SettingError("every limit is None, so there is nothing to assert: give one, as near_duplicates=0.01")
    return asked


def resolve_limits(asked: Mapping[str, Amount], audit: Audit, has_baseline: bool, not_run: Collection[str]) -> Limits:
    """The limits of one split. "auto" is none for what was not checked, and with a baseline nothing new."""

    def of(issue: str, limit: Amount) -> Amount:
        if not _is_auto(limit):
            return limit
        if issue not in audit.contamination or audit.decisions.thresholds.get(issue) == -math.inf:
            return None  # it could not be checked, or was turned off
        return 0.0 if has_baseline else AUTO.get(issue)

    return _limits({issue: of(issue, limit) for issue, limit in asked.items()}, not_run)


def _limits(limits: Mapping[str, Any], not_run: Collection[str]) -> Limits:
    return Limits(**limits, not_run=not_run)


def _is_auto(limit: Amount) -> bool:
    return isinstance(limit, str) and limit == "auto"


def failure(audits: Mapping[str, Audit], verdict: Verdict, report: str, baseline: str) -> str:
    """What fails, by how much, the worst samples, and what to do about it.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`; one that failed.
        report: the folder that the audit was saved in, "" if none.
        baseline: the file that was given, "" if none.
    """
    failed = [check for check in verdict.checks if not check.passed]
    size = sum(map(len, audits.values()))
    lines = [f"{'; '.join(map(_short, failed))} ({size} samples of {_of_what(audits)})"]
    for check in failed:
        lines += ["", *_about(audits[check.split], check)]
    lines += ["", *_stale(verdict), *_what_next(report, baseline)]
    return "\n".join(lines)


def line(test: str, split: str, audit: Audit, passed: bool, was_kept: bool, report: str) -> str:
    """A line about one data set for the end of the run."""
    issues = ", ".join(
        f"{issue_in_words(issue)} {audit.contamination[issue]:.2%}"
        if issue in audit.contamination
        else f"{issue_in_words(issue)} not run"
        for issue in audit.scores.issues
    )
    name = visible(f"{split}: " if split else "") + _name(audit)
    text = f"{'passed' if passed else 'FAILED'} {test}: {name}, {len(audit)} samples: {issues}"
    return text + " (audit of an earlier run)" * was_kept + (f"; report: {report}/report.html" if report else "")


def _short(check: Check) -> str:
    what = _issue(check)
    if check.not_run:
        return f"{what} not run"
    return f"{what} {check.fraction:.2%}, limit {limit_of(check)}"


def _about(audit: Audit, check: Check) -> Iterator[str]:
    """The figure of one check and its worst samples."""
    if check.not_run:
        allow = f'not_run=("{check.issue}",)' if check.issue != "total" else "not_run=(...)"
        yield f"{_issue(check)}: not run ({check.not_run}), so its limit is not kept; {allow} would allow that"
        return
    low, high = check.interval
    accepted = f", {len(check.accepted)} more in the baseline" if len(check.accepted) else ""
    yield (
        f"{_issue(check)}: {check.fraction:.2%} ({len(check.found)} of {check.samples} samples{accepted}; "
        f"95% interval {low:.2%} to {high:.2%}), limit {limit_of(check)}"
    )
    for index in check.found[:WORST].tolist():
        yield f"    {sample_name(audit, index)}: {why(audit, index)}"
    if len(check.found) > WORST:
        yield f"    and {len(check.found) - WORST} more"


def _stale(verdict: Verdict) -> Iterator[str]:
    if verdict.stale:
        more = len(verdict.stale) - STALE
        entries = "; ".join(visible(entry) for entry in verdict.stale[:STALE]) + f" and {more} more" * (more > 0)
        yield f"in the baseline, but found no more: {entries}"


def _what_next(report: str, baseline: str) -> Iterator[str]:
    if not report:
        yield "give report=FOLDER to save the report, and to be able to accept findings"
        return
    file = baseline or BASELINE
    yield f"report: {report}/report.html"
    yield "to accept all findings once you have looked at them" + (":" if baseline else f", for baseline={file!r}:")
    yield f"    selfclean-hooks gate {shlex.quote(report)} --baseline {shlex.quote(file)} --update-baseline"


def _issue(check: Check) -> str:
    issue = issue_in_words(check.issue)
    return f"{visible(check.split)}: {issue}" if check.split else issue


def _of_what(audits: Mapping[str, Audit]) -> str:
    return ", ".join(visible(split) if split else _name(audit) for split, audit in audits.items())


def _name(audit: Audit) -> str:
    return visible(str(audit.provenance.get("dataset", {}).get("name", "embeddings")))
