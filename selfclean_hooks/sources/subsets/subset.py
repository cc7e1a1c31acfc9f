"""What is taken from a source, with what new labels, and what the new data set is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Changes:
    """What is taken from a source of N samples.

    Attributes:
        kept: (K,) ascending positions of the samples that are taken.
        labels: position -> new label, as text; of kept samples.
        unreadable: positions of samples that could not be read, whose files may be missing.
    """

    kept: IntArray
    labels: Mapping[int, str] = field(default_factory=dict)
    unreadable: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Subset:
    """What a new data set is made of. All names are relative to its folder, with slashes.

    Attributes:
        files: name -> path of the file that is taken as it is.
        made: name -> what writes it, given its path.
        places: position -> name of the sample's own file; samples that have none are left out.
        along: position -> path -> name of the files that belong to its image; to that of a dropped sample, as they are.
        notes: what the user should know, one sentence each.
    """

    files: Mapping[str, str]
    made: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)
    places: Mapping[int, str] = field(default_factory=dict)
    along: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def class_code(text: str, names: Iterable[str] | None, what: str = "the data set") -> int:
    """The number of a class.

    Args:
        text: its name, or the number itself where classes have no names.
        names: of the classes 0, 1, ...; None: they have none.
        what: holds the labels, for the message.

    Raises:
        SourceError: there is no such class.
    """
    known = None if names is None else list(names)
    try:
        return int(text) if known is None else known.index(text)
    except ValueError:
        wanted = "a whole number" if known is None else f"one of {', '.join(known[:20])}"
        raise SourceError(
            f"the labels in {what} are numbers: a new label must be {wanted}, got {text!r}. Choose another one"
        ) from None


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
