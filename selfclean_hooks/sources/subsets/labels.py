"""New labels in the kind of values that a data set holds: words, numbers of classes, targets, or ones and zeros."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.subsets.subset import class_code


def new_values(
    values: Sequence[Any], labels: Mapping[int, str], names: Sequence[str] | None, what: str
) -> dict[int, Any]:
    """Position -> new label as the data set holds its labels.

    Args:
        values: the N labels that it holds.
        labels: position -> new label, as text.
        names: of the classes where the values are their numbers; None: they have none.
        what: holds them, for messages.

    Raises:
        SourceError: a new label does not fit.
    """
    present = [value for value in values if value is not None and value == value]
    if any(isinstance(value, (str, bytes)) for value in present):
        is_bytes = any(isinstance(value, bytes) for value in present)
        return {i: text.encode() if is_bytes else text for i, text in labels.items()}
    is_fraction = any(isinstance(value, (float, np.floating)) for value in present)
    return {i: _number(text, what) if is_fraction else class_code(text, names, what) for i, text in labels.items()}


def new_rows(labels: Mapping[int, str], names: Sequence[str] | None, width: int, what: str) -> dict[int, list[int]]:
    """Position -> row of zeros and ones, (width,), for labels of one class or several, as "cat, dog"; "none": no class.

    Raises:
        SourceError: there is no such class.
    """
    known = list(names) if names is not None else [str(code) for code in range(width)]
    rows = {}
    for i, text in labels.items():
        held = {class_code(each, known, what) for each in _classes(text, known)}
        rows[i] = [int(code in held) for code in range(width)]
    return rows


def relabelled(array: NDArray[Any], labels: Mapping[int, str], names: Sequence[str] | None, what: str) -> NDArray[Any]:
    """A copy of an array of labels, (N,) or (N, C), with new ones; longer words make its dtype wider.

    Raises:
        SourceError: a new label does not fit.
    """
    if not labels:
        return array
    if array.ndim == 2:
        changed: NDArray[Any] = array.copy()
        for i, row in new_rows(labels, names, array.shape[1], what).items():
            changed[i] = row
        return changed
    values: list[Any] = array.tolist()
    is_words = array.dtype.kind in "US"
    for i, value in new_values(values, labels, None if is_words else names, what).items():
        values[i] = value
    out: NDArray[Any] = np.array(values, None if is_words else array.dtype)
    return out


def _classes(text: str, known: Sequence[str]) -> list[str]:
    """Names in a text; a name may hold a comma itself."""
    if text in known:
        return [text]
    return [] if text == "none" else [each.strip() for each in text.split(",")]


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SourceError(
            f"the labels in {what} are numbers: a new label must be one, got {text!r}. Choose another one"
        )
    return value
