"""Images held in one array, and .npz files of images or embeddings."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from selfclean_hooks.core.labels import as_labels
from selfclean_hooks.data.image_files import LabeledFiles
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.utils.arrays import holds_unicode, open_npy


class ArrayDataset(LabeledFiles):
    """Images held in one array. Items are (PIL image, label) or (PIL image,).

    Args:
        images: (N, H, W) or (N, H, W, C) with C = 1, 3 or 4; uint8, or floats in [0, 1] or [0, 255]. Reading an
            item with non-finite values raises ValueError.
        labels: (N,) whole numbers or class names, or None.

    Attributes:
        images: The array as given.
        targets: N labels. Absent without labels.
        classes: Sorted class names, for labels that are names. Absent otherwise.

    Raises:
        DataError: Another shape, dtype or range of values.
    """

    def __init__(self, images: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Check the arrays; nothing is copied."""
        self.images = np.asarray(images)
        self._scale = _scale_to_bytes(self.images)
        codes, names = as_labels(labels, len(self.images))
        super().__init__(None if codes is None else codes.tolist(), names)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Read one image."""
        pixels = self.images[index]
        if pixels.dtype != np.uint8:
            if not np.isfinite(pixels).all():
                raise ValueError(f"image {index} holds values that are not finite")
            pixels = np.round(pixels * self._scale).astype(np.uint8)
        return self.item(Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels), index)


def _scale_to_bytes(images: NDArray[Any]) -> int:
    if images.ndim not in (3, 4) or not len(images) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        channels_first = images.ndim == 4 and images.shape[1] in (1, 3, 4)
        hint = "; move the channels last: images.transpose(0, 2, 3, 1)" if channels_first else ""
        raise DataError(f"images must be (N, H, W) or (N, H, W, C) with C = 1, 3 or 4, got {images.shape}{hint}")
    if images.dtype == np.uint8:
        return 1
    if images.dtype.kind != "f":
        wanted = "uint8, or floats in [0, 1] or [0, 255]"
        raise DataError(f"images must be {wanted}, got {images.dtype}: scale to 0..255 and convert to uint8")
    finite = np.isfinite(images)
    low, high = (float(f(images, where=finite, initial=0.0)) for f in (np.min, np.max))
    if low < 0 or high > 255:
        raise DataError(f"float images must lie in [0, 1] or [0, 255], got [{low:g}, {high:g}]: undo the normalisation")
    return 255 if high <= 1 else 1


def read_npz(path: str) -> dict[str, NDArray[Any]]:
    """Read those of the arrays ``images``, ``embeddings`` and ``labels`` that a file holds.

    Raises:
        SourceError: The file is damaged, holds Python objects, or neither images nor embeddings.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.files)
            arrays = {key: file[key] for key in ("images", "embeddings", "labels") if key in keys}
    except Exception as error:  # a damaged archive raises OSError, ValueError, BadZipFile, zlib.error, EOFError, ...
        cure = "save plain arrays of numbers or text with numpy.savez, no Python objects"
        # of any other file numpy says that it could be loaded unsafely
        known = isinstance(error, OSError) or zipfile.is_zipfile(path)
        reason = error if known else "it is no archive of arrays, or cut short"
        raise SourceError(f"{path}: cannot be read as .npz: {reason}; {cure}") from error
    if damaged := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise SourceError(f"{path}: {damaged[0]} is no array: save it again with numpy.savez")
    if damaged := [key for key, array in arrays.items() if not holds_unicode(array)]:
        raise SourceError(
            f"{path}: {damaged[0]} holds characters that do not exist: the file is damaged, save it again"
        )
    if not arrays.keys() & {"images", "embeddings"}:
        wanted = "an array `images` or `embeddings`, and optionally `labels`"
        came = ", ".join(keys) or "none"
        raise SourceError(f"{path}: wanted {wanted}; got {came}: save it under one of these names")
    return arrays


def map_npy(path: str) -> dict[str, NDArray[Any]]:
    """The embeddings of a .npy file, which are not read into memory, and the labels beside it, of NAME.labels.npy.

    Raises:
        SourceError: A file is damaged or holds Python objects.
    """
    labels = f"{path.removesuffix('.npy')}.labels.npy"
    found = {"embeddings": path, "labels": labels} if os.path.isfile(labels) else {"embeddings": path}
    arrays = {}
    for key, file in found.items():
        try:
            arrays[key] = open_npy(file)
        except DataError as error:
            raise SourceError(str(error)) from None
    return arrays
