"""Images of any number of channels, and volumes: satellite bands, stacks of a microscope, scans."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from selfclean_hooks.data.image_files import STORED, decode_image, image_suffixes, read_image, suffix
from selfclean_hooks.data.signals import is_signal
from selfclean_hooks.errors import DataError

CHANNELS = (1, 3, 4)


def to_image(value: Any) -> Image.Image | None:
    """The image that shows a value to a person, or None where it is not an image.

    Args:
        value: A PIL image (returned as it is), what `encoded_image` takes, or an ndarray or tensor (H, W), (H, W, C) or
            (C, H, W), C in 1, 3, 4. A signal (see signals.py) is not an image.
            Integers in [0, 255] and floats in [0, 1] are shown as they are, other ranges stretched from black to white.
    """
    with suppress(OSError):
        value = encoded_image(value)
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


def encoded_image(value: Any) -> Any:
    """The image that an encoder of images is to see where it is fed bytes, a path or several views of a sample.

    Args:
        value: Bytes of an image file, its path as text, or several arrays or tensors (H, W, C) or (C, H, W), of which
            the first is taken; anything else is returned as it is.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(value, (bytes, bytearray)):
        return decode_image(bytes(value))
    if isinstance(value, str) and suffix(value) in image_suffixes():
        return read_image(value)
    if isinstance(value, (list, tuple)) and len(value) > 1 and all(getattr(each, "ndim", 0) == 3 for each in value):
        return value[0]
    return value


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
    filled: NDArray[np.float64] = array.astype(np.float64)
    low, high = float(filled.min()), float(filled.max())
    all_finite = np.isfinite(low) and np.isfinite(high)  # the least of what holds NaN is NaN
    if not all_finite:
        finite = filled[np.isfinite(filled)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    limit = 1.0 if array.dtype.kind in "fb" else 255.0
    if low < 0 or high > limit:
        limit = high - low
    else:
        low = 0.0
    if not all_finite:
        filled = np.nan_to_num(filled, nan=low, posinf=high, neginf=low)
    return np.rint((filled - low) * (255.0 / (limit or 1.0))).astype(np.uint8)


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB: transparency composited onto white, 16-bit, 32-bit and float modes scaled to 8 bits."""
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


def shrink(image: Image.Image, size: int, channels: int = 3) -> torch.Tensor:
    """One image, resized for an encoder.

    Args:
        image: a PIL image of any mode and size. It is not changed.
        size: side of the result, in pixels; the image is squeezed to a square.
        channels: 1 for grey, 3 for RGB.

    Returns:
        (channels, size, size) uint8.
    """
    if not isinstance(image, Image.Image):
        raise DataError(
            "this backbone embeds images of up to 4 channels, got an array, or the slices of a volume, "
            f"{tuple(image.shape)}: use "
            'backbone="self-supervised", or pass a module or function of your own'
        )
    image = to_rgb(image)
    if channels == 1:
        image = image.convert("L")
    image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image).reshape(size, size, channels)).permute(2, 0, 1).contiguous()


MINIATURE = 32  # side of what near duplicates are compared by, besides their features
FEW_PIXELS = 4  # for one of a miniature: means of one pixel here and two there make a shifted copy another image


def miniature(value: Any) -> NDArray[np.uint8] | None:
    """(32, 32, 3) means of the pixels of the image that a value shows, squeezed to a square; None if it shows none."""
    image = to_image(value)
    if image is None:
        return None
    side = (MINIATURE, MINIATURE)
    if min(image.size) < FEW_PIXELS * MINIATURE:
        return np.array(to_rgb(image).resize(side, Image.Resampling.BILINEAR))
    image = image if image.mode != "RGB" else image.resize(side, Image.Resampling.BOX, reducing_gap=2.0)
    return np.array(to_rgb(image).resize(side, Image.Resampling.BOX))


STATISTICS = 6
SIDE = 256  # pixels at which images are measured, about what a network sees of them
GREY = np.array([0.299, 0.587, 0.114], np.float32)


def image_statistics(value: Any) -> NDArray[np.float32] | None:
    """(STATISTICS,) what can be said of an image by its pixels alone; None where the value shows none.

    The luminance of its lightest and 1 - that of its darkest hundredth, in [0, 1], NaN where values have no fixed
    range (16 bits, floats beyond [0, 1]); sharpness in [0, 1], NaN without edges; contrast, the largest standard
    deviation of a channel, in [0, 0.5]; the logarithms of its side (the root of width x height) and of width / height.
    """
    image = to_image(value)
    if image is None:
        return None
    width, height = image.info.get(STORED, image.size)
    small = image if image.mode in ("L", "RGB") else to_rgb(image)
    small = small.reduce(-(-max(small.size) // SIDE))
    pixels = np.asarray(small, np.float32).reshape(small.height, small.width, -1) / 255
    grey = pixels @ GREY if pixels.shape[2] == 3 else pixels[..., 0]
    dark, light = (np.nan, np.nan) if _is_stretched(value) else np.percentile(grey, (1, 99))
    size = (np.log(width * height) / 2, np.log(width / height))
    return np.array([light, 1 - dark, sharpness(grey), pixels.std((0, 1)).max(), *size], np.float32)


def sharpness(grey: NDArray[np.floating]) -> float:
    """How much of its edges an image loses when it is blurred (Crete et al. 2007, by a mean of 3 pixels).

    In [0, 1]; an image that is blurred already loses little. NaN for one without edges.
    """
    lost = edges = 0.0
    for rows in (grey, grey.T):
        before = np.abs(np.diff(rows, axis=0))[1:-1]
        after = np.abs(np.diff((rows[:-2] + rows[1:-1] + rows[2:]) / 3, axis=0))
        lost, edges = lost + float(np.maximum(before - after, 0).sum()), edges + float(before.sum())
    return lost / edges if edges > 0 else np.nan


def _is_stretched(value: Any) -> bool:
    """Whether the image that shows a value has the value's least and greatest as black and white."""
    if isinstance(value, Image.Image):
        return value.mode in ("I", "F") or value.mode.startswith("I;16")
    array = as_array(value)
    if array is None or array.dtype == np.uint8:
        return False
    finite, limit = array[np.isfinite(array)], 1 if array.dtype.kind in "fb" else 255
    return bool(finite.size) and bool(finite.min() < 0 or finite.max() > limit)


MOST = 512  # channels
SLICES = 8  # of a volume, evenly spaced


def volume_slices(value: Any) -> NDArray[Any] | None:
    """(8, H, W): evenly spaced slices of a volume, an array or tensor (1, D, H, W); None for anything else.

    Volumes of different depths have as many slices, each from the same part of its volume; one of less than 8 has some
    of them repeatedly.
    """
    array = as_array(value)
    if array is None or array.ndim != 4 or array.dtype.kind not in "buif":
        return None
    is_volume = len(array) == 1 and array.shape[1] > 0 and min(array.shape[2:]) > 1
    return array[0][np.linspace(0, array.shape[1] - 1, SLICES).round().astype(int)] if is_volume else None


def shown_image(value: Any) -> Image.Image | None:
    """`to_image`, and of a volume its slices in two rows."""
    slices = volume_slices(value)
    return to_image(value if slices is None else np.vstack([np.hstack(list(row)) for row in np.split(slices, 2)]))


def raster(value: Any) -> NDArray[Any] | None:
    """(C, H, W) of an array with three axes or of the slices of a volume, or None where it is neither.

    Of a tensor the channels are the first axis, of an ndarray the shorter one of the first and the last.
    """
    array = as_array(value)
    if (slices := volume_slices(array)) is not None:
        return slices
    if array is None or array.ndim != 3 or array.dtype.kind not in "buif" or 0 in array.shape:
        return None
    first = isinstance(value, torch.Tensor) or array.shape[0] <= array.shape[2]
    found = array if first else np.moveaxis(array, 2, 0)
    return found if found.shape[0] <= MOST and min(found.shape[1:]) > 1 else None
