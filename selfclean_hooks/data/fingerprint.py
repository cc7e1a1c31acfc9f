"""Whether a data set is still the one that was audited: a quick fingerprint, the same in every process and place.

Hashed is what data sets hold (arrays, lists, tables, names and sizes of files) and a sample of their items. Left out is
what changes without the data changing: transforms, generators, single numbers and texts (counters, the root folder),
caches and all else that reading an item changes. To find the latter, each data set of a private copy is read twice.
"""

from __future__ import annotations

import copy
import operator
import os
import random
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from selfclean_hooks.data.contents import (
    ARRAYS,
    digest_of,
    digest_of_table,
    drop_none,
    evenly,
    is_heavy,
    is_table,
)
from selfclean_hooks.data.dataset_tree import PLAIN, entries, fields, file_name, is_dataset, is_huggingface
from selfclean_hooks.data.digests import digest, none_on_error
from selfclean_hooks.data.items import split
from selfclean_hooks.data.views.cached_dataset import CachedDataset
from selfclean_hooks.data.views.copier import RAW, Copier, shallow
from selfclean_hooks.data.views.dataset_view import PROBES, DatasetView
from selfclean_hooks.utils.rng import preserve_rng_state

ITEMS = 256  # items read
TWICE = 20  # of these one in so many samples is read twice, to see whether items are drawn at random,
FEWEST, MOST = 8, 64  # but within these bounds
OF_FILE = 1 << 22  # bytes read of the file behind an item
LOSSY = ("JPEG", "MPO", "WEBP")  # pixels decoded from these differ a little from machine to machine
CHANGING = (list, dict, set, deque)


def data_fingerprint(dataset: Any) -> str:
    """A fingerprint of what a data set holds, made in about a second.

    It changes with the number, order and labels of the samples, with any value of an array in memory, with the name or
    size of a listed file and with the indices of a Subset, at any depth. It does not change with transforms, random
    augmentation, reading, training, the process, the machine or the folder the files lie in. Not seen are: a change
    within a file that keeps its size, or of an item that is made by code alone, unless it is among the `ITEMS` evenly
    spaced items that are read; and changes between the rows that are hashed of arrays above a gigabyte.

    Args:
        dataset: any, or a `DatasetView`, whose cache keeps what is read; it is left as it is, and so is global random
            state. Never raises for what it holds.

    Returns:
        32 hexadecimal digits.
    """
    view = dataset if isinstance(dataset, DatasetView) else None
    original = dataset if view is None else view.dataset
    with preserve_rng_state(original, *([view.bypassed.dataset] if view is not None else [])):
        own = none_on_error(lambda: Copier(RAW).dataset(original))
        state = none_on_error(lambda: _State().of(own))
        probes = _probes(CachedDataset(own) if view is None else view.bypassed.items)
        return digest([type(original).__name__, _length(original), state, probes])


class _State:
    """Digests of what a private copy of a tree holds. An object met twice, as a shared leaf, is hashed once."""

    def __init__(self) -> None:
        # By id of the original. The object itself is kept alive so that its id stays its own.
        self.done: dict[int, tuple[Any, str | None]] = {}
        self.copies: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any, folders: Sequence[str] = ()) -> str | None:
        """The digest of an attribute or a whole data set, None for what says nothing about the data."""
        if id(value) not in self.done:
            self.done[id(value)] = value, "met again inside of itself"
            self.done[id(value)] = value, none_on_error(lambda: self._digest(value, folders))
        return self.done[id(value)][1]

    def _digest(self, value: Any, folders: Sequence[str]) -> str | None:
        if is_huggingface(value):
            return digest_of_table(value)
        if _is_node(value):
            return self._node(value)
        if inside := _inside(value):
            return digest([self.of(part) for part in inside])
        if isinstance(value, (str, os.PathLike)):  # one file with all the samples in it, or the name of something
            return digest(os.path.getsize(value)) if os.path.isfile(value) else None
        return digest_of(value, folders)

    def _node(self, node: Any) -> str:
        held = fields(node)
        held.update({name: self._private(value) for name, value in held.items()})
        for value in held.values():  # first, as reading this one reads those below, which must be private by then
            for part in (value,) if _is_node(value) else _inside(value):
                self.of(part)
        out = _changed_by_reading(node) | {name for name in held if _is_derived(node, name)}
        folders = [os.fspath(v) for v in held.values() if isinstance(v, (str, os.PathLike)) and os.path.isdir(v)]
        found = {name: self.of(value, folders) for name, value in held.items() if name not in out}
        return digest([type(node).__name__, _length(node), drop_none(found)])

    def _private(self, value: Any) -> Any:
        """Copies of what the copy of the tree still shares: classes that can be indexed but are no Dataset."""
        if isinstance(value, (list, tuple)) and any(map(_is_indexed, value[:1])):
            return [self._private(part) for part in value]
        if is_dataset(value) or not _is_indexed(value) or hasattr(type(value), "__del__"):
            return value
        if id(value) not in self.copies:
            self.copies[id(value)] = value, shallow(value)
        return self.copies[id(value)][1]


def _changed_by_reading(node: Any) -> set[str]:
    """Names of caches, logs and the like. The first reading loads what is loaded late, the second is compared."""
    held = fields(node)
    original = {name: value for name, value in held.items() if isinstance(value, CHANGING)}
    held.update({name: copy.copy(value) for name, value in original.items()})  # reading must not reach the user's
    _read_first(node, 1)
    before = {name: (value, copy.copy(value)) for name, value in held.items() if isinstance(value, CHANGING)}
    arrays = {name: value for name, value in held.items() if isinstance(value, ARRAYS)}
    _read_first(node, -1)
    changed = {name for name, (value, old) in before.items() if held.get(name) is not value or not _same(value, old)}
    changed |= {name for name, value in arrays.items() if held.get(name) is not value}
    held.update({name: value for name, value in original.items() if name in held and _same(value, held[name])})
    return changed | {name for name in original if name not in changed and _is_cache(node, name)}


def _read_first(node: Any, step: int) -> None:
    """Reads the first item, or from the end the last one, that can be read."""
    for index in range(_length(node))[::step][:PROBES]:
        if none_on_error(lambda i=index: (node[i],)) is not None:  # type: ignore[misc]
            return


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other) or len(one) != len(other):
        return False
    return all(map(operator.is_, entries(one), entries(other))) and all(map(operator.is_, one, other))


def _is_cache(node: Any, name: str) -> bool:
    """Whether an entry of a list of images or arrays comes back when it is taken out."""
    held = fields(node)
    value = held[name]
    if type(value) is not list or not value or not is_heavy(value[0]):
        return False
    held[name] = [None, *value[1:]]
    none_on_error(lambda: node[0])
    filled = held[name][0] is not None
    held[name] = value
    return filled


def _is_indexed(value: Any) -> bool:
    """Whether an object is like a data set: duck-typed ones, and timm's readers with the list of samples in them."""
    if isinstance(value, (*PLAIN, torch.nn.Module)) or is_table(value) or not fields(value):
        return False
    return hasattr(type(value), "__getitem__") and hasattr(type(value), "__len__")


def _is_node(value: Any) -> bool:
    return is_dataset(value) or _is_indexed(value)


def _inside(container: Any) -> Sequence[Any]:
    """The data sets in a list, tuple or dict."""
    return entries(container) if any(map(_is_node, entries(container)[:1])) else ()


def _is_derived(node: Any, name: str) -> bool:
    return isinstance(getattr(type(node), name, None), cached_property)


def _probes(items: CachedDataset) -> list[tuple[str | None, str | None]]:
    """Content and label of evenly spaced items. What is drawn at random by the data set's own code is left out."""
    n = max(0, _length(items.dataset))
    positions = evenly(n, ITEMS)
    found = [_probe(items, int(i)) for i in positions]
    again = evenly(len(positions), min(MOST, max(FEWEST, n // TWICE)))
    pairs = [(found[k], _probe(items.dataset, int(positions[k]))) for k in again]
    certain = [all(one[part] == two[part] for one, two in pairs) for part in (0, 1)]
    if not all(certain):
        items.close()
    return [(value if certain[0] else None, label if certain[1] else None) for value, label in found]


def _probe(dataset: Any, index: int) -> tuple[str | None, str | None]:
    random.seed(0)  # the caller restores all three
    np.random.seed(0)  # noqa: NPY002
    torch.default_generator.manual_seed(0)
    item = none_on_error(lambda: split(dataset[index]))
    stored = none_on_error(lambda: _start_of_file(file_name(dataset, index)))
    if item is None:
        return stored, "unreadable"
    return stored or none_on_error(lambda: _content(item.value)), none_on_error(lambda: digest(item.label))


def _start_of_file(name: str | None) -> str | None:
    if name is None or not os.path.isfile(name):  # opening a pipe would wait for ever
        return None
    with open(name, "rb") as file:
        return digest(file.read(OF_FILE))


def _content(value: Any) -> str | None:
    if isinstance(value, (str, os.PathLike)):  # a file name, which may lie elsewhere tomorrow
        return None
    if isinstance(value, Image.Image) and value.format in LOSSY:
        return digest([value.mode, value.size])
    return digest(value)


def _length(dataset: Any) -> int:
    try:
        return len(dataset)
    except Exception:  # whatever the user's own code raises: there is no length
        return -1
