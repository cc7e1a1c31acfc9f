"""When reviewing a ranking can stop: the number of consecutive non-issues since the last issue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.core.issues import PAIRS, WITH_THRESHOLD

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

RATE = 0.05  # of issues in the rest of the ranking, at most, at a significance of 5%


@dataclass(frozen=True)
class CleanRun:
    """Consecutive non-issues at the end of what was reviewed."""

    fine: int
    start: int  # place of the first of them in the ranking, from 1
    reached: bool  # whether they are enough to stop

    def describe(self, issue: str) -> str:
        """One sentence."""
        row = f"{issue}: {self.fine} consecutive non-issues from rank {self.start} on"
        if not self.reached:
            return f"{row}; reviewing can stop after {clean_in_a_row(RATE, RATE)}"
        return f"{row}: reviewing can stop, an estimated {RATE:.0%} at most of the rest are issues"


def stopping_rule(verdicts: Sequence[str]) -> CleanRun:
    """The number of consecutive non-issues after the last issue.

    Args:
        verdicts: on the samples of a ranking, from the worst: "rejected" is a non-issue, "confirmed" and "relabelled"
            are issues. "" is a sample without a verdict: it ends the run, unless no verdict follows, and a run that
            follows one is never enough.
    """
    end = max((place for place, verdict in enumerate(verdicts, 1) if verdict), default=0)
    start = end
    while start > 0 and verdicts[start - 1] == "rejected":
        start -= 1
    follows_issue = start == 0 or verdicts[start - 1] != ""
    return CleanRun(end - start, start + 1, follows_issue and end - start >= clean_in_a_row(RATE, RATE))


def clean_runs(audit: AuditResult) -> Iterator[tuple[str, CleanRun]]:
    """Issue and `stopping_rule` of each ranking that people reviewed."""
    for issue in WITH_THRESHOLD:
        marks, fine = audit.decisions.marks.get(issue, {}), audit.decisions.dismissed[issue]
        if marks or fine.any():
            ranking = audit.ranked(issue, _reviewable(audit, issue, marks))
            verdicts = [marks[i].verdict if i in marks else "rejected" if fine[i] else "" for i in ranking.tolist()]
            yield issue, stopping_rule(verdicts)


def _reviewable(audit: AuditResult, issue: str, marks: Iterable[int]) -> NDArray[np.int64]:
    """The samples to review: all that were scored; near duplicates and leakage: those flagged or marked."""
    d = audit.decisions
    if issue not in PAIRS:
        scored: NDArray[np.bool_] = ~np.isnan(audit.scores.of(issue))
        return scored.nonzero()[0]
    there = d.contamination_mask(issue) | d.dismissed[issue]
    there[list(marks)] = True
    return there.nonzero()[0]
