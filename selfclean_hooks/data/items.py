"""What one item of a data set holds: a value, perhaps a label, perhaps something a person can look at.

Data sets return tuples, dicts, named tuples, dataclasses or the bare image. `split` is the one place that knows these
conventions; everything after it sees an `Item`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from selfclean_hooks.core.label_text import is_unknown, plain_label
from selfclean_hooks.data.image_files import stored_image
from selfclean_hooks.data.images import as_array
from selfclean_hooks.data.signals import samples_of
from selfclean_hooks.errors import DataError

SUM_ERROR = 1e-3  # of probabilities in half precision
ItemLabel = int | str | float | tuple[int, ...]


def item_label(label: Any) -> ItemLabel | None:
    """The label as a plain value.

    Args:
        label: what `plain_label` takes, 0-d and 1-element arrays and tensors count; or a list, array or tensor of at
            least two zeros and ones, with None, NaN, -1 or -100 for unknown entries.

    Returns:
        A word or whole number is a class, a fraction or NaN a number, zeros and ones are a tuple, -1 in it for what is
        unknown, and of probabilities that sum to 1 (soft labels) the most probable class.

    Raises:
        DataError: it is none of these: infinity, a vector of other numbers, a dict of boxes.
    """
    if isinstance(label, Unclear):
        raise DataError(label.why)
    plain = label.item() if isinstance(label, (np.ndarray, np.generic, torch.Tensor)) and _numel(label) == 1 else label
    held = _zeros_and_ones(plain)
    if held:
        return held
    if (soft := _most_probable(plain)) is not None:
        return soft
    with suppress(DataError):
        single = plain_label(plain)
        if isinstance(single, float) and single.is_integer():
            return int(single)
        if not isinstance(single, float) or not math.isinf(single):
            return single
    raise DataError(
        "a label must be one integer or word (a class), one number, or zeros and ones (several labels a sample), got "
        f"{_describe(label)}: name another field of the items with label_key=, or leave label errors out"
    )


def _zeros_and_ones(label: Any) -> tuple[int, ...]:
    """The entries of a vector of nothing else or, as -1, unknown; () for anything other."""
    array = as_array(label)
    entries = label if isinstance(label, (list, tuple)) else [] if array is None else array.tolist()
    if not isinstance(entries, (list, tuple)) or len(entries) < 2:
        return ()
    is_fine = all((isinstance(entry, (bool, int, float)) and entry in (0, 1)) or is_unknown(entry) for entry in entries)
    return tuple(-1 if is_unknown(entry) else int(entry) for entry in entries) if is_fine else ()


def _most_probable(label: Any) -> int | None:
    """The class of a row of probabilities, None of anything else."""
    array = as_array(np.asarray(label) if isinstance(label, (list, tuple)) else label)
    if array is None or array.ndim != 1 or len(array) < 2 or array.dtype.kind != "f":
        return None
    is_fine = bool((array >= 0).all()) and abs(float(array.sum()) - 1) < SUM_ERROR
    return int(array.argmax()) if is_fine else None


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


# The first name an item has wins. "pixel_values" is what a model is fed, so it goes before a stored "image" beside it;
# so do "input_ids" before the text they stand for.
IMAGE_NAMES = ("pixel_values", "image", "img", "x", "jpg", "jpeg", "png", "webp")  # the last four of a webdataset
OTHER_NAMES = ("input_ids", "input_values", "input_features", "text", "sentence", "audio", "waveform", "features")
VALUE_NAMES = IMAGE_NAMES + OTHER_NAMES
LABEL_NAMES = ("label", "labels", "y", "target", "cls")
LABEL_WORDS = ("label", "labels", "target", "class", "category")  # end the names of fields that may be labels
SAMPLE_RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)  # of sounds, in Hz


class Item(NamedTuple):
    """One item: what is audited and its label, None where the item has none."""

    value: Any
    label: Any


class Unclear(NamedTuple):
    """In the place of a label: why it is not known which field holds it."""

    why: str


def split(item: Any) -> Item:
    """Tell the value of an item from its label.

    Args:
        item: What `dataset[i]` returned. A tuple or list has the value first and the label second; a mapping, named
            tuple or dataclass by name (`VALUE_NAMES`, `LABEL_NAMES`); anything else is a value without a label. Of a
            sound as Hugging Face's data sets hold it, the value is its array, and of an image that they or a path stand
            for, the image.

    Raises:
        OSError: The image that is stood for cannot be read.
        DataError: An empty tuple or list, or a mapping with none of the names.
    """
    value, label = item if isinstance(item, Item) else _parted(item)
    return Item(stored_image(samples_of(value)), label)


def count_views(item: Any, of_arrays: bool = False) -> int:
    """How many images an item holds, of which the first is taken; `of_arrays` counts arrays and tensors too."""
    value, label = item if isinstance(item, Item) else _parted(item)
    values = value if isinstance(value, (list, tuple)) else [value, label]
    images = [isinstance(each, Image.Image) or (of_arrays and getattr(each, "ndim", 0) == 3) for each in values]
    return len(images) if all(images) else 1


def _parted(item: Any) -> Item:
    if isinstance(item, Mapping):
        return _by_name(item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
        first = next(iter(fields.values()), item)
        return Item(_first(fields, _names_beside(first), first), _first(fields, LABEL_NAMES, None))
    if isinstance(item, (tuple, list)):
        return _by_position(item)
    return Item(item, None)


def label_place(item: Any) -> str | int | None:
    """Name or position of the label of an item, None where it has none that is clear."""
    if isinstance(item, Mapping):
        place = _label_name(item)
        return None if isinstance(place, Unclear) else place
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return _first_name([field.name for field in dataclasses.fields(item)], LABEL_NAMES)
    if isinstance(item, (tuple, list)) and item:
        return _label_position(item)
    return None


def _by_name(item: Mapping[Any, Any]) -> Item:
    names = IMAGE_NAMES if any(isinstance(entry, Image.Image) for entry in item.values()) else VALUE_NAMES
    images = [name for name, entry in item.items() if isinstance(entry, Image.Image) or getattr(entry, "ndim", 0) > 1]
    if not any(name in item for name in names) and len(images) != 1:
        came = ", ".join(map(repr, item)) or "none"
        raise DataError(
            f"a dict item needs its image under one of the keys {', '.join(map(repr, IMAGE_NAMES))}, or text, sound "
            f"or a row of numbers under one of {', '.join(map(repr, OTHER_NAMES))}; its keys: {came}. "
            "Rename the key, or name it with input_key="
        )
    value = _first(item, names, item[images[0]] if len(images) == 1 else None)
    return Item(value, named_label(item))


def named_label(item: Mapping[Any, Any]) -> Any:
    """The label of a dict, under one of `LABEL_NAMES` or in the one field that may be it; of several, an `Unclear`."""
    name = _label_name(item)
    return name if isinstance(name, Unclear) else item[name] if name is not None else None


def _label_name(item: Mapping[Any, Any]) -> Any:
    """The name of that field; None: there is none."""
    if (known := _first_name(item, LABEL_NAMES)) is not None:
        return known
    words = {name: str(name).lower().replace("-", "_").split("_")[-1] for name in item}
    found = [name for name, word in words.items() if word in LABEL_WORDS]
    if len(found) < 2:
        return found[0] if found else None
    names = ", ".join(map(repr, found))
    return Unclear(f"any of the fields {names} may be the label: name it, as label_key={found[0]!r}")


def _by_position(item: tuple[Any, ...] | list[Any]) -> Item:
    if not item:
        raise DataError(f"an item must hold a value, got an empty {type(item).__name__}: leave such items out")
    fields, place = getattr(item, "_fields", None), _label_position(item)
    value = item[0] if fields is None else _first(dict(zip(fields, item, strict=True)), _names_beside(item[0]), item[0])
    return Item(value, None if place is None else item[place])


def _label_position(item: tuple[Any, ...] | list[Any]) -> int | None:
    """Where the label is: beside the value, beyond the rate of a sound, or by its name; None: there is none."""
    fields, second = getattr(item, "_fields", None), 1 if len(item) > 1 else None
    if fields is None:
        sound = len(item) > 2 and getattr(item[0], "ndim", 0) in (1, 2) and type(item[1]) is int
        return 2 if sound and item[1] in SAMPLE_RATES else second
    if (known := _first_name(fields, LABEL_NAMES)) is not None:
        return int(fields.index(known))
    names = _names_beside(item[0])
    return second if fields[0] in names or _first_name(fields, names) is None else None


def _names_beside(first: Any) -> tuple[str, ...]:
    """Names that win over the first field: an image there is not passed over for the text beside it."""
    is_image = isinstance(first, Image.Image) or getattr(first, "ndim", 0) > 1
    return IMAGE_NAMES if is_image else VALUE_NAMES


def _first_name(held: Collection[Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in held), None)


def _first(fields: Mapping[Any, Any], names: tuple[str, ...], default: Any) -> Any:
    return next((fields[name] for name in names if name in fields), default)
