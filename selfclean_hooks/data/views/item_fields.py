"""Which field of an item is what, where the user says so or the first items show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from PIL import Image

from selfclean_hooks.data.items import Item, Unclear, item_label, named_label, split
from selfclean_hooks.data.signals import samples_of
from selfclean_hooks.errors import DataError

Key = str | int | None


@dataclass(frozen=True)
class Fields:
    """Which field of an item is what; None: by the conventions of `split`.

    Attributes:
        input_key: name or position of what is audited.
        label_key: name or position of the label.
        ignore_label: the label that means that a sample has none.
        index_first: whether tuples begin with the position of the sample.
    """

    input_key: Key = None
    label_key: Key = None
    ignore_label: Any = None
    index_first: bool = False

    def __call__(self, item: Any) -> Item:
        """An item, parted."""
        if self.input_key is None:
            value, label = split(tuple(item[1:]) if self.index_first and _is_plain(item) else item)
        else:
            value, label = samples_of(_field(item, "input_key", self.input_key)), self._beside(item)
        if self.label_key is not None:
            label = _field(item, "label_key", self.label_key)
        return Item(value, self.known(label))

    def _beside(self, item: Any) -> Any:
        """The label beside what is audited: by name, or what follows it."""
        if isinstance(item, Mapping):
            return named_label(item)
        if not _is_plain(item):
            return split(item).label
        after = self.input_key + 1 if isinstance(self.input_key, int) else 1
        return item[after] if 0 < after < len(item) else None

    def known(self, label: Any) -> Any:
        """A label, None where it is the ignored one; of several labels, with None for ignored entries."""
        if self.ignore_label is None or isinstance(label, Unclear):
            return label
        entries = label.tolist() if hasattr(label, "tolist") else label
        if not isinstance(entries, (list, tuple)) or len(entries) < 2:
            return None if self._is_ignored(label) else label
        ignored = [self._is_ignored(entry) for entry in entries]
        return [None if is_none else e for e, is_none in zip(entries, ignored, strict=True)] if any(ignored) else label

    def _is_ignored(self, label: Any) -> bool:
        try:
            return item_label(label) == item_label(self.ignore_label)
        except DataError:  # no label at all, which is said elsewhere
            return False


CONVENTIONS = Fields()


def _is_plain(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and not hasattr(item, "_fields") and len(item) > 0


def _field(item: Any, option: str, key: str | int) -> Any:
    """The field of an item of that name or at that position."""
    if isinstance(item, Mapping):
        held: dict[Any, Any] = dict(item)
    elif is_dataclass(item) and not isinstance(item, type):
        held = {field.name: getattr(item, field.name) for field in fields(item)}
    elif isinstance(item, (tuple, list)):
        held = dict(enumerate(item)) | dict(zip(getattr(item, "_fields", ()), item, strict=False))
        key = key + len(item) if isinstance(key, int) and key < 0 else key
    else:
        raise DataError(f"{option}={key!r} names a field, and an item is one {type(item).__name__}: leave it out")
    if key not in held and isinstance(key, int) and 0 <= key < len(held):
        key = list(held)[key]
    if key not in held:
        raise DataError(f"{option}={key!r} is no field of an item; there are {', '.join(map(repr, held)) or 'none'}")
    return held[key]


def begins_with(item: Any, positions: tuple[int, ...]) -> bool:
    """Whether an item is a tuple of its own position and an image or array."""
    if not _is_plain(item) or len(item) < 2:
        return False
    first = item[0].item() if getattr(item[0], "ndim", -1) == 0 else item[0]  # of numpy or torch
    if isinstance(first, bool) or not isinstance(first, int) or first not in positions:
        return False
    return isinstance(item[1], Image.Image) or getattr(item[1], "ndim", 0) >= 1
