"""What one item of a data set holds: a value, perhaps a label, perhaps something a person can look at.

Data sets return tuples, dicts, named tuples, dataclasses or the bare image. `split` is the one place that knows these
conventions; everything after it sees an `Item`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from selfclean_hooks.errors import DataError
from selfclean_hooks.signals import is_signal, samples_of

# The first name an item has wins. "pixel_values" is what a model is fed, so it goes before a stored "image" beside it;
# so do "input_ids" before the text they stand for.
PICTURE_NAMES = ("pixel_values", "image", "img", "x")
OTHER_NAMES = ("input_ids", "input_values", "input_features", "text", "sentence", "audio", "waveform", "features")
VALUE_NAMES = PICTURE_NAMES + OTHER_NAMES
LABEL_NAMES = ("label", "labels", "y", "target")
CHANNELS = (1, 3, 4)


class Item(NamedTuple):
    """One item: what is audited and its label, None where the item has none."""

    value: Any
    label: Any


def split(item: Any) -> Item:
    """Tell the value of an item from its label.

    Args:
        item: What `dataset[i]` returned. A tuple or list has the value first and the label second; a mapping, named
            tuple or dataclass by name (`VALUE_NAMES`, `LABEL_NAMES`); anything else is a value without a label. Of a
            sound as Hugging Face's data sets hold it, the value is its array.

    Raises:
        DataError: An empty tuple or list, or a mapping with none of the names.
    """
    value, label = _parted(item)
    return Item(samples_of(value), label)


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


def _by_name(item: Mapping[Any, Any]) -> Item:
    names = PICTURE_NAMES if any(isinstance(entry, Image.Image) for entry in item.values()) else VALUE_NAMES
    if not any(name in item for name in names):
        came = ", ".join(map(repr, item)) or "none"
        raise DataError(
            f"a dict item needs its image under one of the keys {', '.join(map(repr, PICTURE_NAMES))}, or text, sound "
            f"or a row of numbers under one of {', '.join(map(repr, OTHER_NAMES))}; its keys: {came}. "
            "Rename the key, or wrap the data set so that it returns (value, label)"
        )
    return Item(_first(item, names, None), _first(item, LABEL_NAMES, None))


def _by_position(item: tuple[Any, ...] | list[Any]) -> Item:
    if not item:
        raise DataError(f"an item must hold a value, got an empty {type(item).__name__}: leave such items out")
    second = item[1] if len(item) > 1 else None
    fields = getattr(item, "_fields", None)
    if fields is None:
        return Item(item[0], second)
    by_name, names = dict(zip(fields, item, strict=True)), _names_beside(item[0])
    named = any(name in by_name for name in names)
    default = second if not named or fields[0] in names else None
    return Item(_first(by_name, names, item[0]), _first(by_name, LABEL_NAMES, default))


def _names_beside(first: Any) -> tuple[str, ...]:
    """Names that win over the first field: a picture there is not passed over for the text beside it."""
    is_picture = isinstance(first, Image.Image) or getattr(first, "ndim", 0) > 1
    return PICTURE_NAMES if is_picture else VALUE_NAMES


def _first(fields: Mapping[Any, Any], names: tuple[str, ...], default: Any) -> Any:
    return next((fields[name] for name in names if name in fields), default)


def picture(value: Any) -> Image.Image | None:
    """What a person should see of a value, or None where it is no picture.

    Args:
        value: A PIL image (returned as it is), or an ndarray or tensor (H, W), (H, W, C) or (C, H, W), C in 1, 3, 4.
            A signal (see signals.py) is no picture.
            Integers in [0, 255] and floats in [0, 1] are shown as they are, other ranges stretched from black to white.
    """
    if isinstance(value, Image.Image):
        return value
    array = as_array(value)
    if array is None or array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "buif":
        return None
    if is_signal(array.shape):
        return None
    if array.ndim == 3:
        channels_last = _channels_last(array, tensor=isinstance(value, torch.Tensor))
        if channels_last is None:
            return None
        array = channels_last[..., 0] if channels_last.shape[2] == 1 else channels_last
    return Image.fromarray(_eight_bit(array))


def as_array(value: Any) -> NDArray[Any] | None:
    """An ndarray as it is, a tensor as an ndarray of its shape (bfloat16 as float32), None for anything else."""
    if isinstance(value, np.ndarray):
        return value
    if not isinstance(value, torch.Tensor):
        return None
    plain = value.detach().cpu().as_subclass(torch.Tensor)
    return (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()


def _channels_last(array: NDArray[Any], tensor: bool) -> NDArray[Any] | None:
    first, last = array.shape[0] in CHANNELS, array.shape[2] in CHANNELS
    if first and (tensor or not last):
        return np.moveaxis(array, 0, 2)
    return array if last else None


def _eight_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Values as uint8: as they are where they fit, otherwise stretched so that the least is 0 and the greatest 255."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    finite = array[np.isfinite(array)].astype(np.float64)
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    limit = 1.0 if array.dtype.kind in "fb" else 255.0
    if low < 0 or high > limit:
        limit = high - low
    else:
        low = 0.0
    filled = np.nan_to_num(array.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.rint((filled - low) * (255.0 / (limit or 1.0))).astype(np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB: transparency laid on white; 16-bit, 32-bit and float modes scaled to 8 bits, unclipped."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # the only mode that convert() does not know

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None  # None only for inPlace=True
    return converted


def digest(value: Any) -> str:
    """A fingerprint of the content, 32 hex digits, the same in every process and for every copy.

    Args:
        value: A PIL image, array, tensor, string, bytes, number, None, path, or containers and dataclasses of these.

    Raises:
        DataError: A type whose content is not known here.
    """
    return blake2b(b"".join(_parts(value)), digest_size=16).hexdigest()


def _parts(value: Any) -> list[bytes]:
    """Header and content. The header gives kind and size, so no two different values share their bytes."""
    if isinstance(value, Image.Image):
        extras = (value.getpalette(), value.info.get("transparency")) if value.mode in ("P", "PA") else ()
        return [_header("image", value.mode, value.size, extras), value.tobytes()]
    if isinstance(value, torch.Tensor):
        flat = value.detach().cpu().as_subclass(torch.Tensor).contiguous().reshape(-1).view(torch.uint8)
        return [_header("tensor", str(value.dtype), tuple(value.shape)), flat.numpy().tobytes()]
    if isinstance(value, (np.ndarray, np.generic)):
        content = digest(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return [_header("array", str(value.dtype), value.shape), content]
    if isinstance(value, (str, os.PathLike)):
        value = os.fspath(value).encode() if isinstance(value, os.PathLike) else value.encode("utf-8", "surrogatepass")
        return [_header("text", len(value)), value]
    if isinstance(value, (bytes, bytearray)):
        return [_header("bytes", len(value)), bytes(value)]
    if value is None or isinstance(value, (bool, int, float, complex)):
        return [_header(type(value).__name__, value)]
    return _container_parts(value)


def _container_parts(value: Any) -> list[bytes]:
    if isinstance(value, (list, tuple)):
        digests = [digest(entry) for entry in value]
    elif isinstance(value, Mapping):
        digests = sorted(digest(key) + digest(entry) for key, entry in value.items())
    elif isinstance(value, (set, frozenset)):
        digests = sorted(digest(entry) for entry in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        digests = [f.name + digest(getattr(value, f.name)) for f in dataclasses.fields(value)]
    else:
        raise DataError(
            f"only images, arrays, tensors, text, numbers and containers of these can be fingerprinted, got a "
            f"{type(value).__qualname__}: return one of these from the data set"
        )
    kind = "sequence" if isinstance(value, (list, tuple)) else type(value).__name__
    return [_header(kind, len(digests)), "\n".join(digests).encode()]


def _header(*facts: Any) -> bytes:
    return repr(facts).encode() + b"\0"
