"""Labels: classes, numbers, or several labels a sample; and what they are called."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.scores import Scores

MAX_LABELS = 12  # labels of one sample that are told


def class_name(scores: Scores, code: int) -> str:
    """What a class is called: its code where it has no name."""
    names = scores.class_names
    return names[code] if names and 0 <= code < len(names) else str(code)


def label_texts(scores: Scores) -> list[str]:
    """What the given label of each sample is called."""
    targets = scores.targets
    if targets is None:
        return [class_name(scores, code) for code in scores.given_label.tolist()]
    if targets.ndim == 1:
        return _format_numbers(targets)
    return [_join_names(scores, row.nonzero()[0], i) for i, row in enumerate(targets)]


def predicted_texts(scores: Scores) -> list[str]:
    """What the label that most speaks for is called; of numbers what is predicted. "" where there is none."""
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
    """What speaks against the label of a sample, in plain words."""
    targets, predicted = scores.targets, scores.predicted_target
    if targets is None or predicted is None:
        given, other = (class_name(scores, int(codes[i])) for codes in (scores.given_label, scores.predicted_label))
        return f"label {given} " + (f"looks like {other}" if other != given else "in doubt")
    if targets.ndim == 1:
        return f"target {targets[i]:.4g} where {predicted[i]:.4g} is predicted"
    code = int(predicted[i])
    if code < 0 or bool(code % 2) == bool(targets[i, code // 2]):
        return f"labels {_join_names(scores, targets[i].nonzero()[0], i)} in doubt"
    return f"label {class_name(scores, code // 2)} seems " + ("missing" if code % 2 else "wrong")


def _format_numbers(values: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values.tolist()]


def _join_names(scores: Scores, held: NDArray[np.int64], i: int) -> str:
    if i in scores.errors:
        return ""
    told = ", ".join(class_name(scores, int(c)) for c in held[:MAX_LABELS]) or "none"
    return told + (f" and {len(held) - MAX_LABELS} more" if len(held) > MAX_LABELS else "")
