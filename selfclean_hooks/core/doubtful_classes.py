"""Class codes that may be none: identifiers of single samples, and a value that stands for "no label"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_IDENTIFIERS = 4  # fewer labels than this show nothing
IGNORE_VALUES = (255, 65535)  # of masks, the largest of 8 and 16 bits: suspicious as soon as one code is left out below
FAR = 10  # codes left out below or above any other value


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

    Such are 255 in masks, and -9 or 999 in tables. It stays a class: only its owner knows.

    Args:
        labels: (N,) codes of samples that carry one.
        names: of the codes; None where they are what the data set holds.
    """
    codes, counts = np.unique(labels, return_counts=True)
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
    plain = all(text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 10 for text in texts)
    return [int(text) for text in texts] if plain and len(texts) == len(codes) else []
