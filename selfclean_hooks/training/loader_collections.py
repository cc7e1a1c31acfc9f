"""Loaders in lists, tuples and dicts, the data that a loader draws from, and the loader without some of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from torch.utils.data import Subset

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.views.dataset_view import DatasetView, open_dataset
from selfclean_hooks.data.views.kept_samples import NewLabels
from selfclean_hooks.errors import DataError
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.training.loaders import filter_loader, sampled_indices

Change = Callable[[str, Any], Any]
Rebuild = Callable[[Any], "tuple[Any, Callable[[Any], Any]] | None"]


def map_loaders(loaders: Any, change: Change, rebuild: Rebuild = lambda held: None) -> Any:
    """Change every loader of a collection.

    Args:
        loaders: A loader, or a list, tuple or dict of them, nested at will; left as it is.
        change: Called with the name and the loader. Names: keys and positions joined with "."; "" for a loader alone.
        rebuild: For the trainer's own kinds of collections: the collection inside and a function from a changed one to
            a new object of that kind; None for anything else.

    Returns:
        A new collection of the same kind, or `loaders` itself if `change` returned every loader itself.
    """
    return _map("", loaders, change, rebuild)


def loader_names(loaders: Any, mapping: Callable[[Any, Change], Any] = map_loaders) -> list[str]:
    """The names that `mapping` gives to the loaders of a collection."""
    return list(loaders_by_name(loaders, mapping))


def loaders_by_name(loaders: Any, mapping: Callable[[Any, Change], Any] = map_loaders) -> dict[str, Any]:
    """The loaders of a collection by the name that `mapping` gives them."""
    by_name: dict[str, Any] = {}
    mapping(loaders, lambda name, loader: by_name.setdefault(name, loader))
    return by_name


def data_of(loader: Any) -> Any:
    """The data set that a loader draws from; if its sampler draws only some positions, these alone.

    Raises:
        DataError: The loader has no data set.
    """
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        raise DataError(f"wanted a DataLoader with a data set, got {type(loader).__name__}: pass a torch DataLoader")
    positions = sampled_indices(loader)
    return dataset if positions is None else Subset(dataset, positions.tolist())


def view_of(loader: Any, reading: EmbeddingSettings) -> DatasetView:
    """The data of a loader, opened for an audit."""
    return open_dataset(data_of(loader), reading)


def why_no_data(loader: Any) -> str:
    """Why a loader has no data that can be audited, or ""."""
    try:
        check_map_style(data := data_of(loader))
    except DataError as error:
        return str(error)
    return "" if len(data) >= 2 else f"an audit compares samples: the data set must hold at least 2, got {len(data)}"


def corrected(loader: Any, corrections: Corrections, reading: EmbeddingSettings) -> Any:
    """The loader with its `data_of` corrected; itself if nothing changes there.

    Raises:
        DataError: Samples cannot be left out, or labels not be replaced.
    """
    here = corrections.at(sampled_indices(loader))
    new_labels = NewLabels.read(loader.dataset, here.relabelled, reading)
    return filter_loader(loader, np.setdiff1d(np.arange(len(loader.dataset)), here.dropped), new_labels)


def _map(name: str, held: Any, change: Change, rebuild: Rebuild) -> Any:
    own = rebuild(held)
    if own is not None:
        inside, remake = own
        changed = _map(name, inside, change, rebuild)
        return held if changed is inside else remake(changed)
    if not _holds_loaders(held):
        return change(name, held)
    before = held if isinstance(held, dict) else dict(enumerate(held))
    after = {key: _map(f"{name}.{key}" if name else str(key), value, change, rebuild) for key, value in before.items()}
    return held if all(after[key] is value for key, value in before.items()) else _same_kind(held, after)


def _same_kind(held: Any, after: dict[Any, Any]) -> Any:
    if isinstance(held, dict):
        same_kind = copy.copy(held)
        same_kind.update(after)
        return same_kind
    is_namedtuple = hasattr(held, "_fields")
    return type(held)(*after.values()) if is_namedtuple else type(held)(after.values())


def _holds_loaders(held: Any) -> bool:
    """A list of numbers or strings, an empty one too, is a loader itself."""
    values = held.values() if isinstance(held, dict) else held
    return isinstance(held, (list, tuple, dict)) and not all(isinstance(value, (int, float, str)) for value in values)
