"""SOURCE on the command line: a folder, an array, a table, a saved data set or a Python object."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from glob import glob
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.labels import encode_labels
from selfclean_hooks.data.image_files import ImageFiles, LabeledFiles, suffix
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.sources.array import ArrayDataset, map_npy, read_npz
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.detection.formats import DetectionSource, detection_source, open_detection
from selfclean_hooks.sources.folder import FolderDataset, listdir
from selfclean_hooks.sources.python_object import is_attribute, load_object
from selfclean_hooks.sources.splits import parquet_files, shards
from selfclean_hooks.sources.table import TABLE_SUFFIXES, open_table
from selfclean_hooks.utils.files import special_kind

WANTED = (
    "SOURCE is a folder of images, a .npz file with `images` or `embeddings`, a .npy file of embeddings, a .csv, .tsv "
    "or .parquet table with a `path` column, a detection data set (a YOLO data.yaml, a COCO .json, a folder of Pascal "
    "VOC; with :objects at its end its boxes), a Hugging Face data set saved on disk, or module:attribute"
)


class Form(Enum):
    """What a SOURCE is, and so what a part of it is written as."""

    folder = "a folder of images"
    table = "a table of paths"
    images = "a table with images"
    array = "an .npz file"
    saved = "a saved Hugging Face data set"
    files = "the files of a data set"
    objects = "the boxes of a detection data set"
    other = "a Python object"


@dataclass(frozen=True, eq=False)
class Source:
    """An opened SOURCE.

    Attributes:
        name: SOURCE as written.
        dataset: A map-style data set; None if there are only vectors.
        vectors: (N, D) float32 embeddings, or None.
        labels: N labels that are not part of the items, or None.
        class_names: Names of the labels 0, 1, ...; None if labels have no names.
        notes: What the user should know, one sentence each.
        form: What it is.
        paths: The folder, or the files, that it was read from.
        columns: Of a table, as the user named them.
        images: The folder of images of a COCO file, as the user named it.
    """

    name: str
    dataset: Any | None = None
    vectors: NDArray[np.float32] | None = None
    labels: Sequence[Any] | None = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    form: Form = Form.other
    paths: tuple[str, ...] = ()
    columns: ColumnNames = ColumnNames()  # noqa: RUF009  (frozen)
    images: str | None = None


def open_source(
    text: str,
    without: str | os.PathLike[str] | None = None,
    columns: ColumnNames = ColumnNames(),  # noqa: B008
    images: str | None = None,
) -> Source:
    """Open what the command line names.

    Args:
        text: A folder, a file, a pattern of .parquet files (`data/train-*.parquet`), a detection data set, with
            `:train` for a split and `:objects` for its boxes, or ``module:attribute``. A text
            that exists on disk is a path.
        without: A folder that is not read where it lies in a folder of images.
        columns: Of a table, where they have none of the usual names.
        images: The folder of the images of a COCO file, where it has none of the usual names.

    Raises:
        SourceError: Nothing can be read there; says what was wanted, what came and what to do.
    """
    path = os.path.expanduser(text)
    if kind := special_kind(path):
        raise SourceError(f"{WANTED}; {text!r} is {kind}, which may never end: save what it gives in a file")
    detection = detection_source(path)
    if images is not None and (detection is None or detection.kind != "coco"):
        raise SourceError(f"--images is the folder of the images of a COCO .json, and {text!r} is none: leave it out")
    if detection is not None and not columns:
        return replace(_open_detection(text, replace(detection, images=images)), images=images)
    tables = _tables(path, without)
    if tables:
        dataset = open_table(tables, columns)
        form = Form.table if isinstance(dataset, ImageFiles) else Form.images
        return replace(_labelled_source(text, dataset, form, *tables), columns=columns)
    if columns:
        raise SourceError(
            f"--path-column and --label-column name columns of a table, and {text!r} is none: leave them out"
        )
    if os.path.isdir(path):
        return _open_folder(text, path, without)
    if os.path.isfile(path):
        return _open_file(text, path)
    if is_attribute(text):
        return _map_style_source(text, load_object(text))
    raise SourceError(f"{WANTED}; {text!r} is none of these and no such file or folder exists: check the spelling")


def _tables(path: str, without: str | os.PathLike[str] | None) -> list[str]:
    """The files of the table at a path: one, several of a pattern, or those of a folder that holds no image."""
    if os.path.isfile(path):
        return [path] if suffix(path) in TABLE_SUFFIXES else []
    if os.path.isdir(path):
        splits = parquet_files(path, without)
        if len(splits) > 1:
            names = " ".join(f"{name}={shards(files)}" for name, files in splits.items())
            raise SourceError(f"{path}: holds several tables: give one, or name them as splits: {names}")
        return next(iter(splits.values()), [])
    return sorted(glob(path)) if suffix(path) == ".parquet" else []


def _open_detection(text: str, detection: DetectionSource) -> Source:
    dataset, found = open_detection(detection)
    if not detection.is_objects:
        return Source(text, dataset, notes=dataset.notes, form=Form.files, paths=(found.root,))
    return _labelled_source(text, dataset, Form.objects, *found.files)


def _open_folder(text: str, path: str, without: str | os.PathLike[str] | None) -> Source:
    present = set(listdir(path))
    if "dataset_dict.json" in present or {"dataset_info.json", "state.json"} <= present:
        return replace(_map_style_source(text, _load_saved(path)), form=Form.saved, paths=(path,))
    return _labelled_source(text, FolderDataset(path, without), Form.folder, path)


def _open_file(text: str, path: str) -> Source:
    if suffix(path) == ".npz":
        return _open_arrays(text, path, read_npz(path), Form.array)
    if suffix(path) == ".npy":
        return _open_arrays(text, path, map_npy(path), Form.other)
    raise SourceError(f"{WANTED}; {text!r} is another kind of file: give its folder, or list it in a table")


def _labelled_source(text: str, dataset: LabeledFiles, form: Form, *paths: str) -> Source:
    labels, names = getattr(dataset, "targets", None), getattr(dataset, "classes", None)
    return Source(text, dataset, labels=labels, class_names=names, notes=dataset.notes, form=form, paths=paths)


def _open_arrays(text: str, path: str, arrays: Mapping[str, NDArray[Any]], form: Form) -> Source:
    images, vectors, labels = (arrays.get(key) for key in ("images", "embeddings", "labels"))
    if vectors is not None and (vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or not len(vectors)):
        raise SourceError(f"{path}: embeddings must be (N, D) numbers, got {vectors.shape} {vectors.dtype}")
    if images is not None and vectors is not None and len(images) != len(vectors):
        raise SourceError(
            f"{path}: {len(images)} images but {len(vectors)} embeddings: give one of both for each sample"
        )
    try:
        dataset = None if images is None else ArrayDataset(images, labels)
        read = encode_labels(labels, len(arrays["embeddings" if images is None else "images"]))
    except DataError as error:
        raise SourceError(f"{path}: {error}") from None
    targets = None if read.values is None else read.values.tolist()
    vectors = None if vectors is None else vectors.astype(np.float32, copy=False)
    return Source(text, dataset, vectors, targets, read.class_names, read.notes, form, (path,))


def _load_saved(path: str) -> Any:
    try:
        from datasets import load_from_disk
    except ImportError as error:
        cure = "install it with pip install 'selfclean-hooks[huggingface]'"
        raise SourceError(f"{path}: reading a saved Hugging Face data set needs `datasets`: {cure}") from error
    try:
        return load_from_disk(path)
    except Exception as error:  # the library raises many kinds about foreign files
        raise SourceError(f"{path}: cannot be read as a saved Hugging Face data set: {error}") from error


def _map_style_source(text: str, dataset: Any) -> Source:
    from selfclean_hooks.data.dataset_tree import check_map_style  # needs torch, unlike a folder or a file

    notes: tuple[str, ...] = ()
    if hasattr(dataset, "keys") and hasattr(dataset, "num_rows"):  # a Hugging Face DatasetDict
        splits = ", ".join(dataset)
        if "train" not in dataset:
            raise SourceError(f"{text}: wanted a data set or a `train` split, got {splits}: give the folder of one")
        dataset, notes = (
            dataset["train"],
            (f"only the split `train` is audited, of {splits}",),
        )
    try:
        check_map_style(dataset)
    except DataError as error:
        raise SourceError(f"{text}: {error}") from None
    return Source(text, dataset, notes=notes)
