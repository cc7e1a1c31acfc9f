"""What an audit and its review change in the data: which samples are dropped and why, and which labels are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.sources.subsets.subset import Changes

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


class Dropped(NamedTuple):
    """A sample that is left out."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    issue: str  # the first one, in the order of the table of issues, that it is dropped for; else "reviewed"
    reason: str


def changes_of(audit: AuditResult) -> Changes:
    """What is kept, and the new labels of what is kept.

    Raises:
        PolicyError: the policy would drop too much.
    """
    kept = audit.clean_indices
    given, new = label_texts(audit.scores), audit.new_labels  # by people and by the policy
    labels = {i: new[i] for i in kept.tolist() if i in new and new[i] != given[i]}
    return Changes(kept, labels, frozenset(audit.scores.errors))


def dropped_of(audit: AuditResult) -> list[Dropped]:
    """The samples that are left out, in order."""
    decisions = audit.decisions
    return [Dropped(i, _issue(audit, i), decisions.reason[i]) for i in decisions.dropped.nonzero()[0].tolist()]


def _issue(audit: AuditResult, i: int) -> str:
    """What a person confirmed comes first, then what the policy drops."""
    decisions = audit.decisions
    marks = {issue: decisions.marks.get(issue, {}).get(i) for issue in NAMES}
    confirmed = [issue for issue, mark in marks.items() if mark is not None and mark.verdict == "confirmed"]
    drops = {issue for issue in decisions.flags if audit.policy.action(issue) == "drop"}
    drops |= {"label_errors"} if audit.policy.label_errors == "relabel" and i not in decisions.replaced else set()
    by_policy = (issue for issue in drops if decisions.contamination_mask(issue)[i])
    found = set(confirmed[:1] or by_policy)
    return next((issue for issue in NAMES if issue in found), "reviewed")
