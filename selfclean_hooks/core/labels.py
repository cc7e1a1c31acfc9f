"""Label arrays: classes, regression targets, or several labels a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import any_array

Labels = NDArray[
    Any
]  # int64 (N,) classes, float64 (N,) regression targets, or bool (N, C): which of C labels a sample has


def as_labels(labels: Any, n: int) -> tuple[Labels | None, tuple[str, ...] | None]:
    """Labels as an array and, where they were words, the class names. None stays None.

    Args:
        labels: (N,) whole numbers or words: classes, -1 or NaN for none. (N,) floats that are not all whole: regression
            targets, NaN for none. (N, C) zeros and ones: several labels a sample; with a single one in every
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
        return _as_multi_label_or_classes(array), None
    if array.dtype.kind in "iub":
        return array.astype(np.int64), None
    if array.dtype.kind == "f":
        return _as_targets_or_classes(array), None
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


def _as_targets_or_classes(array: NDArray[np.floating]) -> Labels:
    """Whole numbers are classes: binary targets may be floats, and pandas turns classes with gaps into floats."""
    infinite = np.isinf(array).nonzero()[0]
    if len(infinite):
        raise DataError(
            f"labels must be finite, got {array[infinite[0]].item()!r} at index {infinite[0]} ({len(infinite)} of "
            f"{len(array)}): NaN means that a sample has none"
        )
    filled = np.nan_to_num(array, nan=-1.0)
    is_whole = bool((filled == np.trunc(filled)).all())
    return filled.astype(np.int64) if is_whole else array.astype(np.float64)


def _as_multi_label_or_classes(array: NDArray[Any]) -> Labels:
    valid = array.dtype.kind in "iufb" and bool(((array == 0) | (array == 1)).all())
    if not valid:
        raise DataError(
            f"labels of shape {array.shape} must be zeros and ones, 1 where a sample has the label, got "
            f"{array.dtype} {array.ravel()[:1].tolist()}...: for classes pass one integer or word a sample"
        )
    held = array.astype(bool)
    return held.argmax(1).astype(np.int64) if bool((held.sum(1) == 1).all()) else held


def is_classes(labels: Labels | None) -> bool:
    """Whether there are labels and they are classes."""
    return labels is not None and labels.ndim == 1 and labels.dtype.kind == "i"


def class_codes(labels: Labels | None) -> NDArray[np.int64] | None:
    """The labels if they are classes."""
    return labels if is_classes(labels) else None


def has_name_for_every_class(names: Sequence[str], labels: Labels | None) -> bool:
    """Whether there is a name for every class."""
    if labels is None or labels.dtype.kind == "f":
        return False
    if labels.ndim == 2:
        return len(names) == int(labels.shape[1])
    return bool(((labels >= -1) & (labels < len(names))).all())


def scatter_labels(labels: NDArray[Any], positions: NDArray[np.int64], n: int) -> NDArray[Any]:
    """The labels of the samples at `positions` among n samples; the others have none: -1, NaN, or none of several."""
    missing = {"i": -1, "f": np.nan, "b": False}[labels.dtype.kind]
    out = np.full((n, *labels.shape[1:]), missing, labels.dtype)
    out[positions] = labels
    return out


MAX_CLASSES = 8


def check_same_classes(classes: Mapping[str, frozenset[str] | None]) -> None:
    """Check that no split has classes that the first one lacks; those without labels (None) are not compared.

    Raises:
        DataError: one has.
    """
    (first, known), *others = classes.items()
    for name, classes_here in others:
        odd = sorted(classes_here - known) if known is not None and classes_here is not None else []
        if odd:
            listed = ", ".join(odd[:MAX_CLASSES]) + (
                f" and {len(odd) - MAX_CLASSES} more" if len(odd) > MAX_CLASSES else ""
            )
            raise DataError(
                f"splits must have the same classes: {name!r} has {listed}, and {first!r}, the training split, has "
                f"none of that name ({len(known or ())} classes). Rename the classes, or audit {name!r} by itself"
            )


def collect_class_names(labels: Any, class_names: tuple[str, ...] | None) -> frozenset[str] | None:
    """Names of the classes that samples carry; None where the labels are not classes."""
    if labels is None or not is_classes(np.asarray(labels)):
        return None
    codes = {int(code) for code in labels} - {-1}
    return frozenset(class_names[code] if class_names and code < len(class_names) else str(code) for code in codes)
