"""The tables of an audit: rows of plain values, which a gate reads without pandas, and DataFrames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.core.scores import LeakPairs, Scores
from selfclean_hooks.decisions.duplicate_sets import near_duplicate_links
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.columns import label_column, leak_columns, pair_columns, sample_columns
from selfclean_hooks.utils.arrays import BoolArray
from selfclean_hooks.utils.text import Column

if TYPE_CHECKING:
    import pandas as pd

    from selfclean_hooks.results.result import AuditResult

COLUMNS = ("issue", "num_issues", "contamination", "threshold", "action")
CALIBRATION = (
    "issue",
    "num_issues",
    "precision",
    "precision_low",
    "precision_high",
    "estimated",
    "estimated_low",
    "estimated_high",
    "recall",
    "inspect_for_90",
    "unknown",
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
    """`Audit.calibration` as plain values; NaN where there is nothing to speak of, or nothing can be claimed."""
    rows = []
    for issue, calibration in audit.scores.calibration.items():
        scores, flags, count = judged(audit, issue)
        precision = calibration.estimate_precision(scores[flags], BY_NAME[issue].widest_claim)
        found, total = calibration.estimate_count(scores[flags])[0], calibration.estimate_count(scores)
        recall = min(1.0, found / total[0]) if total[0] > 0 else math.nan
        effort = math.nan if calibration.unknown else calibration.review_effort(scores)
        values = (issue, count, *precision, *total, recall, effort, calibration.unknown)
        rows.append(dict(zip(CALIBRATION, values, strict=True)))
    return rows


def judged(audit: AuditResult, issue: str) -> tuple[NDArray[np.floating], BoolArray, int]:
    """What is clean or not, by score and flag, and the number of flags: all samples, but not each near duplicate.

    Of a set of n near duplicates one is clean, so the n - 1 links that join them are judged in place of its samples.
    """
    flags = audit.decisions.flags[issue]
    if issue != "near_duplicates":
        return audit.scores.of(issue), flags, int(flags.sum())
    scores = near_duplicate_links(audit.scores, math.inf)[1]
    flags = is_below(scores, audit.decisions.thresholds.get(issue, -math.inf))
    return scores, flags, int(audit.decisions.surplus.sum())


def frame_of(audit: AuditResult) -> pd.DataFrame:
    """One row a sample: scores, flags, labels, error, action and reason."""
    import pandas as pd

    columns = {name: _series(column) for name, column in sample_columns(audit).items()}
    columns |= {name: _labels(audit.scores, columns[name]) for name in ("given_label", "predicted_label")}
    frame: pd.DataFrame = pd.DataFrame(columns).rename_axis("index")
    return frame


def _series(column: Column) -> pd.Series[Any]:
    """A copy; lists are objects, as a file name that is no valid text does not fit into other columns of text."""
    import pandas as pd

    series: pd.Series[Any] = pd.Series(column, dtype=object if isinstance(column, list) else None, copy=True)
    return series


def _labels(scores: Scores, labels: pd.Series[Any]) -> pd.Series[Any]:
    """Codes as integers, of which some may be missing; others as they are."""
    return labels if scores.targets is not None or scores.class_names is not None else labels.astype("Int64")


def pairs_of(audit: AuditResult) -> pd.DataFrame:
    """One row a pair that was kept, nearest first."""
    import pandas as pd

    pairs: pd.DataFrame = pd.DataFrame({name: _series(column) for name, column in pair_columns(audit).items()})
    return pairs


def ranking_of(audit: AuditResult, issue: str) -> pd.DataFrame:
    """One row a sample that was scored for the issue, worst first."""
    import pandas as pd

    ran = [name for name in SCORED if name in audit.scores.ran]
    if issue not in ran:
        raise SettingError(f"there is a ranking for {', '.join(ran)}, got {issue!r}")
    scores, calibration = audit.scores.of(issue), audit.scores.calibration.get(issue)
    order = audit.ranked(issue, (~np.isnan(scores)).nonzero()[0])
    missing = np.full(len(order), np.nan)
    is_known = calibration is not None and not calibration.unknown
    wrong = 1 - calibration.probability_clean(scores[order]) if calibration is not None and is_known else missing
    frame: pd.DataFrame = pd.DataFrame(
        {
            "index": order,
            "score": scores[order],
            "is_issue": audit.decisions.flags[issue][order],
            "probability": wrong,
            "expected_found": wrong.cumsum(),
        },
        copy=True,
    )
    return frame


def calibration_of(audit: AuditResult) -> pd.DataFrame:
    """One row an issue whose probabilities were estimated."""
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame(calibration_rows(audit), columns=list(CALIBRATION))
    return frame


def duplicates_of(audit: AuditResult) -> pd.DataFrame:
    """One row a member of a duplicate set, by set, the kept copy first."""
    import pandas as pd

    d, scores = audit.decisions, audit.scores
    labels = _labels(scores, _series(label_column(scores, scores.given_label)))
    members = (d.sets >= 0).nonzero()[0]
    members = members[np.lexsort((members, d.surplus[members], d.sets[members]))]
    frame: pd.DataFrame = pd.DataFrame(
        {
            "near_duplicate_set": d.sets[members],
            "index": members,
            "is_kept": ~d.surplus[members],
            "distance": d.duplicates.distance[members],
            "given_label": labels.iloc[members].reset_index(drop=True),
            "is_label_conflict": np.isin(d.sets[members], list(d.conflicts)),
        },
        copy=True,
    )
    return frame


def leakage_of(leaks: LeakPairs | None, near: NDArray[np.bool_]) -> pd.DataFrame:
    """One row a pair of samples of two splits, worst first; none where no other split was given."""
    import pandas as pd

    columns = leak_columns(leaks, near)
    frame: pd.DataFrame = pd.DataFrame({name: _series(column) for name, column in columns.items()})
    return frame


def summary_of(audit: AuditResult) -> pd.DataFrame:
    """One row an issue."""
    import pandas as pd

    summary: pd.DataFrame = pd.DataFrame(summary_rows(audit), columns=list(COLUMNS)).astype({"num_issues": "Int64"})
    return summary
