"""Phrases that formats share: a sample, a contamination, a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

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


def issue_in_words(issue: str) -> str:
    """The name of an issue, or of the total, in a sentence."""
    return issue.replace("_", " ")


def by_split(audits: Mapping[str, AuditResult], verdict: Verdict) -> Iterator[tuple[str, AuditResult, list[Check]]]:
    """Name, audit and checks of every split, in the order of the audits."""
    for split, audit in audits.items():
        yield split, audit, [check for check in verdict.checks if check.split == split]
