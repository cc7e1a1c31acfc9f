"""Several labels a sample as an array: which entries are known, and whether they are classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.label_text import IGNORED, plain_label
from selfclean_hooks.errors import DataError

SIGNS = "labels are 1 and -1 without a 0: -1 is read as not having the label, not as unknown"


def read_several(array: NDArray[Any]) -> tuple[NDArray[Any], None, str, tuple[str, ...]]:
    """The fields of a `ReadLabels` of (N, C) zeros and ones; None, NaN, -1 and -100 are unknown entries.

    The values are bool, int8 with -1 where some entries are unknown, or int64 (N,) where each row holds a single one or
    is unknown altogether: these are classes.

    Raises:
        DataError: an entry is something else.
    """
    numbers = array if array.dtype.kind in "iufb" else _numbers(array)
    unknown = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(array.shape, bool)
    unknown = unknown | (numbers == IGNORED) | (numbers == -1)
    odd = ~(unknown | (numbers == 0) | (numbers == 1))
    if odd.any():
        row, column = (int(at) for at in np.argwhere(odd)[0])
        raise DataError(
            f"labels of shape {array.shape} must be zeros and ones, 1 where a sample has the label, and None, NaN or "
            f"-1 where that is unknown, got {array.tolist()[row][column]!r} at index {row}, column {column}: for "
            "classes pass one integer or word a sample"
        )
    notes: tuple[str, ...] = ()
    has = numbers == 1
    if has.any() and (numbers == -1).any() and not (numbers == 0).any():  # otherwise no label would have two answers
        unknown, notes = unknown & (numbers != -1), (SIGNS,)
    known = ~unknown.all(1)
    if known.any() and not unknown[known].any() and bool((has[known].sum(1) == 1).all()):
        return np.where(known, has.argmax(1), -1).astype(np.int64), None, "", notes
    return np.where(unknown, -1, has).astype(np.int8) if unknown.any() else has, None, "", notes


def with_missing_rows(labels: Any) -> Any:
    """Rows of several labels in a list or an array of objects, with an unknown row in the place of None, NaN or -1."""
    if not isinstance(labels, (list, tuple)) and str(getattr(labels, "dtype", "")) != "object":
        return labels
    rows = list(labels)
    lengths = {len(row) for row in rows if _is_row(row)}
    if len(lengths) != 1 or not all(_is_row(row) or is_unknown(row) for row in rows):
        return labels
    nothing = [None] * lengths.pop()
    return [list(row) if _is_row(row) else nothing for row in rows]


def _is_row(label: Any) -> bool:
    return isinstance(label, (list, tuple)) or getattr(label, "ndim", 0) == 1


def is_unknown(entry: Any) -> bool:
    """Whether an entry, or all of a label, says that nothing is known."""
    if entry is None or type(entry).__name__ == "NAType":
        return True
    return isinstance(entry, (int, float)) and (entry in (-1, IGNORED) or math.isnan(entry))


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    """Objects or words as float64: NaN for none, 2, which is no label, for what is no number."""
    plain = [plain_label(entry) for entry in array.ravel().tolist()]
    numbers = [math.nan if entry is None else 2.0 if isinstance(entry, str) else float(entry) for entry in plain]
    return np.array(numbers).reshape(array.shape)
