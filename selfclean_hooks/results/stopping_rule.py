"""When the rest of a ranking may be left: how many fine samples in a row were looked at since the last issue."""

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

RATE = 0.05  # of issues beyond the row, at most, with a doubt of as much


@dataclass(frozen=True)
class CleanRun:
    """Fine samples in a row, the last ones that were looked at."""

    fine: int
    start: int  # place of the first of them in the ranking, from 1
    reached: bool  # whether they are enough to leave the rest

    def describe(self, issue: str) -> str:
        """In a sentence."""
        row = f"{issue}: {self.fine} fine in a row from number {self.start} on"
        if not self.reached:
            return f"{row}; after {clean_in_a_row(RATE, RATE)} the rest may be left"
        return f"{row}: beyond them fewer than {RATE:.0%} are wrong, as far as can be told"


def stopping_rule(verdicts: Sequence[str]) -> CleanRun:
    """How many samples in a row were found fine after the last one that was not.

    Args:
        verdicts: on the samples of a ranking, from the worst: "rejected" is fine, "confirmed" and "relabelled" are not.
            "" is one without a verdict: nothing is known of it, so it ends the row, unless no verdict follows. A row
            that one precedes is never enough.
    """
    end = max((place for place, verdict in enumerate(verdicts, 1) if verdict), default=0)
    start = end
    while start > 0 and verdicts[start - 1] == "rejected":
        start -= 1
    follows_issue = start == 0 or verdicts[start - 1] != ""
    return CleanRun(end - start, start + 1, follows_issue and end - start >= clean_in_a_row(RATE, RATE))


def clean_runs(audit: AuditResult) -> Iterator[tuple[str, CleanRun]]:
    """Issue and `stopping_rule` of each ranking that people looked at."""
    for issue in WITH_THRESHOLD:
        marks, fine = audit.decisions.marks.get(issue, {}), audit.decisions.fine[issue]
        if marks or fine.any():
            ranking = audit.ranked(issue, _looked_at(audit, issue, marks))
            verdicts = [marks[i].verdict if i in marks else "rejected" if fine[i] else "" for i in ranking.tolist()]
            yield issue, stopping_rule(verdicts)


def _looked_at(audit: AuditResult, issue: str, marks: Iterable[int]) -> NDArray[np.int64]:
    """What there is to look at: all that was scored; of near duplicates and leaks what was found or has a mark."""
    d = audit.decisions
    if issue not in PAIRS:
        scored: NDArray[np.bool_] = ~np.isnan(audit.scores.of(issue))
        return scored.nonzero()[0]
    there = d.counted(issue) | d.fine[issue]
    there[list(marks)] = True
    return there.nonzero()[0]
