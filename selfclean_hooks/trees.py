"""How data sets are built: what counts as one, what it holds, and whether it can be read by position."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from selfclean_hooks.errors import DataError

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
        return f"pass one of its values ({names})"
    if isinstance(dataset, DataLoader):
        return "pass its .dataset"
    stream = "read the items into a list first, or use a map-style data set"
    if isinstance(dataset, IterableDataset) or not hasattr(type(dataset), "__getitem__"):
        return stream
    try:
        len(dataset)
    except (TypeError, NotImplementedError, ValueError):
        return f"{stream}; it has no length"
    return None


def is_huggingface(value: Any) -> bool:
    """Whether this is a `datasets.Dataset`; told by its class, as wrappers may forward attributes."""
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
