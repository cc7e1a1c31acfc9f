"""Part of an .npz file: the rows of all arrays that have one for each sample."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import Source
from selfclean_hooks.sources.subsets.labels import relabelled
from selfclean_hooks.sources.subsets.subset import Changes, Subset


def array_subset(source: Source, changes: Changes) -> Subset:
    """The kept rows of `images`, `embeddings`, `labels` and every other array of that length; the rest as it is.

    Raises:
        SourceError: a new label does not fit, or an array holds Python objects.
    """
    path = source.paths[0]
    arrays, is_compressed = _all_arrays(path)
    n = len(arrays["embeddings" if "embeddings" in arrays else "images"])
    if changes.labels and "labels" in arrays:
        arrays["labels"] = relabelled(arrays["labels"], changes.labels, source.class_names, path)
    rows = {name: array[changes.kept] if array.shape[:1] == (n,) else array for name, array in arrays.items()}

    def write(target: Path) -> None:
        with target.open("xb") as file:  # given a name, numpy would add another ending
            (np.savez_compressed if is_compressed else np.savez)(file, **rows)  # type: ignore[arg-type]

    whole = [name for name in arrays if arrays[name].shape[:1] != (n,)]
    notes = (f"copied whole, as they do not have one row for each sample: {', '.join(whole)}",) if whole else ()
    return Subset({}, {os.path.basename(path): write}, notes=notes)


def _all_arrays(path: str) -> tuple[dict[str, NDArray[Any]], bool]:
    """Every array of a file, and whether it is compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            is_compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, is_compressed
    except Exception as error:  # as in `read_npz`
        raise SourceError(f"{path}: cannot be read as .npz: {error}; save plain arrays, no Python objects") from error
