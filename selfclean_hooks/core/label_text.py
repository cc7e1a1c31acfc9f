"""Labels as text: names of classes, regression targets, or several labels a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.scores import Scores

MAX_LABELS = 12  # labels of one sample that are listed


def class_name(scores: Scores, code: int) -> str:
    """The name of a class: its code where it has none."""
    names = scores.class_names
    return names[code] if names and 0 <= code < len(names) else str(code)


def label_texts(scores: Scores) -> list[str]:
    """The given label of each sample."""
    targets = scores.targets
    if targets is None:
        return [class_name(scores, code) for code in scores.given_label.tolist()]
    if targets.ndim == 1:
        return _format_numbers(targets)
    return [_join_names(scores, row.nonzero()[0], i) for i, row in enumerate(targets)]


def predicted_texts(scores: Scores) -> list[str]:
    """The predicted label or target of each sample. "" where there is none."""
    targets, predicted = scores.targets, scores.predicted_target
    if targets is None or predicted is None:
        return [class_name(scores, code) for code in scores.predicted_label.tolist()]
    if targets.ndim == 1:
        return _format_numbers(predicted)
    texts = []
    for i, code in enumerate(predicted.tolist()):
        better = targets[i].copy()
        if code >= 0:
            better[int(code) // 2] = bool(int(code) % 2)
        texts.append(_join_names(scores, better.nonzero()[0], i))
    return texts


def describe_label_issue(scores: Scores, i: int) -> str:
    """Why the label of a sample looks wrong."""
    targets, predicted = scores.targets, scores.predicted_target
    if targets is None or predicted is None:
        given, other = (class_name(scores, int(codes[i])) for codes in (scores.given_label, scores.predicted_label))
        return f"label {given} " + (f"looks like {other}" if other != given else "in doubt")
    if targets.ndim == 1:
        return f"target {targets[i]:.4g}, predicted {predicted[i]:.4g}"
    code = int(predicted[i])
    if code < 0 or bool(code % 2) == bool(targets[i, code // 2]):
        return f"labels {_join_names(scores, targets[i].nonzero()[0], i)} in doubt"
    return f"label {class_name(scores, code // 2)} seems " + ("missing" if code % 2 else "wrong")


def _format_numbers(values: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values.tolist()]


def _join_names(scores: Scores, held: NDArray[np.int64], i: int) -> str:
    if i in scores.errors:
        return ""
    text = ", ".join(class_name(scores, int(c)) for c in held[:MAX_LABELS]) or "none"
    return text + (f" and {len(held) - MAX_LABELS} more" if len(held) > MAX_LABELS else "")
