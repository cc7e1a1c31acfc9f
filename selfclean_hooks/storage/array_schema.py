"""What scores.npz holds: kind, shape and range of every array, checked before anything is unpacked or relied on."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import MAX_CLASS_NEIGHBORS, MAX_OFF_TOPIC_NEIGHBORS
from selfclean_hooks.core.issues import ISSUES, SCORED

Arrays = dict[str, NDArray[Any]]
Sizes = dict[str, int]
PROJECTIONS = ("", "PCA", "UMAP", "t-SNE")  # UMAP: of older audits
MOST_BYTES, MOST_BYTES_PER_SAMPLE = 2**28, 2**14  # unpacked: at most their sum


class Field(NamedTuple):
    """An array: its dtype, its lengths (letters are the same number wherever they stand), and bounds of its values."""

    dtype: str
    shape: tuple[int | str, ...]
    low: float = -math.inf
    high: float | str = math.inf  # a letter: below that number
    is_required: bool = False
    is_finite: bool = True  # else NaN and infinity may be there too


def _packed(name: str, length: int | str) -> dict[str, Field]:
    """Byte strings end to end, and where each starts; the last entry is the end."""
    ends = f"{length}+1" if isinstance(length, str) else length + 1
    return {f"{name}_bytes": Field("u1", (f"bytes of {name}",)), f"{name}_offsets": Field("i8", (ends,), 0)}


ROUNDING = 1e-5
SCORE = Field("f8", ("N",), -ROUNDING, 1 + ROUNDING, is_finite=False)
CODE = Field("i8", ("N",), -(2**53), 2**53)
PAIR, LEAK = Field("f4", ("P",), is_required=True), Field("i8", ("L",), 0)
PREDICTED_TARGET = "foretold"  # the name that older versions read
FIELDS = {
    "near_duplicate": SCORE._replace(is_required=True),
    "off_topic": SCORE._replace(is_required=True),
    "label": SCORE._replace(is_required=True),
    "nearest_neighbor": Field("i8", ("N",), -1, "N", is_required=True),
    "given_label": CODE._replace(is_required=True),
    "predicted_label": CODE._replace(is_required=True),
    "pair_index": Field("i8", ("P", 2), 0, "N", is_required=True),
    "pair_distance": PAIR,
    "pair_score": PAIR,
    "tree_index": Field("i8", ("M", 2), 0, "N", is_required=True),
    "tree_distance": Field("f4", ("M",), is_required=True),
    "tree_scaled": Field("f4", ("M",)),
    "pairs_complete_below": Field("f8", (1,), is_required=True, is_finite=False),
    "automatic": Field("f8", ("issues",), is_required=True, is_finite=False),
    **{f"extra_{issue}": SCORE for issue in SCORED},
    **{f"aspects_{i.name}": SCORE._replace(shape=("N", len(i.aspects))) for i in ISSUES if i.aspects},
    **{f"calibration_{issue}": Field("f8", (2, f"knots of {issue}"), -ROUNDING, 1 + ROUNDING) for issue in SCORED},
    **{f"bounds_{issue}": Field("f8", (2, f"knots of {issue}"), -ROUNDING, 1 + ROUNDING) for issue in SCORED},
    "pixels": Field("i8", ("N",), -1),
    "reach": Field("f4", ("N",), is_finite=False),
    "pixel_scale": Field("f4", ("N",), is_finite=False),
    "mirrored": Field("b1", ("P",)),
    PREDICTED_TARGET: Field("f8", ("N",), is_finite=False),
    "prediction_confidence": SCORE,
    "error_index": Field("i8", ("E",), 0, "N", is_required=True),
    **_packed("error", "E"),
    "thumbnail_index": Field("i8", ("T",), 0, "N", is_required=True),
    **_packed("thumbnail", "T"),
    **_packed("class_name", "C"),
    **_packed("name", "N"),
    **_packed("digest", "N"),
    "leak_other": LEAK._replace(low=1, high="S"),
    "leak_index": LEAK._replace(high="N"),
    "leak_other_index": LEAK,
    "leak_distance": Field("f4", ("L",)),
    "leak_scaled": Field("f4", ("L",)),
    "leak_sizes": Field("i8", ("S",), 0, 2**53),
    "leak_automatic": Field("f8", (1,)),
    "leak_thumbnail_index": Field("i8", ("U", 2), 0),
    **_packed("leak_thumbnail", "U"),
    **_packed("leak_split", "S"),
    **_packed("leak_name", "L"),
    **_packed("leak_digest", "L"),
    "evidence_off_topic_index": Field("i8", ("F",), 0, "N"),
    "evidence_off_topic": Field("i8", ("F", MAX_OFF_TOPIC_NEIGHBORS), -1, "N"),
    "evidence_labels_index": Field("i8", ("G",), 0, "N"),
    "evidence_labels": Field("i8", ("G", 2, MAX_CLASS_NEIGHBORS), -1, "N"),
    "evidence_projection": Field("i8", (1,), 0, len(PROJECTIONS) - 1),
    "evidence_map": Field("f4", ("N", 2), 0, 1, is_finite=False),
}
TARGETS = {  # by dtype: regression targets, or several labels a sample
    "f": Field("f8", ("N",), is_finite=False),
    "b": Field("?", ("N", "labels")),
    "i": Field("i1", ("N", "labels"), -1, 1),  # some of them unknown
}


def read_arrays(content: bytes, n: int) -> Arrays:
    """The arrays of an audit of n samples, without those of unknown names, which later versions may add.

    Raises:
        ValueError: one does not fit, is missing, or would take more memory than arrays of n samples may.
        Exception: the content is damaged, in as many ways as there are kinds of errors in `zipfile` and `numpy`.
    """
    sizes: Sizes = {"N": n}
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
        if len(members) < len(file.infolist()):
            raise ValueError("an array is there twice")
        known = {name: info for name, info in members.items() if name in FIELDS or name == "targets"}
        _check_size(sum(info.file_size for info in known.values()), n)
        fields = {}
        for name, info in known.items():
            dtype, shape = _header(file, name, info)
            fields[name] = FIELDS.get(name) or TARGETS.get(dtype.kind, TARGETS["f"])
            _check_form(name, fields[name], dtype, shape, sizes)
        missing = [name for name, field in FIELDS.items() if field.is_required and name not in known]
        if missing:
            raise ValueError(f"it lacks {missing[0]}")
    with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
        arrays = {name: loaded[name].astype(np.dtype(field.dtype), copy=False) for name, field in fields.items()}
    for name, field in fields.items():
        _check_values(name, field, arrays[name], sizes)
    return arrays


def _check_size(size: int, n: int) -> None:
    most = MOST_BYTES + MOST_BYTES_PER_SAMPLE * n
    if size > most:
        raise ValueError(f"its arrays must take at most {most:,} bytes for {n} samples, got {size:,}")


def _header(file: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> tuple[np.dtype[Any], tuple[int, ...]]:
    with file.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(member)
        else:
            raise ValueError(f"{name} must be an array of format 1.0 or 2.0, got {version}")
        held = info.file_size - member.tell()
    if math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name} must hold {shape} numbers of {dtype}, got {held} bytes")
    return dtype, shape


def _check_form(name: str, field: Field, dtype: np.dtype[Any], shape: tuple[int, ...], sizes: Sizes) -> None:
    if dtype.kind != np.dtype(field.dtype).kind:
        raise ValueError(f"{name} must hold {np.dtype(field.dtype)}, got {dtype}")
    if len(shape) == len(field.shape):
        for wanted, came in zip(field.shape, shape, strict=True):
            letter, _, more = str(wanted).partition("+")
            if isinstance(wanted, str):
                sizes.setdefault(letter, came - int(more or 0))
    lengths = tuple(_length(wanted, sizes) for wanted in field.shape)
    if shape != lengths or min(shape) < 0:
        raise ValueError(f"{name} must be of shape {lengths} for {sizes['N']} samples, got {shape}")


def _length(wanted: int | str, sizes: Mapping[str, int]) -> int:
    letter, _, more = str(wanted).partition("+")
    return wanted if isinstance(wanted, int) else sizes.get(letter, 0) + int(more or 0)


def _check_values(name: str, field: Field, values: NDArray[Any], sizes: Sizes) -> None:
    high = field.high if not isinstance(field.high, str) else sizes[field.high] - 1
    fits = (values >= field.low) & (values <= high)
    if values.dtype.kind == "f":
        fits = fits & np.isfinite(values) if field.is_finite else fits | np.isnan(values)
    if not fits.all():
        came = values[~fits].flat[0]
        what = f"points outside of {sizes[field.high]}" if isinstance(field.high, str) else "is out of range"
        raise ValueError(f"{name} {what}: {came}, in {np.count_nonzero(~fits)} of {values.size} places")
