"""How data sets are built: what counts as one, what it holds, how it is read by position, and its groups."""

from __future__ import annotations

import operator
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from selfclean_hooks.core.groups import group_text
from selfclean_hooks.data.items import LABEL_NAMES
from selfclean_hooks.errors import DataError, SettingError

FILE_LISTS = ("samples", "imgs", "paths", "image_paths", "files", "filenames", "images", "_samples", "_image_files")
SEQUENCES = (list, tuple, range, np.ndarray, torch.Tensor)


class Origin(NamedTuple):
    """A position in a leaf of the tree: `path` such as "datasets[1].dataset", "" for the data set itself."""

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index


def origin(dataset: Any, index: int) -> Origin:
    """Follow position `index` through Subset, ConcatDataset, random_split and plain wrappers to the leaf that holds it.

    A wrapper with `.dataset`, or another single data set, of its own length counts as plain unless it has a list or
    array of that length, which might be an order; the search then ends at the wrapper.

    Raises:
        IndexError: `index` is outside the data set.
    """
    path, _, position = _leaf(dataset, index)
    return Origin(path, position)


def file_name(dataset: Any, index: int) -> str | None:
    """The path of the file behind a sample, where its leaf lists files (`FILE_LISTS`); None otherwise.

    Raises:
        IndexError: `index` is outside the data set.
    """
    _, leaf, position = _leaf(dataset, index)
    for name in FILE_LISTS:
        files = fields(leaf).get(name)
        if isinstance(files, (list, tuple)) and len(files) == len(leaf):
            entry = files[position]
            path = entry[0] if isinstance(entry, tuple) and entry else entry
            if isinstance(path, (str, os.PathLike)):
                return os.fspath(path)
    return None


def class_names(dataset: Any) -> tuple[str, ...] | None:
    """Names of the classes 0, 1, ...: `classes` of the leaves or the ClassLabel of a Hugging Face data set.

    None if there are none, if the leaves disagree, or if a `target_transform` may have changed what a label means.
    """
    held = fields(dataset)
    if held.get("target_transform") is not None:
        return None
    inner = [value for entry in held.values() for value in (entry, *entries(entry)[:64]) if is_dataset(value)]
    if inner and "classes" not in held:
        found = {class_names(value) for value in inner}
        return found.pop() if len(found) == 1 else None
    names = getattr(dataset, "classes", None)
    if is_huggingface(dataset):
        label = next((dataset.features[name] for name in LABEL_NAMES if name in dataset.features), None)
        names = getattr(label, "names", None)
    fits = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return tuple(names) if fits and names else None


def _leaf(dataset: Any, index: int) -> tuple[str, Any, int]:
    path: list[str] = []
    position = _position(dataset, index)
    while (step := _inner(dataset, position)) is not None:
        name, dataset, position = step
        position = _position(dataset, position)
        path.append(name)
    return ".".join(path), dataset, position


def _position(dataset: Any, index: int) -> int:
    position, n = operator.index(index), len(dataset)
    if not -n <= position < n:
        raise IndexError(f"index {position} is outside a data set of {n} samples")
    return position % n


def _inner(dataset: Any, index: int) -> tuple[str, Any, int] | None:
    """One step down the tree, None at a leaf."""
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, index)
        return f"datasets[{part}]", dataset.datasets[part], index - [0, *dataset.cumulative_sizes][part]
    held, n = fields(dataset), len(dataset)
    name = next((name for name in ("dataset", "_dataset") if hasattr(type(held.get(name)), "__getitem__")), None)
    if name is None:  # "subset", "data", "ds" ... where there is one only
        inside = [name for name, value in held.items() if is_dataset(value) and _length(value) == n]
        name = inside[0] if len(inside) == 1 else None
    if name is None or isinstance(inner := held[name], (str, bytes, Mapping)):
        return None
    indices = held.get("indices")
    if isinstance(indices, SEQUENCES) and len(indices) == n:
        return name, inner, int(indices[index])
    ordered = any(isinstance(value, SEQUENCES) and len(value) == n for key, value in held.items() if key != name)
    return None if ordered or len(inner) != n else (name, inner, index)


def _length(dataset: Any) -> int:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, ValueError):  # a stream, for example
        return -1


CODE = (type, FunctionType, MethodType, torch.jit.ScriptModule)
PLAIN = (str, bytes, list, tuple, dict, set, np.ndarray, torch.Tensor, *CODE)  # holds no attributes worth a look


def check_map_style(dataset: Any) -> None:
    """See that items can be read by position: `len(dataset)`, `dataset[i]`. A list, array or tensor of items will do.

    Raises:
        DataError: They cannot. The message says what to pass instead.
    """
    cure = _cure(dataset)
    if cure is not None:
        came = f"the class {dataset.__name__}" if isinstance(dataset, type) else f"a {type(dataset).__name__}"
        raise DataError(f"a map-style data set is needed, one with len() and [index]; got {came}: {cure}")


def _cure(dataset: Any) -> str | None:
    if isinstance(dataset, type):
        return "make an instance of it"
    if isinstance(dataset, (str, bytes, os.PathLike)):
        return "open it first, for example torchvision.datasets.ImageFolder(path)"
    if isinstance(dataset, Mapping):
        names = ", ".join(map(str, dataset)) or "it is empty"
        return f"pass one of its values ({names}), or all of them to audit_splits"
    if isinstance(dataset, DataLoader):
        return "pass its .dataset"
    stream = "read the items into a list first, or use a map-style data set (selfclean_hooks.clean takes streams)"
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        return stream
    return f"{stream}; it has no length" if _length(dataset) < 0 else None


def is_huggingface(value: Any) -> bool:
    """Whether this is a `datasets.Dataset`, judged by its class, as wrappers may forward attributes."""
    return hasattr(type(value), "with_format") and hasattr(type(value), "features")


def is_dataset(value: Any) -> bool:
    """Whether an attribute is a data set to look into, of torch, of Hugging Face or of a class of the user's own."""
    if isinstance(value, Dataset) or is_huggingface(value):
        return True
    if isinstance(value, PLAIN) or not hasattr(type(value), "__getitem__"):
        return False
    return any(name in fields(value) for name in ("transform", "transforms", "dataset"))


def fields(value: Any) -> dict[str, Any]:
    """Attributes of the object itself, those of its class and forwarded ones left out."""
    return vars(value) if hasattr(value, "__dict__") else {}


def entries(container: Any) -> Sequence[Any]:
    """What a list, tuple or dict holds; nothing for anything else."""
    if isinstance(container, dict):
        return list(container.values())
    return container if isinstance(container, (list, tuple)) else ()


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
    elif _is_in_order(group_key):
        values = list(group_key)
    else:
        raise SettingError(
            "group_key must be the name of a column or an attribute, a function of the file of a sample, or one group "
            f"for each sample, got {group_key!r:.60}"
        )
    if len(values) != len(files):
        raise DataError(f"group_key must give one group for each of {len(files)} samples, got {len(values)}")
    return tuple(map(group_text, values))


def _named(dataset: Any, name: str) -> Sequence[Any]:
    """The entries of a column or attribute, of a part of a data set those of the part."""
    if is_huggingface(dataset):
        if name not in dataset.column_names:
            came = ", ".join(map(repr, dataset.column_names))
            raise DataError(f"group_key={name!r} is no column of the data set, got {came}")
        return list(dataset.with_format(None)[name])
    values: Any = getattr(dataset, name, None)
    if _is_in_order(values) and len(values) == len(dataset):
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


def _is_in_order(values: Any) -> bool:
    """Whether it has an entry for each sample: a mapping has keys, and a set no order."""
    return hasattr(type(values), "__len__") and not isinstance(values, (Mapping, Set))
