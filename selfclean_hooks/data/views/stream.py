"""Samples of a stream, which come in order and by no position: what each is known by, and the stream without some."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset

from selfclean_hooks.core.groups import group_text
from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.data.digests import digest
from selfclean_hooks.data.views.item_fields import Fields
from selfclean_hooks.errors import DataError, SettingError

OWN_KEYS = ("__url__", "__key__")  # of the samples of a webdataset: unique within a shard
PROBES = 16  # items read again to see whether a second pass finds the same


def is_stream(data: Any) -> bool:
    """Whether a data set gives its samples one after the other: torch's IterableDataset, or Hugging Face's."""
    iterates = hasattr(type(data), "__iter__") and not hasattr(type(data), "__getitem__")
    return isinstance(data, IterableDataset) or (is_huggingface(data) and iterates)


@dataclass(frozen=True)
class SampleKeys:
    """What a sample of a stream is known by in every pass: 32 hexadecimal digits of a field, or of all of it.

    Args:
        source: name of the field, or a function of an item; None: `__key__` where there is one, else the whole item.
    """

    source: str | Callable[[Any], Any] | None = None

    def __call__(self, item: Any) -> str:
        """The key of an item.

        Raises:
            DataError: it has no such field, or one of a type whose content is not known.
        """
        if callable(self.source):
            return digest(self.source(item))
        if self.source is None:
            of_shard = isinstance(item, Mapping) and OWN_KEYS[-1] in item
            return digest([item.get(name) for name in OWN_KEYS] if of_shard else item)
        if not isinstance(item, Mapping) or self.source not in item:
            came = ", ".join(map(repr, item)) if isinstance(item, Mapping) else f"a {type(item).__name__}"
            raise DataError(f"key={self.source!r} is no field of an item, got {came}: name another, or pass a function")
        return digest(item[self.source])

    def name(self, item: Any) -> str:
        """What the sample is called in the audit: its key where that is a text or a number, else ""."""
        field = OWN_KEYS[-1] if self.source is None else self.source
        held = field(item) if callable(field) else item.get(field) if isinstance(item, Mapping) else None
        return str(held) if isinstance(held, (str, int)) else ""

    def check_again(self, stream: Any, keys: set[str]) -> None:
        """See that a second pass finds samples of the first.

        Raises:
            DataError: it does not, as where items are augmented at random.
        """
        again = [self(item) for item in islice(iter(stream), PROBES)]
        if again and not keys.issuperset(again):
            raise DataError(
                "a stream must give the same samples in every pass, and this one does not: audit it before it is "
                "augmented or shuffled into others, or name a field that says which sample it is, as key='id'"
            )


def group_reader(group_key: Any) -> Callable[[Any], str] | None:
    """A function from an item to its group as text, "" for none: by a field of it, or a function of it; None for None.

    Raises:
        SettingError: it is neither.
    """
    if group_key is None:
        return None
    if not isinstance(group_key, str) and not callable(group_key):
        raise SettingError(
            "group_key must be the name of a field of an item of a stream, or a function of the item, got "
            f"{group_key!r:.60}"
        )

    def group_of(item: Any) -> str:
        if callable(group_key):
            return group_text(group_key(item))
        if not isinstance(item, Mapping) or group_key not in item:
            came = ", ".join(map(repr, item)) if isinstance(item, Mapping) else f"a {type(item).__name__}"
            cure = "name another, or pass a function"
            raise DataError(f"group_key={group_key!r} is no field of an item, got {came}: {cure}")
        return group_text(item[group_key])

    return group_of


@dataclass
class StreamChanges:
    """What is changed in a stream: which samples are left out, and which get another label.

    Attributes:
        keys: of samples.
        kept: key -> how many of the samples of this key are kept, where not all are.
        labels: key -> new label in the form of the data set.
        fields: where the label of an item is.
    """

    keys: SampleKeys
    kept: Mapping[str, int]
    labels: Mapping[str, Any]
    fields: Fields
    _seen: Counter[str] = field(default_factory=Counter)
    _last: int = -1

    def keeps(self, item: Any, index: int) -> bool:
        """Whether the item at a position of a pass is kept; a position that is not behind the last begins a pass."""
        if index <= self._last:
            self._seen.clear()
        self._last, key = index, self.keys(item)
        if key not in self.kept:
            return True
        self._seen[key] += 1
        return self._seen[key] <= self.kept[key]

    def labelled(self, item: Any) -> Any:
        """The item with its new label, if it has one."""
        key = self.keys(item) if self.labels else ""
        return self.fields.with_label(item, copy.deepcopy(self.labels[key])) if key in self.labels else item

    def applied(self, stream: Any) -> Any:
        """The stream without what is left out: of the same kind where it is Hugging Face's, else a `KeptStream`."""
        if not self.kept and not self.labels:
            return stream
        if not is_huggingface(stream):
            return KeptStream(stream, self)
        kept = stream.filter(self.keeps, with_indices=True) if self.kept else stream
        return kept.map(self.labelled, features=stream.features) if self.labels else kept


class KeptStream(IterableDataset[Any]):
    """The samples of a stream that are kept, one after the other. Other attributes are those of the stream itself.

    Args:
        stream: the whole.
        changes: what is left out.
    """

    def __init__(self, stream: Any, changes: StreamChanges) -> None:
        """See the class."""
        self.stream, self.changes = stream, changes

    def __iter__(self) -> Iterator[Any]:
        """A pass; in a worker, over what the stream gives there."""
        for index, item in enumerate(self.stream):
            if self.changes.keeps(item, index):
                yield self.changes.labelled(item)

    def __getattr__(self, name: str) -> Any:
        """Called for what this object and its class have not."""
        if name.startswith("_") or name in ("stream", "changes"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.stream, name)
