"""What labels say as plain values, one or several a sample, and which words and codes mean that there is none."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.text import visible

PlainLabel = int | float | str
IGNORED = -100  # torch's ignore_index: a label that is none, as -1 is
# What pandas and Python write for a missing value. "none" and "NA" are names of classes as well.
MISSING_WORDS = frozenset({"", "nan", "NaN", "NAN", "None", "<NA>", "NaT", "null", "NULL", "-1", "-100"})
INVISIBLE = "\ufeff\u200b"  # at the ends of words, beside white space: byte order mark, zero-width space
MOST_NAMED = 5  # names listed in a note
MIN_IDENTIFIERS = 4  # fewer labels than this show nothing
IGNORE_VALUES = (255, 65535)  # of masks, the largest of 8 and 16 bits: suspicious as soon as one code is left out below
NO_LABEL_WORDS = frozenset(
    {"unknown", "unlabeled", "unlabelled", "undefined", "missing", "none", "na", "n/a", "#n/a", "?", "-"}
)
FAR = 10  # codes left out below or above any other value
SIGNS = "labels are 1 and -1 without a 0: -1 is read as not having the label, not as unknown"


def plain_label(label: Any) -> PlainLabel | None:
    """A single label as a word or a number, None where it says that there is none. NaN stays a number.

    Args:
        label: None or pandas' NA; a word, UTF-8 bytes or a path; a number of any kind; or a member of an enumeration,
            which counts by its number or word if it is one, otherwise by its name.

    Raises:
        DataError: it is something else, or bytes that are no text.
    """
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, Enum):
        label = label.value if isinstance(label, (int, str)) else label.name
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(label, (bytes, bytearray)):
        try:
            return bytes(label).decode()
        except UnicodeDecodeError:
            raise DataError(f"a label of bytes must be text in UTF-8, got {label!r:.60}: decode it first") from None
    if isinstance(label, (str, os.PathLike)):
        return str(label)
    if isinstance(label, (Decimal, Fraction)):
        return _number(label)
    if isinstance(label, int):
        return int(label)
    if isinstance(label, float):
        return float(label)
    raise DataError(f"a label must be a word or a number, got {label!r:.60} ({type(label).__name__})")


def _number(value: Decimal | Fraction) -> int | float:
    if isinstance(value, Decimal) and not value.is_finite():
        return math.nan if value.is_nan() else float(value)
    return int(value) if value == int(value) else float(value)


def clean_words(words: Sequence[str]) -> tuple[list[str | None], tuple[str, ...]]:
    """Words without blanks at their ends, None for those that mean a missing value; and what was done to them."""
    stripped = [word.strip().strip(INVISIBLE).strip() for word in words]
    changed = Counter(word for word, bare in zip(words, stripped, strict=True) if word != bare and bare)
    missing = Counter(bare for bare in stripped if bare in MISSING_WORDS)
    cleaned = [None if bare in MISSING_WORDS else bare for bare in stripped]
    notes = []
    if changed:
        notes.append(f"blanks at the ends of {sum(changed.values())} labels were removed: {_counted(changed)}")
    if named := {word: count for word, count in missing.items() if word}:
        notes.append(f"{sum(named.values())} labels are read as missing: {_counted(named)}")
    return cleaned, (*notes, *note_similar_names(word for word in cleaned if word is not None))


def note_similar_names(words: Iterable[str]) -> tuple[str, ...]:
    """A note where the names of two classes differ only in case or in the way they are written."""
    alike: dict[str, dict[str, int]] = {}
    for word, count in Counter(words).items():
        alike.setdefault(_folded(word), {})[word] = count
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return ()
    listed = "; ".join(_beside(names) for names in groups[:MOST_NAMED]) + ("; ..." if len(groups) > MOST_NAMED else "")
    return (f"classes whose names differ only in case or spelling stay apart: {listed}. Rename them if they are one",)


def _folded(word: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", word)).casefold()


def _beside(names: Mapping[str, int]) -> str:
    """The rarer names beside the most frequent one: `"Cat" (3) beside "cat" (40)`."""
    *rare, common = sorted(names.items(), key=lambda entry: entry[1])
    return f"{_counted(dict(rare))} beside {_counted(dict([common]))}"


def _counted(names: Mapping[str, int]) -> str:
    listed = [f'"{visible(name, 60)}" ({count})' for name, count in list(names.items())[:MOST_NAMED]]
    return ", ".join(listed) + (", ..." if len(names) > MOST_NAMED else "")


def why_identifiers(labels: NDArray[np.int64]) -> str:
    """Why classes are no labels, where most samples are the only one of their class; otherwise ""."""
    if len(labels) < MIN_IDENTIFIERS:
        return ""
    counts = np.unique(labels, return_counts=True)[1]
    alone = int((counts == 1).sum())
    if 2 * alone <= len(labels):
        return ""
    return (
        f"the labels look like identifiers and not like classes: {alone} of {len(labels)} samples are the only one of "
        "their class. Give classes that samples share, or regression targets as numbers with a fraction"
    )


def note_class_apart(labels: NDArray[np.int64], names: Sequence[str] | None) -> tuple[str, ...]:
    """A note where one class stands apart from the others, which are 0 to k, as values for "no label" do.

    Such are 255 in masks, and -9 or 999 in tables; among words "unknown" and "N/A". It stays a class: only its owner
    knows.

    Args:
        labels: (N,) codes of samples that carry one.
        names: of the codes; None where they are what the data set holds.
    """
    codes, counts = np.unique(labels, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        if names is not None and code < len(names) and names[code].casefold() in NO_LABEL_WORDS:
            word = names[code]
            return (
                f'the class "{word}" of {count} samples: if it means that a sample has no label, pass '
                f'ignore_label="{word}", or leave the label empty',
            )
    values = _as_numbers(codes.tolist(), names)
    if len(values) < 3:
        return ()
    order = sorted(range(len(values)), key=values.__getitem__)
    for at, others in ((order[-1], order[:-1]), (order[0], order[1:])):
        value, low, high = values[at], values[others[0]], values[others[-1]]
        left_out = value - high - 1 if value > high else low - value - 1
        suspicious = value < -1 or left_out >= max(FAR, high) or (value in IGNORE_VALUES and left_out > 0)
        if suspicious and low in (0, 1) and 2 * len(others) > high - low:
            return (
                f"the class {value} of {counts[at]} samples stands apart from the other classes, {low} to {high}: if "
                f"it means that a sample has no label, pass ignore_label={value}, or write -1 in its place",
            )
    return ()


def _as_numbers(codes: Sequence[int], names: Sequence[str] | None) -> list[int]:
    """The codes, or their names where these are whole numbers; none where they are words."""
    if names is None:
        return list(codes)
    texts = [names[code] for code in codes if code < len(names)]
    plain = all(text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= 20 for text in texts)
    return [int(text) for text in texts] if plain and len(texts) == len(codes) else []


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
