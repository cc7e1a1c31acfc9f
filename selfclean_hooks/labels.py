"""Labels: classes, numbers, or several labels a sample; and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError
from selfclean_hooks.scores import Scores, any_array

Labels = NDArray[Any]  # int64 (N,) classes, float64 (N,) numbers, or bool (N, C): which of C labels a sample has
SHOWN = 12  # labels of one sample that are told


def as_labels(labels: Any, n: int) -> tuple[Labels | None, tuple[str, ...] | None]:
    """Labels as an array and, where they were words, the class names. None stays None.

    Args:
        labels: (N,) whole numbers or words: classes, -1 or NaN for none. (N,) floats that are not all whole: numbers
            to be foretold, NaN for none. (N, C) zeros and ones: several labels a sample; with a single one in every
            row they are classes.
        n: N.

    Returns:
        `Labels` (int64 (N,), float64 (N,) or bool (N, C)) and class names.

    Raises:
        DataError: they are something else.
    """
    if labels is None:
        return None, None
    wanted = f"labels must be one class or number per sample, shape ({n},), or zeros and ones of shape ({n}, C)"
    array = any_array(labels, wanted)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape[:1] != (n,) or array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(f"{wanted}, got {array.shape}")
    if array.ndim == 2:
        return _several(array), None
    if array.dtype.kind in "iub":
        return array.astype(np.int64), None
    if array.dtype.kind == "f":
        return _numbers(array), None
    if array.dtype.kind in "US" and isinstance(labels, (list, tuple)):
        array = np.array(labels, object)  # an array of words may have been made of words and numbers
    if array.dtype.kind in "US" or all(isinstance(label, str) for label in array):
        names, codes = np.unique(array.astype(str), return_inverse=True)
        return codes.astype(np.int64), tuple(map(str, names))
    kinds = [type(label).__name__ for label in array]
    first = {kind: kinds.index(kind) for kind in kinds}
    raise DataError(
        "labels must be classes, all integers or all words, got "
        + ", ".join(f"{kind} (first {array[at]!r} at index {at})" for kind, at in first.items())
    )


def _numbers(array: NDArray[np.floating]) -> Labels:
    """Whole numbers are classes: a sigmoid is trained on floats, and pandas makes floats of classes with gaps."""
    infinite = np.isinf(array).nonzero()[0]
    if len(infinite):
        raise DataError(
            f"labels must be finite, got {array[infinite[0]].item()!r} at index {infinite[0]} ({len(infinite)} of "
            f"{len(array)}): NaN says that a sample has none"
        )
    filled = np.nan_to_num(array, nan=-1.0)
    is_whole = bool((filled == np.trunc(filled)).all())
    return filled.astype(np.int64) if is_whole else array.astype(np.float64)


def _several(array: NDArray[Any]) -> Labels:
    fine = array.dtype.kind in "iufb" and bool(((array == 0) | (array == 1)).all())
    if not fine:
        raise DataError(
            f"labels of shape {array.shape} must be zeros and ones, 1 where a sample has the label, got "
            f"{array.dtype} {array.ravel()[:1].tolist()}...: for classes pass one integer or word a sample"
        )
    held = array.astype(bool)
    return held.argmax(1).astype(np.int64) if bool((held.sum(1) == 1).all()) else held


def is_classes(labels: Labels | None) -> bool:
    """Whether there are labels, and these are classes."""
    return labels is not None and labels.ndim == 1 and labels.dtype.kind == "i"


def class_codes(labels: Labels | None) -> NDArray[np.int64] | None:
    """The labels if they are classes."""
    return labels if is_classes(labels) else None


def fit(names: Sequence[str], labels: Labels | None) -> bool:
    """Whether there is a name for every class."""
    if labels is None or labels.dtype.kind == "f":
        return False
    if labels.ndim == 2:
        return len(names) == int(labels.shape[1])
    return bool(((labels >= -1) & (labels < len(names))).all())


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
        return _number_texts(targets)
    return [_listed(scores, row.nonzero()[0], i) for i, row in enumerate(targets)]


def predicted_texts(scores: Scores) -> list[str]:
    """What the label that most speaks for is called; of numbers what is foretold. "" where there is none."""
    targets, foretold = scores.targets, scores.foretold
    if targets is None or foretold is None:
        return [class_name(scores, code) for code in scores.predicted_label.tolist()]
    if targets.ndim == 1:
        return _number_texts(foretold)
    texts = []
    for i, code in enumerate(foretold.tolist()):
        better = targets[i].copy()
        if code >= 0:
            better[int(code) // 2] = bool(int(code) % 2)
        texts.append(_listed(scores, better.nonzero()[0], i))
    return texts


def doubt_of(scores: Scores, i: int) -> str:
    """What speaks against the label of a sample, in plain words."""
    targets, foretold = scores.targets, scores.foretold
    if targets is None or foretold is None:
        given, other = (class_name(scores, int(codes[i])) for codes in (scores.given_label, scores.predicted_label))
        return f"label {given} " + (f"looks like {other}" if other != given else "in doubt")
    if targets.ndim == 1:
        return f"target {targets[i]:.4g} where {foretold[i]:.4g} is foretold"
    code = int(foretold[i])
    if code < 0 or bool(code % 2) == bool(targets[i, code // 2]):
        return f"labels {_listed(scores, targets[i].nonzero()[0], i)} in doubt"
    return f"label {class_name(scores, code // 2)} seems " + ("missing" if code % 2 else "wrong")


def _number_texts(values: NDArray[np.float64]) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.6g}" for value in values.tolist()]


def _listed(scores: Scores, held: NDArray[np.int64], i: int) -> str:
    if i in scores.errors:
        return ""
    told = ", ".join(class_name(scores, int(c)) for c in held[:SHOWN]) or "none"
    return told + (f" and {len(held) - SHOWN} more" if len(held) > SHOWN else "")
