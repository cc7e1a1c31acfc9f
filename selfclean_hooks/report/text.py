"""Phrases that formats share: a sample, a contamination, a limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from selfclean_hooks.core.issues import TOTAL
from selfclean_hooks.gate.verdict import Count
from selfclean_hooks.utils.text import LONGEST, visible

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

WORST = 20  # samples named of each check


def name_of(audit: AuditResult, index: int) -> str:
    """The file of a sample, "" where there is none."""
    return audit.names[index] if audit.names else ""


def digest_of(audit: AuditResult, index: int) -> str:
    """The digest of what a sample contains, "" where it is not known."""
    return audit.digests[index] if audit.digests else ""


def sample_name(audit: AuditResult, index: int) -> str:
    """A sample, in words that fit into a line."""
    name = name_of(audit, index)
    return visible(f"{name} ({index})" if name else f"sample {index}")


def why(audit: AuditResult, index: int) -> str:
    """Why a sample was flagged, on one line."""
    return visible(audit.decisions.reason[index], 2 * LONGEST)


def precision_of(estimate: Mapping[str, Any]) -> str:
    """Estimated precision; its interval where that is too wide for a number, "" without flags or if it is unknown."""
    if not math.isnan(estimate["precision"]):
        return f"{estimate['precision']:.0%}"
    low, high = estimate["precision_low"], estimate["precision_high"]
    return "" if math.isnan(low) else f"{100 * low:.0f}-{high:.0%}"


def contamination_of(check: Check) -> str:
    """The share of the samples and its interval: 0.98% (0.75-1.28)."""
    low, high = check.interval
    return f"{check.fraction:.2%} ({100 * low:.2f}-{100 * high:.2f})"


def limit_of(check: Check) -> str:
    """The limit, "" where there is none: 1%, or 5 samples."""
    limit = check.limit
    if limit is None:
        return ""
    return str(limit) if isinstance(limit, Count) else f"{100 * limit:g}%"


def percentage(share: float, above: float = -1.0) -> str:
    """A share with one decimal, or as many as it takes to show that it lies above another: 5.5%, 2.04%."""
    decimals = next((n for n in range(1, 9) if round(100 * share, n) > 100 * above), 9)
    return f"{100 * share:.{decimals}f}%"


def in_one_line(verdict: Verdict) -> str:
    """The result: "failed: label errors 5.5% exceed 2%", "passed: 3 limits kept", "passed: 12 findings, no limit"."""
    failed = [_failure(check) for check in verdict.checks if not check.passed]
    if failed:
        return f"failed: {', '.join(failed)}"
    found = sum(len(check.found) for check in verdict.checks if check.issue != TOTAL)
    limits = sum(check.limit is not None for check in verdict.checks)
    if limits:
        return f"passed: {limits} limit{'s' * (limits > 1)} kept"
    return f"passed: {found} finding{'s' * (found > 1)}, no limit" if found else "passed: nothing found"


def _failure(check: Check) -> str:
    """An issue and the limit that it exceeds."""
    words = issue_in_words(check.issue)
    what = visible(f"{check.split}: {words}" if check.split else words)
    if check.not_run:
        return f"{what} not run"
    limit, exceed = check.limit, "exceed" if words.endswith("s") else "exceeds"
    if isinstance(limit, Count):
        return f"{what} {len(check.found)} {exceed} {limit.samples}"
    return f"{what} {percentage(check.fraction, limit or 0.0)} {exceed} {limit_of(check)}"


def issue_in_words(issue: str) -> str:
    """The name of an issue, or of the total, in a sentence."""
    return issue.replace("_", " ")


def by_split(audits: Mapping[str, AuditResult], verdict: Verdict) -> Iterator[tuple[str, AuditResult, list[Check]]]:
    """Name, audit and checks of every split, in the order of the audits."""
    for split, audit in audits.items():
        yield split, audit, [check for check in verdict.checks if check.split == split]
