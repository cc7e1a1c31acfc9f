"""Array types, checks of vectors and fingerprints of them."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.text import listing

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]


def fingerprint(*parts: NDArray[Any] | str | None) -> str:
    """blake2b of arrays (dtype, shape, content) and texts, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(_kind(part.dtype, part.shape))
            for start in range(0, len(part), 4096):
                digest.update(np.ascontiguousarray(part[start : start + 4096]).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


@cache
def _kind(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Type and shape of an array: to write a type takes as long as to hash a thousand numbers."""
    return f"{dtype} {shape}".encode()


def as_vectors(vectors: Any, blank: bool = False) -> NDArray[np.floating]:
    """Check (N, D) vectors: real, finite, at least two. Copies nothing that is a float array already, or a .npy file.

    Unless the samples may all be `blank`, with features of zero, not all vectors may be zero.
    """
    is_file = isinstance(vectors, (str, Path))
    array = open_npy(vectors) if is_file else any_array(vectors, "embeddings must be (N, D)")
    if array.ndim != 2:
        raise DataError(f"embeddings must be (N, D), got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise DataError(f"embeddings must be real numbers, got dtype {array.dtype}")
    if len(array) < 2 or array.shape[1] == 0:
        raise DataError(
            f"an audit compares samples: it needs at least 2 embeddings of at least 1 dimension, got {array.shape}"
        )
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    bad = not_finite(array)
    if len(bad):
        raise DataError(
            f"embeddings must be finite, got NaN or infinity in {len(bad)} of {len(array)} rows, index {listing(bad)}: "
            "leave these samples out or fix the encoder"
        )
    if not blank and not array.any():
        raise DataError(
            f"all {len(array)} embeddings are zero: they have no direction, so nothing can be compared. Choose another "
            "backbone"
        )
    return array


def note_identical(array: NDArray[np.floating]) -> tuple[str, ...]:
    """A note where all rows of (N, D) vectors are identical."""
    if not all(bool((array[start : start + 4096] == array[0]).all()) for start in range(0, len(array), 4096)):
        return ()
    return (
        f"all {len(array)} embeddings are identical: the samples are copies of one, or the backbone sees no difference",
    )


def any_array(values: Any, wanted: str) -> NDArray[Any]:
    """Anything like an array as one; tensors of a type that numpy lacks as float32, what is masked as NaN.

    Objects that are rows of one length, as a column of a table holds them, are stacked.

    Raises:
        DataError: it is sparse, nested or without data, or its rows differ in length.
    """
    if hasattr(values, "detach"):
        values = _dense(values, wanted)
    elif not isinstance(values, np.ndarray) and hasattr(values, "toarray") and hasattr(values, "nnz"):
        raise DataError(f"{wanted}, got a sparse {type(values).__name__}: pass .toarray()")
    if np.ma.is_masked(values):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
        is_rows = (
            array.dtype == object and array.ndim == 1 and all(isinstance(row, (list, np.ndarray)) for row in array)
        )
        return np.stack([np.asarray(row) for row in array]) if is_rows and len(array) else array
    except ValueError:  # rows of different lengths
        raise DataError(f"{wanted}, got {type(values).__name__} with items of different shapes") from None


def _dense(tensor: Any, wanted: str) -> Any:
    """A tensor that numpy can read, in the memory of the processor."""
    if str(tensor.layout) != "torch.strided" or tensor.is_nested:
        kind = "nested" if tensor.is_nested else "sparse"
        raise DataError(f"{wanted}, got a {kind} tensor: pass one array of numbers, as .to_dense() gives")
    if tensor.is_meta:
        raise DataError(f"{wanted}, got a tensor on the device meta, which holds no data")
    tensor = tensor.detach().cpu()
    in_numpy = not tensor.is_floating_point() or str(tensor.dtype)[6:] in ("float16", "float32", "float64")
    return tensor if in_numpy else tensor.float()


def open_npy(path: str | Path) -> NDArray[Any]:
    """The array of a .npy file, of which only what is needed is read into memory.

    Raises:
        DataError: there is no such file, it is damaged, or it holds Python objects.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        cure = "save one array of numbers with numpy.save"
        raise DataError(f"{path}: cannot be read as .npy: {error}; {cure}") from None


def not_finite(array: NDArray[np.floating], chunk: int = 4096) -> NDArray[np.int64]:
    """Rows of (N, D) with NaN or infinity in them, found without an (N, D) of bools."""
    parts = [np.isfinite(array[start : start + chunk]).all(1) for start in range(0, len(array), chunk)]
    return (~np.concatenate(parts)).nonzero()[0]


def holds_unicode(array: NDArray[Any]) -> bool:
    """Whether all characters of an array of text are those of Unicode: numpy reads others, Python fails on them."""
    if array.dtype.kind != "U" or not array.size or not array.itemsize:
        return True
    own_order = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    return bool(own_order.reshape(-1).view(np.uint32).max() <= sys.maxunicode)


def average_ranks(values: NDArray[np.floating]) -> FloatArray:
    """(N,) ranks from 1 to N of (N,) numbers, none NaN; equal ones share their mean. scipy.stats is slow to import."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2)[group])


def is_fraction(value: object) -> bool:
    """Whether `value` is a number in [0, 1]."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(0 <= value <= 1)  # type: ignore[operator]


def digits_in_common(values: NDArray[np.floating]) -> int:
    """First digits that say nothing about numbers (N,), as those of years or times: they differ in later ones."""
    known = values[~np.isnan(values)].astype(np.float64)
    spread = float((known / (np.abs(known).max(initial=0) or 1)).std()) if len(known) else 1.0
    return int(-np.log10(spread)) if 1e-10 < spread < 1 else 0
