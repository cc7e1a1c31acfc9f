"""The forms of a data set that a part can be written in, one row each; and the part of an .npz file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import Form, Source
from selfclean_hooks.sources.subsets.folder import folder_subset
from selfclean_hooks.sources.subsets.objects import files_subset, objects_subset
from selfclean_hooks.sources.subsets.saved import saved_subset
from selfclean_hooks.sources.subsets.subset import Changes, Subset, relabelled
from selfclean_hooks.sources.subsets.table import table_subset

Planner = Callable[[Source, Changes, Path], Subset]
SUBSETS: Mapping[Form, Planner] = {  # what plans a part, given the folder that it will be in
    Form.folder: lambda source, changes, _: folder_subset(source, changes),
    Form.files: lambda source, changes, _: files_subset(source, changes),
    Form.table: table_subset,
    Form.images: table_subset,
    Form.array: lambda source, changes, _: array_subset(source, changes),
    Form.objects: lambda source, changes, _: objects_subset(source, changes),
    Form.saved: lambda source, changes, _: saved_subset(source, changes),
}


def subset_of(source: Source, changes: Changes, target: Path) -> Subset:
    """Plan the part of a source that is kept; nothing is written.

    Args:
        source: as it was opened.
        changes: what is kept, and the new labels.
        target: the folder that it will be in.

    Raises:
        SourceError: the source has no form that a part could be written in, or a new label does not fit.
    """
    form = Form.saved if source.form is Form.other and is_huggingface(source.dataset) else source.form
    if form not in SUBSETS:
        raise SourceError(
            f"{source.name} is made by code, and its samples are no files: train on "
            "torch.utils.data.Subset(dataset, audit.clean_indices)"
        )
    return SUBSETS[form](source, changes, target)


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
