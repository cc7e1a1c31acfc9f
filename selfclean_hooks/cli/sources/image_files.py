"""A folder of images, or a table that lists them, as a data set."""

from __future__ import annotations

import csv
import importlib
import math
import os
import re
from collections import Counter
from typing import Any

import numpy as np

from selfclean_hooks.data.image_files import ImageFiles, Targets, image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.text import listing

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "dev", "test"})


class FolderDataset(ImageFiles):
    """The images under a folder, in sorted order.

    Where every image is in a sub-folder, the first-level folder is its class; otherwise there are no labels. Links are
    followed, and a folder reached a second time is skipped, as are hidden files and ``__MACOSX``. Images are rotated
    upright (EXIF) and scaled down to at most 2048 pixels a side.

    Args:
        folder: Where to look.
        without: A folder below it that is not read.

    Attributes:
        paths: N paths, each beginning with ``folder`` as given.
        targets: N labels, an index into ``classes``. Absent without class folders.
        classes: Names of the class folders. Absent without class folders.
        notes: What was skipped, one sentence each.

    Raises:
        SourceError: There is no image, or a folder cannot be listed.
    """

    def __init__(self, folder: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> None:
        """List the images; none is opened."""
        root = os.fspath(folder)
        files, repeated = _walk(root, "" if without is None else os.path.realpath(without))
        endings = image_suffixes()
        images = sorted(parts for parts in files if suffix(parts[-1]) in endings)
        others = [suffix(parts[-1]) for parts in files if suffix(parts[-1]) not in endings]
        if not images:
            raise SourceError(_no_images_message(root, others))
        names = tuple(sorted({parts[0] for parts in images if len(parts) > 1}))
        loose = sum(len(parts) == 1 for parts in images)
        labelled = bool(names) and not loose
        position = {name: label for label, name in enumerate(names)}
        targets = [position[parts[0]] for parts in images] if labelled else None
        super().__init__([os.path.join(root, *parts) for parts in images], targets, names if labelled else None)
        self.notes = _notes(names, loose, others, repeated)


def listdir(folder: str) -> list[str]:
    """Sorted names in a folder, without hidden ones and without ``__MACOSX``.

    Raises:
        SourceError: The folder cannot be listed.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(".") and name != "__MACOSX")
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be listed: {error.strerror}; check its permissions") from error


def _walk(root: str, without: str) -> tuple[list[tuple[str, ...]], int]:
    """Every file below root as path parts, and the number of folders skipped because they were reached before.

    Real folders come before linked ones, so that an image is listed under its own name; each is entered once, so that
    cyclic links end.
    """
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    entered: set[str] = set()
    files: list[tuple[str, ...]] = []
    repeated = 0
    while folders or links:
        parts = folders.pop() if folders else links.pop()
        folder = os.path.join(root, *parts)
        if (real := os.path.realpath(folder)) == without and parts:
            continue
        if real in entered:
            repeated += 1
            continue
        entered.add(real)
        for name in listdir(folder):
            entry = os.path.join(folder, name)
            kind = files if not os.path.isdir(entry) else links if os.path.islink(entry) else folders
            kind.append((*parts, name))
    return files, repeated


def _no_images_message(root: str, others: list[str]) -> str:
    found = f"{len(others)} files, none of them an image: {_count_endings(others)}" if others else "no files"
    wanted = "wanted a folder with images (.jpg, .png, ...) or class folders of them"
    return f"{root}: {wanted}, found {found}; check the path, or list the images in a .csv file with a `path` column"


def _notes(names: tuple[str, ...], loose: int, others: list[str], repeated: int) -> tuple[str, ...]:
    notes = []
    if names and loose:
        notes.append(f"{loose} images are beside folders with images: no labels are taken from folder names")
    elif names and SPLIT_NAMES.issuperset(name.lower() for name in names):
        notes.append(f"the class folders {', '.join(names)} look like splits, not classes: audit each by itself")
    if others:
        notes.append(f"{len(others)} files that are not images were skipped: {_count_endings(others)}")
    if repeated:
        notes.append(f"{repeated} linked folders were skipped: they lead to folders already listed")
    return tuple(notes)


def _count_endings(endings: list[str]) -> str:
    """How many of each ending, the most frequent first: ".txt (2), .md (1)"."""
    common = Counter(end or "no ending" for end in endings).most_common()
    return ", ".join(f"{end} ({count})" for end, count in common[:8]) + (", ..." if len(common) > 8 else "")


NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,2})?", re.IGNORECASE)


class TableDataset(ImageFiles):
    """The images named in the column ``path`` of a table, with the labels of its column ``label`` if there is one.

    Args:
        table: A .csv file (UTF-8, comma) or a .parquet file. Paths are relative to the table's folder. Labels are
            classes without names if all are whole numbers, regression targets if all are numbers and some have a
            fraction, and class names otherwise.

    Attributes:
        paths: N paths, in the order of the rows.
        targets: N labels. Absent without a column ``label``.
        classes: Sorted class names, for labels that are names. Absent otherwise.

    Raises:
        SourceError: The table cannot be read, lacks ``path``, has empty cells, or none of its files exists.
    """

    def __init__(self, table: str | os.PathLike[str]) -> None:
        """Read the table; no image is opened."""
        name = os.fspath(table)
        columns = _read_parquet(name) if suffix(name) == ".parquet" else _read_csv(name)
        if "path" not in columns:
            came = ", ".join(columns) or "none"
            raise SourceError(f"{name}: wanted a column `path` (and optionally `label`), got {came}: rename one")
        folder = os.path.dirname(name)
        paths = [os.path.join(folder, cell) for cell in _filled_cells(columns["path"], f"{name}: column `path`")]
        if not any(os.path.lexists(path) for path in paths):
            found = f"{paths[0]!r} and the rest do not exist" if paths else "the table has no rows"
            raise SourceError(f"{name}: wanted paths relative to the folder of the table, but {found}")
        labels = columns.get("label")
        super().__init__(
            paths, *(_targets(_filled_cells(labels, f"{name}: column `label`")) if labels else (None, None))
        )


def _targets(texts: list[str]) -> tuple[Targets, tuple[str, ...] | None]:
    """Labels as numbers, and the names of classes that have names."""
    if all(re.fullmatch(r"[+-]?[0-9]+", text) for text in texts):
        return [int(text) for text in texts], None
    if all(NUMBER.fullmatch(text) for text in texts) and any(math.modf(float(text))[0] for text in texts):
        return [float(text) for text in texts], None
    names, codes = np.unique(texts, return_inverse=True)
    return codes.tolist(), tuple(names.tolist())


def _filled_cells(values: list[Any], where: str) -> list[str]:
    empty = [row for row, value in enumerate(values, 1) if value is None or value != value or not str(value).strip()]
    if empty:
        rows = f"{len(empty)} of {len(values)} are empty, row {listing(empty)}"
        raise SourceError(f"{where}: {rows} (the first is 1): fill them in")
    return [str(value) for value in values]


def _read_csv(path: str) -> dict[str, list[Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read as a table: {error}; wanted UTF-8 text, comma separated") from error
    too_long = [
        row for row, cells in enumerate(rows, 1) if None in cells
    ]  # the reader's key for cells without a column
    if too_long:
        cure = "put cells with a comma in quotes"
        raise SourceError(f"{path}: row {too_long[0]} (the first is 1) has more cells than there are columns: {cure}")
    return {name.strip(): [row[name] for row in rows] for name in columns}


def _read_parquet(path: str) -> dict[str, list[Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        cure = "install it with pip install 'selfclean-hooks[parquet]', or save the table as .csv"
        raise SourceError(f"{path}: reading .parquet needs pyarrow: {cure}") from error
    try:
        table = parquet.ParquetFile(path).read()
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise SourceError(f"{path}: cannot be read as a table: {error}") from error
    return {name: table[name].to_pylist() for name in table.column_names}
