"""Reads samples for the encoder, in this process or in workers: errors are caught, labels split from contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from selfclean_hooks.data.digests import digest, file_key
from selfclean_hooks.data.image_files import STORED
from selfclean_hooks.data.images import (
    CHANNELS,
    as_array,
    encoded_image,
    image_statistics,
    miniature,
    raster,
    to_image,
    to_rgb,
)
from selfclean_hooks.data.items import ItemLabel, item_label, split
from selfclean_hooks.data.signals import is_signal
from selfclean_hooks.errors import DataError

NOTHING = np.zeros(0, "S32")  # sorted digests: an array is small to send and quick to search


class ImageDataset(Dataset[Any]):
    """The images of a data set, without labels."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Image.Image | NDArray[Any]:
        """The image at a position, or the (C, H, W) array of many channels; raises what the data set raises."""
        return _image(split(self.dataset[index]).value, index)

    def are_rasters(self) -> bool:
        """Whether the first that can be read has more channels than an image."""
        for index in range(len(self)):
            try:
                return not isinstance(self[index], Image.Image)
            except Exception:  # an unreadable item is the embedding's to report
                continue
        return False


def _image(value: Any, index: int) -> Image.Image | NDArray[Any]:
    """The image that a value is, or the (C, H, W) array of many channels."""
    value = encoded_image(value)
    image = to_image(value)
    found = raster(value) if image is None else image
    if found is None:
        raise DataError(
            f"this backbone embeds images, got {type(value).__name__} at index {index}: pass a function from a "
            "batch of such items to (B, D) as backbone"
        )
    return found


@dataclass(frozen=True)
class Sample:
    """What is known of one item besides its content."""

    index: int
    label: ItemLabel | None = None
    no_label: str = ""  # why the target is no label
    digest: str = ""
    error: str = ""  # why it could not be read
    key: str = ""  # of its file or else its content
    pixels: int = -1  # of the image as the data set returns it
    known: bool = False  # the cache has its features: it comes without content
    is_finite: bool = True  # no NaN and no infinity in an array
    miniature: NDArray[np.uint8] | None = None  # (32, 32, 3) of an image
    statistics: NDArray[np.float32] | None = None  # (6,) of an image, where they are asked for


@dataclass(frozen=True)
class Batch:
    """Samples as a worker sends them, and the contents of those that are readable and not known, in order."""

    samples: list[Sample]
    contents: Tensor | list[Any]  # a tensor (B, ...) where they are tensors of one shape and dtype

    def pin_memory(self) -> Batch:
        """The batch with its tensor in memory that an accelerator can read by itself; the DataLoader asks for it."""
        return replace(self, contents=self.contents.pin_memory()) if isinstance(self.contents, Tensor) else self


class SampleReader(Dataset[tuple[Sample, Any]]):
    """Reads, catches what an item raises, and prepares it for the encoder; runs in the workers."""

    def __init__(
        self,
        dataset: Any,
        prepare: Callable[[Any], Tensor] | None,
        files: Sequence[str] = (),
        known: NDArray[np.bytes_] = NOTHING,
        prepared: Mapping[int, tuple[Sample, Any]] = MappingProxyType({}),
        whole: bool = False,
        measured: Any = None,
    ) -> None:
        """See `own_files` for `files`; `known`: sorted digests of contents not wanted; `prepared`: not to be read.

        With `whole` the contents are the items as the data set returns them, which must then be a `CachedDataset`.
        Encoded images are decoded to be prepared, and for a function where a `CachedDataset` has seen that there are.
        `measured`: the data set of the images whose statistics are asked for, which is read anew if it is another one.
        """
        self.whole = whole
        self.decodes = prepare is not None or (not whole and getattr(dataset, "holds_encoded", False))
        self.dataset, self.prepare, self.files, self.known = dataset, prepare, files, known
        self.prepared, self.measured = dict(prepared), measured
        self.current: Tensor | None = None  # (W,) in shared memory: the index that each worker reads

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Sample, Any]:
        """The sample at a position, and its content if it can be read."""
        if index in self.prepared:
            return self.prepared[index]
        if self.current is not None and (worker := get_worker_info()) is not None:
            self.current[worker.id] = index
        try:
            item = self.dataset[index]
            value, target = split(item)
            if value is None:
                raise DataError("the data set returned None")
            value = encoded_image(value) if self.decodes else value
            seen, size, small = digest(value), pixels(value), miniature(value)
            known, found = self._is_known(seen), self._statistics(value, index)
            content = None if known else self._content(value, index) if not self.whole else self.dataset.stored(index)
        except Exception as error:  # anything a user's data set raises: recorded by index, and the audit goes on
            return Sample(index, error=f"{type(error).__name__}: {error}".strip(), key=self._file_key(index)), None
        sample = Sample(
            index,
            digest=seen,
            key=self._file_key(index) or seen,
            pixels=size,
            known=known,
            miniature=small,
            statistics=found,
            is_finite=_is_finite(value),
        )
        try:
            return replace(sample, label=item_label(target)), content
        except DataError as error:
            return replace(sample, no_label=str(error)), content
        except Exception as error:  # a label may be of any class: what its own methods raise is no label
            return replace(sample, no_label=f"a {type(target).__name__} that raises {type(error).__name__}"), content

    def _statistics(self, value: Any, index: int) -> NDArray[np.float32] | None:
        if self.measured is None:
            return None
        if self.measured is not self.dataset:  # that of the encoder has transforms
            value = split(self.measured[index]).value
        return image_statistics(value)

    def _file_key(self, index: int) -> str:
        """Right after the item: its file need not be fetched twice."""
        return file_key(self.files[index]) if self.files and self.files[index] else ""

    def content(self, index: int) -> Any:
        """Of a sample that was known and is not any more."""
        return self.dataset.stored(index) if self.whole else self._content(split(self.dataset[index]).value, index)

    def _is_known(self, seen: str) -> bool:
        at = int(np.searchsorted(self.known, seen.encode()))
        return at < len(self.known) and self.known[at] == seen.encode()

    def _content(self, value: Any, index: int) -> Any:
        if self.prepare is None:
            return as_input(encoded_image(value) if self.decodes else value)
        return self.prepare(_image(value, index))


def batch_of(read: list[tuple[Sample, Any]]) -> Batch:
    """One tensor a batch and not one a sample: each tensor that a worker sends holds a file descriptor open."""
    contents = [content for sample, content in read if not sample.error and not sample.known]
    tensors = [content.detach() for content in contents if isinstance(content, Tensor)]
    alike = len(tensors) == len(contents) and len({(t.shape, t.dtype, t.layout) for t in tensors}) == 1
    return Batch([sample for sample, _ in read], torch.stack(tensors) if alike else contents)


def _is_finite(value: Any) -> bool:
    array = as_array(value)
    return array is None or array.dtype.kind != "f" or bool(np.isfinite(array).all())


def pixels(value: Any) -> int:
    """Width x height of what `to_image` shows as an image (of its file where it was shrunk), -1 of anything else."""
    if isinstance(value, Image.Image):
        width, height = value.info.get(STORED, value.size)
        return int(width * height)
    array = as_array(value)
    if array is None or array.ndim not in (2, 3) or array.size == 0 or array.dtype.kind not in "buif":
        return -1
    if array.ndim == 2:
        return -1 if is_signal(array.shape) else array.size
    channels_last = array.shape[2] in CHANNELS and not (isinstance(value, Tensor) and array.shape[0] in CHANNELS)
    channels = array.shape[2 if channels_last else 0]
    return array.size // channels if channels in CHANNELS else -1


def as_input(value: Any) -> Any:
    """An item as a user's own model is fed it once it is in the `unit_range`: images become (C, H, W).

    Bytes stay bytes: they are a quarter of what is handed on. Arrays, and lists of numbers (token ids, say), become
    tensors; everything else stays.
    """
    if isinstance(value, Image.Image):
        value = np.asarray(value if value.mode in ("L", "RGB") else to_rgb(value))
    if isinstance(value, np.ndarray) and value.ndim in (2, 3) and not is_signal(value.shape):
        value = value[..., None] if value.ndim == 2 else value
        if value.shape[-1] in (1, 3, 4) and value.shape[0] not in (1, 3, 4):
            value = np.moveaxis(value, -1, 0)
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.array(value))  # a copy: torch warns of arrays that are read-only
    if isinstance(value, list) and value and all(type(entry) in (int, float) for entry in value):
        value = torch.tensor(value)  # torch's default_collate would turn a batch of lists on its side
    return value


def unit_range(value: Any) -> Any:
    """A tensor of bytes as floats in [0, 1]; everything else stays."""
    return value.float().div_(255) if isinstance(value, Tensor) and value.dtype == torch.uint8 else value
