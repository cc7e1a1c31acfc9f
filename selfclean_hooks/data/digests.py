"""Stable sample identifiers: digests of content, and of the bytes of a sample's file.

A JPEG decodes to other pixels with another library; its bytes are the same on every machine, so what is known of a
sample (that somebody has reviewed and accepted it) can be kept in version control.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from selfclean_hooks.data.items import split
from selfclean_hooks.errors import DataError

T = TypeVar("T")


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


def item_digests(dataset: Any, index: int) -> tuple[str | None, str | None]:
    """Of the value and of the label of an item; None for what cannot be read or has no digest."""
    item = none_on_error(lambda: split(dataset[index]))
    if item is None:
        return None, None
    return none_on_error(lambda: digest(item.value)), none_on_error(lambda: digest(item.label))


def none_on_error(make: Callable[[], T]) -> T | None:
    """What `make` returns, None where it raises: a data set's own code may raise anything."""
    try:
        return make()
    except Exception:
        return None


LARGEST = 2**28  # bytes; a larger file is rather a container of samples than one


def own_files(files: Sequence[str | None]) -> list[str]:
    """The file of each sample, "" where there is none or where it is the file of several, as of a video's frames."""
    times = Counter(files)
    return [file if file and times[file] == 1 else "" for file in files]


def file_key(path: str) -> str:
    """blake2b of the bytes of a file, 32 hex digits; "" if it is not a regular file, above `LARGEST` or unreadable."""
    key = blake2b(digest_size=16)
    try:
        status = os.stat(path)  # before it is opened: opening a pipe blocks
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            return ""
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                key.update(chunk)
    except (OSError, ValueError):  # ValueError: no valid name, with a NUL inside
        return ""
    return key.hexdigest()
