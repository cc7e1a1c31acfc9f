"""A table of image files, with or without labels, as a data set."""

from __future__ import annotations

import csv
import importlib
import math
import os
import re
from typing import Any

import numpy as np

from selfclean_hooks.data.image_files import ImageFiles, Targets, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.text import listing

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
