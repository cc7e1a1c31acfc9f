"""The label of one item: a class, a number, or which of several labels it has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from selfclean_hooks.errors import DataError
from selfclean_hooks.items import as_array

ItemLabel = int | str | float | tuple[int, ...]


def item_label(label: Any) -> ItemLabel | None:
    """The label as a plain value.

    Args:
        label: None; a string; a number of Python, numpy or torch, 0-d and 1-element arrays count; or a list, array or
            tensor of at least two zeros and ones.

    Returns:
        A word or whole number is a class, a fraction or NaN a number, zeros and ones are a tuple.

    Raises:
        DataError: it is none of these: infinity, a vector of other numbers, a dict of boxes.
    """
    plain = label.item() if isinstance(label, (np.ndarray, np.generic, torch.Tensor)) and _numel(label) == 1 else label
    if plain is None:
        return None
    if isinstance(plain, str):
        return str(plain)
    if isinstance(plain, int) or (isinstance(plain, float) and plain.is_integer()):
        return int(plain)
    if isinstance(plain, float) and not math.isinf(plain):
        return plain
    held = _zeros_and_ones(plain)
    if held:
        return held
    raise DataError(
        "a label must be one integer or word (a class), one number, or zeros and ones (several labels a sample), got "
        f"{_describe(label)}: pass labels= with such a label per sample, or leave label errors out"
    )


def _zeros_and_ones(label: Any) -> tuple[int, ...]:
    """The entries of a vector of nothing else, () for anything other."""
    array = as_array(label)
    entries = label if isinstance(label, (list, tuple)) else [] if array is None else array.tolist()
    if not isinstance(entries, (list, tuple)) or len(entries) < 2:
        return ()
    is_fine = all(isinstance(entry, (bool, int, float)) and entry in (0, 1) for entry in entries)
    return tuple(int(entry) for entry in entries) if is_fine else ()


def _numel(value: Any) -> int:
    return int(np.prod(tuple(value.shape), dtype=np.int64))


def _describe(value: Any) -> str:
    if isinstance(value, (np.ndarray, torch.Tensor)) and _numel(value) != 1:
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {', '.join(map(repr, value)) or 'none'}"
    if isinstance(value, (list, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r:.60} ({type(value).__name__})"
