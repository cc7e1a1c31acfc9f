"""The tables of an audit: rows of plain values, which a gate reads without pandas, and DataFrames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.core.scores import LeakPairs, Scores, label_texts, predicted_texts
from selfclean_hooks.decisions.duplicate_sets import near_duplicate_links
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import BoolArray

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

    s, d = audit.scores, audit.decisions
    frame: pd.DataFrame = pd.DataFrame(
        {
            "near_duplicate_score": s.near_duplicate,
            "is_near_duplicate_issue": d.flags["near_duplicates"],
            "near_duplicate_set": d.sets,
            "nearest_neighbor": s.nearest_neighbor,
            "off_topic_score": s.off_topic,
            "is_off_topic_issue": d.flags["off_topic"],
            "label_score": s.label,
            "is_label_issue": d.flags["label_errors"],
            **_extra(audit),
            "given_label": _labels(s, s.given_label),
            "predicted_label": _labels(s, s.predicted_label),
            # objects: a file name that is no valid text, in an error, does not fit into other columns of text
            "error": pd.Series([s.errors.get(i, "") for i in range(len(s))], dtype=object),
            "action": d.action.astype(object),
            "reason": pd.Series(d.reason, dtype=object),
        },
        index=pd.RangeIndex(len(s), name="index"),
    )
    return frame


def _extra(audit: AuditResult) -> dict[str, NDArray[Any]]:
    """Score and flag of issues that have no field of their own in `Scores`."""
    columns: dict[str, Any] = {}
    for issue, scores in audit.scores.extra.items():
        stem = BY_NAME[issue].score_field
        columns |= {f"{stem}_score": scores, f"is_{stem}_issue": audit.decisions.flags[issue]}
        aspects = audit.scores.aspects.get(issue, np.empty((len(audit), 0))).T
        columns |= {f"{name}_score": of for name, of in zip(BY_NAME[issue].aspects, aspects, strict=False)}
    return columns


def pairs_of(audit: AuditResult) -> pd.DataFrame:
    """One row a pair that was kept, nearest first."""
    import pandas as pd

    s = audit.scores
    pairs: pd.DataFrame = pd.DataFrame(
        {
            "index_1": s.pair_index[:, 0],
            "index_2": s.pair_index[:, 1],
            "distance": s.pair_distance,
            "near_duplicate_score": s.pair_score,
            "is_near_duplicate_issue": audit.decisions.pairs,
            **({} if s.mirrored is None else {"is_mirrored": s.mirrored}),
        },
        copy=True,
    )
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

    d, labels = audit.decisions, _labels(audit.scores, audit.scores.given_label)
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

    found = leaks if leaks is not None else LeakPairs.empty()
    splits = np.array(found.splits, object)
    frame: pd.DataFrame = pd.DataFrame(
        {
            "split_1": pd.Series(splits[np.zeros(len(found), np.int64)], dtype=object),
            "index_1": found.index,
            "split_2": pd.Series(splits[found.other], dtype=object),
            "index_2": found.other_index,
            "distance": found.distance,
            "is_leakage_issue": near,
        },
        copy=True,
    )
    return frame


def summary_of(audit: AuditResult) -> pd.DataFrame:
    """One row an issue."""
    import pandas as pd

    summary: pd.DataFrame = pd.DataFrame(summary_rows(audit), columns=list(COLUMNS)).astype({"num_issues": "Int64"})
    return summary


def _labels(scores: Scores, codes: NDArray[np.int64]) -> pd.Series[Any]:
    """Class names where there are any, codes else; missing where there is no label."""
    import pandas as pd

    names = scores.class_names
    if scores.targets is not None:
        return _target_labels(scores, given=codes is scores.given_label)
    if names is not None:
        return pd.Series([names[c] if 0 <= c < len(names) else None for c in codes.tolist()], dtype=object)
    unknown = np.isin(np.arange(len(codes)), list(scores.errors))
    if (scores.given_label == -1).all() or (codes is scores.predicted_label and "label_errors" in scores.not_run):
        unknown[:] = True
    numbers: pd.Series[Any] = pd.Series(pd.array(codes, dtype="Int64"))
    return numbers.mask(unknown)


def _target_labels(scores: Scores, given: bool) -> pd.Series[Any]:
    """Regression targets, or multi-labels as text; predicted ones are missing where there are none."""
    import pandas as pd

    targets = scores.targets if given else scores.predicted_target
    if targets is None:
        none: pd.Series[Any] = pd.Series(pd.array([pd.NA] * len(scores)))
        return none
    if scores.targets is not None and scores.targets.ndim == 1:
        numbers: pd.Series[Any] = pd.Series(targets)
        return numbers
    texts = label_texts(scores) if given else predicted_texts(scores)
    unknown = np.isin(np.arange(len(texts)), list(scores.errors))
    labels: pd.Series[Any] = pd.Series(texts, dtype=object).mask(unknown, None)
    return labels
