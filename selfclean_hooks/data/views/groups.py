"""Which group each sample of a data set belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.errors import DataError, SettingError


def read_groups(dataset: Any, files: Sequence[str | None], group_key: Any) -> tuple[str, ...]:
    """(N,) the group of each sample as text, "" for none; () without groups.

    Args:
        dataset: map-style, of N samples. None is read.
        files: (N,) the file behind each sample.
        group_key: a column of a Hugging Face data set, or an attribute with one entry for each sample; a function of
            the file of a sample; or the N groups themselves. None, NaN and "" are no group.

    Raises:
        SettingError: it is none of these.
        DataError: it does not give one group for each sample.
    """
    if group_key is None:
        return ()
    if isinstance(group_key, str):
        values = _named(dataset, group_key)
    elif callable(group_key):
        if unknown := [index for index, file in enumerate(files) if not file]:
            raise DataError(
                f"group_key is a function of the file of a sample, and {len(unknown)} samples have none, index "
                f"{unknown[0]}: pass the groups themselves, or the name of a column"
            )
        values = [group_key(file) for file in files]
    elif hasattr(type(group_key), "__len__"):
        values = list(group_key)
    else:
        raise SettingError(
            "group_key must be the name of a column or an attribute, a function of the file of a sample, or one group "
            f"for each sample, got {group_key!r:.60}"
        )
    if len(values) != len(files):
        raise DataError(f"group_key must give one group for each of {len(files)} samples, got {len(values)}")
    return tuple(map(_text, values))


def _named(dataset: Any, name: str) -> Sequence[Any]:
    """The entries of a column or attribute, of a part of a data set those of the part."""
    if is_huggingface(dataset):
        if name not in dataset.column_names:
            came = ", ".join(map(repr, dataset.column_names))
            raise DataError(f"group_key={name!r} is no column of the data set, got {came}")
        return list(dataset.with_format(None)[name])
    values: Any = getattr(dataset, name, None)
    if hasattr(type(values), "__len__") and len(values) == len(dataset):
        return list(values)
    if isinstance(dataset, ConcatDataset):
        return [value for part in dataset.datasets for value in _named(part, name)]
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if isinstance(dataset, Subset) or (inner is not None and hasattr(type(indices), "__iter__")):
        whole = _named(inner, name)
        return [whole[int(index)] for index in indices]  # type: ignore[union-attr]  # of a Subset
    raise DataError(
        f"group_key={name!r} is no attribute of {type(dataset).__name__} with one entry for each sample: pass the "
        "groups themselves, or a function of the file of a sample"
    )


def _text(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) or getattr(value, "ndim", -1) == 0 else value
    return "" if plain is None or plain != plain else str(plain)
