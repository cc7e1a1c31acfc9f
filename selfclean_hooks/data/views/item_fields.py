"""Which field of an item is what, where the user says so or the first items show it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from PIL import Image

from selfclean_hooks.data.items import Item, Unclear, item_label, label_place, named_label, split
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

    def label_place(self, item: Any) -> Any:
        """Name or position of the label of an item.

        Raises:
            DataError: the item has none that is clear.
        """
        if self.label_key is not None:
            return _key(_held(item, "label_key", self.label_key), "label_key", self.label_key)
        if self.input_key is not None and _is_plain(item):
            after = self.input_key + 1 if isinstance(self.input_key, int) else 1
            place: Any = after if 0 < after < len(item) else None
        elif self.index_first and _is_plain(item):
            place = None if (beside := label_place(item[1:])) is None else int(beside) + 1
        else:
            place = label_place(item)
        if place is None:
            raise DataError(
                f"a label to be replaced is needed, and it is not clear where a {type(item).__name__} has it: "
                "name it with label_key="
            )
        return place

    def held_label(self, item: Any) -> Any:
        """The label of an item as it is there."""
        return _held(item, "label_key", place := self.label_place(item))[place]

    def with_label(self, item: Any, label: Any) -> Any:
        """An item of the same kind with another label; the one given is left as it is."""
        place = self.label_place(item)
        if isinstance(item, (tuple, list)):
            names = getattr(item, "_fields", ())
            at = names.index(place) if place in names else place
            entries = [label if i == at else entry for i, entry in enumerate(item)]
            return type(item)(*entries) if names else type(item)(entries)
        changed = copy.copy(item)
        if isinstance(item, Mapping):
            changed[place] = label
        else:
            object.__setattr__(changed, place, label)  # of a dataclass, which may be frozen
        return changed

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
    held = _held(item, option, key)
    return held[_key(held, option, key)]


def _held(item: Any, option: str, key: str | int) -> dict[Any, Any]:
    """The fields of an item, those of tuples by position, too."""
    if isinstance(item, Mapping):
        return dict(item)
    if is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    if isinstance(item, (tuple, list)):
        return dict(enumerate(item)) | dict(zip(getattr(item, "_fields", ()), item, strict=False))
    raise DataError(f"{option}={key!r} names a field, and an item is one {type(item).__name__}: leave it out")


def _key(held: dict[Any, Any], option: str, key: str | int) -> Any:
    """The key in `held` of the field of that name or at that position, which may be counted from the end."""
    places = [name for name in held if isinstance(name, int)] or list(held)
    if key not in held and isinstance(key, int) and -len(places) <= key < len(places):
        return places[key]
    if key not in held:
        raise DataError(f"{option}={key!r} is no field of an item; there are {', '.join(map(repr, held)) or 'none'}")
    return key


def begins_with(item: Any, positions: tuple[int, ...]) -> bool:
    """Whether an item is a tuple of its own position and an image or array."""
    if not _is_plain(item) or len(item) < 2:
        return False
    first = item[0].item() if getattr(item[0], "ndim", -1) == 0 else item[0]  # of numpy or torch
    if isinstance(first, bool) or not isinstance(first, int) or first not in positions:
        return False
    return isinstance(item[1], Image.Image) or getattr(item[1], "ndim", 0) >= 1
