"""Label arrays: classes, regression targets, or several labels a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.label_text import (
    IGNORED,
    clean_words,
    note_class_apart,
    plain_label,
    read_several,
    why_identifiers,
    with_missing_rows,
)
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import BoolArray, any_array
from selfclean_hooks.utils.text import listing

# int64 (N,) classes, float64 (N,) regression targets, or (N, C), which of C labels a sample has: bool, or int8 where
# some entries are unknown, -1.
Labels = NDArray[Any]
NO_LABELS = "there are no labels"
MAX_CODE = 2**63 - 1


@dataclass(frozen=True, eq=False)
class ReadLabels:
    """Labels as they are used, and what was noticed about them.

    Attributes:
        values: `Labels`; None where there are none.
        class_names: names of the classes 0, 1, ...; None where the labels were numbers.
        why_none: why there are no labels, "" where there are some.
        notes: one sentence each.
    """

    values: Labels | None
    class_names: tuple[str, ...] | None = None
    why_none: str = ""
    notes: tuple[str, ...] = ()


def read_labels(labels: Any, n: int, positions: Sequence[int] | None = None) -> ReadLabels:
    """Labels to look for errors in: those of `encode_labels`, unless no sample has one or each has one of its own.

    Args:
        labels: see `encode_labels`.
        n: N.
        positions: of these samples in the data set, for notes; default: 0, 1, ...

    Raises:
        DataError: see `encode_labels`.
    """
    read = encode_labels(labels, n)
    values = read.values
    if values is None:
        return read
    known = has_label(values)
    missing = (~known).nonzero()[0]
    if len(missing) == n:
        return ReadLabels(None, why_none=f"{NO_LABELS}: none of the {n} samples carries one", notes=read.notes)
    if why := why_identifiers(values[known]) if is_classes(values) else "":
        return ReadLabels(None, why_none=why, notes=read.notes)
    notes = [*read.notes, *(note_class_apart(values[known], read.class_names) if is_classes(values) else ())]
    if len(missing):
        at = missing if positions is None else np.asarray(positions)[missing]
        notes.append(f"{len(missing)} of {n} samples carry no label, index {listing(at)}")
    if values.ndim == 2 and len(parts := ((values == -1).any(1) & known).nonzero()[0]):
        at = parts if positions is None else np.asarray(positions)[parts]
        notes.append(
            f"{len(parts)} of {n} samples are judged by the labels that are known of them, others are not, index "
            f"{listing(at)}"
        )
    return replace(read, notes=tuple(notes))


def as_labels(labels: Any, n: int) -> tuple[Labels | None, tuple[str, ...] | None]:
    """`encode_labels` without notes."""
    read = encode_labels(labels, n)
    return read.values, read.class_names


def encode_labels(labels: Any, n: int) -> ReadLabels:
    """Labels as an array and, where they were words, the class names. None stays None.

    Args:
        labels: (N,) whole numbers or words: classes. (N,) floats that are not all whole: regression targets. None and
            NaN, the classes -1 and -100 and words such as "" and "nan" say that a sample has no label. (N, C) zeros and
            ones: several labels a sample, None, NaN, -1 and -100 for unknown entries; with a single one in every row
            they are classes. (N, C) of 1 and -1 without a zero: -1 says that a sample does not have the label.
        n: N.

    Returns:
        `Labels`: int64 (N,), -1 for none; float64 (N,), NaN for none; bool (N, C), or int8 with -1 for unknown entries.

    Raises:
        DataError: they are something else.
    """
    if labels is None:
        return ReadLabels(None, why_none=NO_LABELS)
    wanted = f"labels must be one class or number per sample, shape ({n},), or zeros and ones of shape ({n}, C)"
    array = any_array(labels.tolist() if np.ma.isMaskedArray(labels) else with_missing_rows(labels), wanted)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape[:1] != (n,) or array.ndim not in (1, 2) or 0 in array.shape:
        raise DataError(f"{wanted}, got {array.shape}")
    if array.ndim == 2:
        return ReadLabels(*read_several(array))
    if array.dtype.kind in "US" and isinstance(labels, (list, tuple)):
        array = np.array(labels, object)  # an array of words may have been made of words and numbers
    found = array if array.dtype.kind in "iubf" else _plain_array(array)
    if found.dtype.kind == "u" and found.max() > MAX_CODE:
        found = np.array(list(map(str, found.tolist())), object)
    if found.dtype.kind == "O":
        return _encode_words(found.tolist())
    codes = _as_targets_or_classes(found) if found.dtype.kind == "f" else found.astype(np.int64)
    if not is_classes(codes) or codes.min() >= -1:
        return ReadLabels(codes)
    ignored = codes == IGNORED
    notes = (f"the label {IGNORED} of {ignored.sum()} samples is read as missing",) if ignored.any() else ()
    codes = np.where(ignored, -1, codes)
    if codes.min() >= -1:
        return ReadLabels(codes, notes=notes)
    names, positions = np.unique(
        codes[codes != -1], return_inverse=True
    )  # other negative classes: codes are their ranks
    codes[codes != -1] = positions
    return ReadLabels(codes, tuple(map(str, names.tolist())), notes=notes)


def _plain_array(array: NDArray[Any]) -> NDArray[Any]:
    """Objects or words as int64 with -1 for None, as float64 with NaN for it, or as an array of words and None."""
    plain = [plain_label(label) for label in array]
    plain = [None if label != label else label for label in plain]
    words = [label for label in plain if isinstance(label, str)]
    numbers = [label for label in plain if isinstance(label, (int, float))]
    if words and all(number in (-1, IGNORED) for number in numbers):
        return np.array([label if isinstance(label, str) else None for label in plain], object)
    if words:
        raise DataError(f"labels must be classes, all integers or all words, got {_describe_kinds(array)}")
    if not all(isinstance(number, int) for number in numbers):
        return np.array([np.nan if label is None else label for label in plain], np.float64)
    if any(abs(number) > MAX_CODE for number in numbers):  # more than a code can be: names
        return np.array([None if label is None else str(label) for label in plain], object)
    return np.array([-1 if label is None else label for label in plain], np.int64)


def _describe_kinds(array: NDArray[Any]) -> str:
    kinds = [type(label).__name__ for label in array]
    first = {kind: kinds.index(kind) for kind in kinds}
    return ", ".join(f"{kind} (first {array[at]!r} at index {at})" for kind, at in first.items())


def _encode_words(words: list[str | None]) -> ReadLabels:
    cleaned, notes = clean_words([word or "" for word in words])
    names = sorted({word for word in cleaned if word is not None})
    position = {name: code for code, name in enumerate(names)}
    codes = np.array([-1 if word is None else position[word] for word in cleaned], np.int64)
    return ReadLabels(codes, tuple(names), notes=notes)


def _as_targets_or_classes(array: NDArray[np.floating]) -> Labels:
    """Whole numbers are classes: binary targets may be floats, and pandas turns classes with gaps into floats."""
    infinite = np.isinf(array).nonzero()[0]
    if len(infinite):
        raise DataError(
            f"labels must be finite, got {array[infinite[0]].item()!r} at index {infinite[0]} ({len(infinite)} of "
            f"{len(array)}): NaN means that a sample has none"
        )
    filled = np.nan_to_num(array.astype(np.float64), nan=-1.0)
    is_code = bool(((filled == np.trunc(filled)) & (np.abs(filled) < MAX_CODE)).all())
    return filled.astype(np.int64) if is_code else array.astype(np.float64)


def has_label(labels: Labels) -> BoolArray:
    """(N,) which samples carry a label; of several, at least one known entry."""
    if labels.dtype.kind == "f":
        return np.asarray(~np.isnan(labels))
    return np.asarray((labels != -1).any(1) if labels.ndim == 2 else labels != -1)


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
