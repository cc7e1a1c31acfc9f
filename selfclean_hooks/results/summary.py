"""Rows of `Audit.summary` and `Audit.calibration` as plain values; without pandas, which a gate does not import."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

COLUMNS = ("issue", "num_issues", "contamination", "threshold", "action")
CALIBRATION = (
    "issue",
    "num_issues",
    "precision",
    "estimated",
    "estimated_low",
    "estimated_high",
    "recall",
    "inspect_for_90",
)


def summary_rows(audit: AuditResult) -> list[dict[str, Any]]:
    """`Audit.summary` as plain values: None for the count and NaN for the figures of what did not run."""
    rows = []
    for issue in audit.scores.issues:
        ran = issue in audit.contamination
        count = int(audit.decisions.contamination_mask(issue).sum()) if ran else None
        threshold = audit.decisions.thresholds.get(issue, math.nan) if ran else math.nan
        action = audit.policy.action(issue) if ran else "not run"
        values = (issue, count, audit.contamination.get(issue, math.nan), threshold, action)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def calibration_rows(audit: AuditResult) -> list[dict[str, Any]]:
    """`Audit.calibration` as plain values; NaN where there are no flags or no issues to speak of."""
    rows = []
    for issue, calibration in audit.scores.calibration.items():
        scores, flags = audit.scores.of(issue), audit.decisions.flags[issue]
        wrong = 1 - calibration.probability_clean(scores)[flags]
        right = float(np.nansum(wrong))
        estimated, low, high = calibration.estimate_count(scores)
        precision = right / len(wrong) if len(wrong) else math.nan
        recall = min(1.0, right / estimated) if estimated else math.nan
        values = (issue, int(flags.sum()), precision, estimated, low, high, recall, calibration.review_effort(scores))
        rows.append(dict(zip(CALIBRATION, values, strict=True)))
    return rows
