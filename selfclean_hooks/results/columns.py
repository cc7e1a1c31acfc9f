"""The columns of an audit's tables as plain values: a folder is saved without pandas, whose import takes its time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.core.scores import LeakPairs, Scores, label_texts, predicted_texts
from selfclean_hooks.utils.text import Column

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


def sample_columns(audit: AuditResult) -> dict[str, Column]:
    """Of one row a sample: scores, flags, labels, error, action and reason."""
    s, d = audit.scores, audit.decisions
    return {
        "near_duplicate_score": s.near_duplicate,
        "is_near_duplicate_issue": d.flags["near_duplicates"],
        "near_duplicate_set": d.sets,
        "nearest_neighbor": s.nearest_neighbor,
        "off_topic_score": s.off_topic,
        "is_off_topic_issue": d.flags["off_topic"],
        "label_score": s.label,
        "is_label_issue": d.flags["label_errors"],
        **_extra(audit),
        "given_label": label_column(s, s.given_label),
        "predicted_label": label_column(s, s.predicted_label),
        "error": [s.errors.get(i, "") for i in range(len(s))],
        "action": d.action.tolist(),
        "reason": list(d.reason),
    }


def _extra(audit: AuditResult) -> dict[str, Column]:
    """Score and flag of issues that have no field of their own in `Scores`."""
    columns: dict[str, Column] = {}
    for issue, scores in audit.scores.extra.items():
        stem = BY_NAME[issue].score_field
        columns |= {f"{stem}_score": scores, f"is_{stem}_issue": audit.decisions.flags[issue]}
        aspects = audit.scores.aspects.get(issue, np.empty((len(audit), 0))).T
        columns |= {f"{name}_score": of for name, of in zip(BY_NAME[issue].aspects, aspects, strict=False)}
    return columns


def pair_columns(audit: AuditResult) -> dict[str, Column]:
    """Of one row a pair that was kept, nearest first."""
    s = audit.scores
    return {
        "index_1": s.pair_index[:, 0],
        "index_2": s.pair_index[:, 1],
        "distance": s.pair_distance,
        "near_duplicate_score": s.pair_score,
        "is_near_duplicate_issue": audit.decisions.pairs,
        **({} if s.mirrored is None else {"is_mirrored": s.mirrored}),
    }


def leak_columns(leaks: LeakPairs | None, near: NDArray[np.bool_]) -> dict[str, Column]:
    """Of one row a pair of samples of two splits, worst first; no rows where no other split was given."""
    found = leaks if leaks is not None else LeakPairs.empty()
    return {
        "split_1": list(found.splits[:1]) * len(found),
        "index_1": found.index,
        "split_2": [found.splits[other] for other in found.other.tolist()],
        "index_2": found.other_index,
        "distance": found.distance,
        "is_leakage_issue": near,
    }


def label_column(scores: Scores, codes: NDArray[np.int64]) -> Column:
    """Class names where there are any, codes else; numbers or text of other targets. None where there is no label."""
    names = scores.class_names
    if scores.targets is not None:
        return _target_column(scores, given=codes is scores.given_label)
    if names is not None:
        return [names[c] if 0 <= c < len(names) else None for c in codes.tolist()]
    if (scores.given_label == -1).all() or (codes is scores.predicted_label and "label_errors" in scores.not_run):
        return [None] * len(codes)
    return [None if i in scores.errors else c for i, c in enumerate(codes.tolist())]


def _target_column(scores: Scores, given: bool) -> Column:
    """Regression targets, or multi-labels as text; predicted ones are missing where there are none."""
    targets = scores.targets if given else scores.predicted_target
    if targets is None:
        return [None] * len(scores)
    if scores.targets is not None and scores.targets.ndim == 1:
        return targets
    texts: list[Any] = label_texts(scores) if given else predicted_texts(scores)
    return [None if i in scores.errors else text for i, text in enumerate(texts)]
