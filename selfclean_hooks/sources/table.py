"""A table that lists images, or holds them, as a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from selfclean_hooks.core.labels import ReadLabels
from selfclean_hooks.data.image_files import EncodedImages, ImageFiles, LabeledFiles, Targets, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.columns import ColumnNames, path_column, read_groups, read_label_columns
from selfclean_hooks.sources.table_files import CsvTable, ParquetTable
from selfclean_hooks.utils.files import special_kind
from selfclean_hooks.utils.text import listing

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")


class TableDataset(ImageFiles):
    """The images named in a column of a table, `path` or a name like it, with the labels of `label` or a name like it.

    Args:
        table: A .csv, .tsv or .parquet file. Paths are relative to the table's folder. Labels are classes without names
            if all are whole numbers, regression targets if all are numbers and some have a fraction, and class names
            otherwise. Cells may be empty: those samples carry no label.
        columns: Names of columns that are none of the usual ones.

    Attributes:
        paths: N paths, in the order of the rows.
        targets: N labels, -1 or NaN for none. Absent without a column of labels.
        classes: Sorted class names, for labels that are names. Absent otherwise.
        notes: Where the labels were found, and what was noticed about them.

    Raises:
        SourceError: The table cannot be read, it is not plain which columns are meant, paths are missing, or none of
            the files exists.
    """

    def __init__(self, table: str | os.PathLike[str], columns: ColumnNames = ColumnNames()) -> None:  # noqa: B008
        """Read the table; no image is opened."""
        name = os.fspath(table)
        read = table_file([name])
        column = path_column(read, columns.path, name)
        super().__init__(_paths(read.cells(column), column, name), None, None)
        self.groups = read_groups(read, columns.group, name)
        self.notes = _set_labels(self, read_label_columns(read, columns.labels, column, name))


def open_table(paths: Sequence[str], columns: ColumnNames = ColumnNames()) -> LabeledFiles:  # noqa: B008
    """The images that a table lists (see `TableDataset`), or those that one or several .parquet files hold.

    Raises:
        SourceError: see `TableDataset`.
    """
    where = paths[0]
    if suffix(where) != ".parquet":
        return TableDataset(where, columns)
    read = table_file(paths)
    column = path_column(read, columns.path, where)
    encoded = read.encoded_images(column)
    if encoded is None:
        if len(paths) > 1:
            raise SourceError(f"{where}: wanted images in the column {column!r} of {len(paths)} files: give one table")
        return TableDataset(where, columns)
    if not len(encoded):
        raise SourceError(f"{where}: wanted a table of images, but the table has no rows")
    dataset = EncodedImages(encoded, os.path.dirname(where))
    dataset.groups = read_groups(read, columns.group, where)
    dataset.notes = _set_labels(dataset, read_label_columns(read, columns.labels, column, where))
    return dataset


def table_file(paths: Sequence[str]) -> CsvTable | ParquetTable:
    """The columns of a table in one file, or in several .parquet files.

    Raises:
        SourceError: A file cannot be read as one.
    """
    for path in paths:
        if kind := special_kind(path):
            raise SourceError(f"{path}: wanted a table, got {kind}, which may never end: save what it gives in a file")
    return ParquetTable(paths) if suffix(paths[0]) == ".parquet" else CsvTable(paths[0])


def _paths(cells: list[Any], column: str, table: str) -> list[str]:
    empty = [row for row, cell in enumerate(cells, 1) if cell is None or cell != cell or not str(cell).strip()]
    if empty:
        rows = f"{len(empty)} of {len(cells)} are empty, row {listing(empty)}"
        raise SourceError(f"{table}: column `{column}`: {rows} (the first is 1): fill them in")
    folder = os.path.dirname(table)
    paths = [os.path.join(folder, str(cell)) for cell in cells]
    if not any(os.path.lexists(path) for path in paths):
        stripped = [os.path.join(folder, str(cell).strip().replace("\\", "/")) for cell in cells]
        if not any(os.path.lexists(path) for path in stripped):
            found = f"{paths[0]!r} and the rest do not exist" if paths else "the table has no rows"
            raise SourceError(f"{table}: wanted paths relative to the folder of the table, but {found}")
        return stripped
    return paths


def _set_labels(dataset: LabeledFiles, labels: ReadLabels | None) -> tuple[str, ...]:
    """Give a data set its labels, and return the notes on them."""
    if labels is None:
        return ()
    if labels.values is not None:
        targets: Targets = labels.values.tolist()
        dataset.targets = targets
        if labels.class_names is not None:
            dataset.classes = labels.class_names
    return labels.notes
