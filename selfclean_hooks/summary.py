"""What an audit comes to, an issue a row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

COLUMNS = ("issue", "num_issues", "contamination", "threshold", "action")


def summary_rows(audit: Audit) -> list[dict[str, Any]]:
    """`Audit.summary` as plain values: None for the count and NaN for the figures of what did not run."""
    rows = []
    for issue in audit.scores.issues:
        ran = issue in audit.contamination
        count = int(audit.decisions.counted(issue).sum()) if ran else None
        threshold = audit.decisions.thresholds.get(issue, math.nan) if ran else math.nan
        action = audit.policy.action(issue) if ran else "not run"
        values = (issue, count, audit.contamination.get(issue, math.nan), threshold, action)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows
