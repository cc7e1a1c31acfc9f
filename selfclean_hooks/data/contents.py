"""Digests of what data sets hold: arrays, lists, tables, names and sizes of files."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from selfclean_hooks.data.dataset_tree import entries
from selfclean_hooks.data.digests import digest, none_on_error
from selfclean_hooks.data.images import as_array

WHOLE = 1 << 30  # bytes of an array or column that are hashed in full; of larger ones that many, in evenly spaced rows
CHUNK = 1 << 24
FILES = 4_096  # sizes of files asked for in each list; of longer ones evenly spaced
NAMES = 16  # keys of a dict of arrays; one with more is a cache
ARRAYS = (np.ndarray, torch.Tensor)
NUMBERS = (bool, int, float, np.number, np.bool_)
SINGLE = (str, os.PathLike, *NUMBERS)


def digest_of(value: Any, folders: Sequence[str]) -> str | None:
    """The digest of an array, list, table or the like; None for what is none of these."""
    if isinstance(value, torch.nn.Parameter):  # trained
        return None
    if isinstance(value, ARRAYS):
        return _array(value, folders)
    if is_table(value):
        is_frame = hasattr(value, "columns")
        columns = {str(name): value[name].tolist() for name in value.columns} if is_frame else {}
        return _columnwise(columns, folders) if is_frame else _list(list(value), folders)
    if isinstance(value, dict):
        return _mapping(value, folders)
    if isinstance(value, (list, tuple)):
        return _list(value, folders)
    return digest(value) if isinstance(value, (bytes, Image.Image)) else None


def is_table(value: Any) -> bool:
    """Whether this is a DataFrame, Series or Index of pandas, which is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series, pandas.Index))


def _mapping(value: Mapping[Any, Any], folders: Sequence[str]) -> str | None:
    """Numbers and texts by their keys; arrays and images under few names, as {"images": ...}, but not in a cache."""
    keys = sorted(value, key=str)
    single = [key for key in keys if isinstance(value[key], SINGLE)]
    named = len(keys) <= NAMES and all(isinstance(key, str) and not os.path.splitext(key)[1] for key in keys)
    deeper = [key for key in keys if not isinstance(value[key], SINGLE) and (named or not is_heavy(value[key]))]
    found = drop_none({str(key): digest_of(value[key], folders) for key in deeper})
    parts = [_list(single, folders), _list([value[key] for key in single], folders)] if single else []
    return digest([parts, found]) if parts or found else None


def drop_none(tokens: Mapping[str, str | None]) -> dict[str, str]:
    """Those that there are."""
    return {name: token for name, token in tokens.items() if token is not None}


def _list(values: Sequence[Any], folders: Sequence[str]) -> str | None:
    """Numbers, texts, arrays, or records of these, which are taken column by column."""
    if not values:
        return digest([])
    if all(isinstance(value, NUMBERS) for value in values):
        array = np.asarray(values)
        whole = array.astype(np.int64) if array.dtype.kind in "iu" and array.dtype != np.uint64 else array
        return digest(list(values)) if array.dtype.hasobject else _array(whole, folders)
    if all(isinstance(value, (str, os.PathLike)) for value in values):
        return _texts([os.fsdecode(value) for value in values], folders)
    if (columns := _columns(values)) is not None:
        return _columnwise(columns, folders)
    if any(value is None for value in values) and any(map(is_heavy, values)):  # a cache with gaps
        return None
    tokens = [_entry(values[int(i)], folders) for i in evenly(len(values), _fitting(values))]
    return digest([len(values), tokens]) if any(token is not None for token in tokens) else None


def _columns(values: Sequence[Any]) -> dict[str, list[Any]] | None:
    first = values[0]
    if dataclasses.is_dataclass(first) and not isinstance(first, type) and len({type(value) for value in values}) == 1:
        return {f.name: [getattr(value, f.name) for value in values] for f in dataclasses.fields(first)}
    if all(isinstance(value, Mapping) for value in values):
        names = sorted({key for value in values for key in value}, key=str)
        return {str(name): [value.get(name) for value in values] for name in names}
    if all(isinstance(value, (list, tuple)) and len(value) == len(first) for value in values) and first:
        return {str(i): list(column) for i, column in enumerate(zip(*values, strict=True))}
    return None


def _columnwise(columns: Mapping[str, Sequence[Any]], folders: Sequence[str]) -> str:
    return digest(drop_none({name: _list(column, folders) for name, column in columns.items()}))


def _entry(value: Any, folders: Sequence[str]) -> str | None:
    """One entry of a list; a lone number or text counts, unlike as an attribute."""
    return (
        digest_of(value, folders) if isinstance(value, ARRAYS) and value.ndim else none_on_error(lambda: digest(value))
    )


def _fitting(values: Sequence[Any]) -> int:
    """How many entries may be hashed; a few arrays, as in a TensorDataset, are each sampled on their own."""
    size = int(getattr(values[0], "nbytes", 1))
    return len(values) if len(values) <= 64 else max(64, WHOLE // max(1, size))


def _texts(texts: Sequence[str], folders: Sequence[str]) -> str:
    """Texts as they are; names of files relative to the folder all are in, and with their sizes."""
    some = [texts[i] for i in (0, len(texts) // 2, -1)]
    bases = ("", *folders)
    base = next((b for b in bases if any(os.path.isfile(os.path.join(b, text)) for text in some)), None)
    if base is None and not os.path.isabs(texts[0]):
        return digest(json.dumps(list(texts)))
    names = [text.replace(os.sep, "/") for text in texts]
    root = os.path.dirname(os.path.commonprefix([min(names), max(names)]))  # noqa: RUF071, what they begin with
    sizes = [_size(os.path.join(base or "", texts[int(i)])) for i in evenly(len(texts), FILES)]
    return digest(json.dumps([[name[len(root) :].lstrip("/") for name in names], sizes]))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return -1


def _array(value: Any, folders: Sequence[str] = ()) -> str | None:
    if value.ndim == 0:  # a counter
        return None
    if isinstance(value, np.ndarray) and (value.dtype.kind in "US" or value.dtype.hasobject):
        return _list(value.ravel().tolist(), folders)
    running = blake2b(f"{value.dtype} {tuple(value.shape)}".encode(), digest_size=16)
    for rows in _chunks(len(value), int(value.nbytes)):
        part = as_array(value[rows])
        assert part is not None
        running.update(part.tobytes())
    return running.hexdigest()


def _chunks(n: int, nbytes: int) -> Iterator[Any]:
    """All rows as slices where they are `WHOLE` bytes at most, else positions of evenly spaced ones."""
    size = max(1, nbytes // max(1, n))
    step, most = max(1, CHUNK // size), max(1, WHOLE // size)
    for start in range(0, min(n, most), step):
        yield slice(start, start + step) if nbytes <= WHOLE else evenly(n, most)[start : start + step]


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """At most so many positions of n, evenly spaced."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def digest_of_table(dataset: Any) -> str:
    """The stored table. Their own fingerprint will not do: it follows the format and the times of files."""
    table = dataset.data.table.flatten()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    order = dataset._indices
    selected = None if order is None else _array(order.column(0).to_numpy())
    return digest([len(dataset), selected, {name: _column(column) for name, column in columns.items()}])


def _column(column: Any) -> str:
    import pyarrow as pa  # type: ignore[import-untyped]  # comes with Hugging Face data sets

    if pa.types.is_string(column.type) and column.nbytes <= WHOLE and len(column):
        return _texts([text or "" for text in column.to_pylist()], ())
    running = blake2b(str(column.type).encode(), digest_size=16)
    for rows in _chunks(len(column), column.nbytes):
        part = column.slice(rows.start, rows.stop - rows.start) if isinstance(rows, slice) else column.take(rows)
        running.update(pa.record_batch([part.combine_chunks()], names=["column"]).serialize())
    return running.hexdigest()


def is_heavy(value: Any) -> bool:
    """Whether it is or holds an array or an image."""
    return isinstance(value, (*ARRAYS, Image.Image)) or any(map(is_heavy, entries(value)[:8]))
