"""Part of a table: its rows, new labels in its own columns, and the images that it names beside it."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfclean_hooks.sources.columns import label_columns, path_column
from selfclean_hooks.sources.source import Form, Source
from selfclean_hooks.sources.subsets.subset import Changes, Subset, new_rows, new_values
from selfclean_hooks.sources.table import table_file
from selfclean_hooks.sources.table_files import CsvTable, ParquetTable

Cells = Mapping[str, Mapping[int, Any]]  # column: position -> new value


def table_subset(source: Source, changes: Changes, target: Path) -> Subset:
    """The kept rows of a table, or of several .parquet files, all other columns as they are.

    Paths below the folder of the table stay as they are and their images are taken; others lead to where the images
    are.

    Raises:
        SourceError: a new label does not fit into the column.
    """
    read, where = table_file(source.paths), source.paths[0]
    column = path_column(read, source.columns.path, where)
    cells = _new_labels(read, label_columns(read, source.columns.labels, column, where), changes.labels, source)
    files: dict[str, str] = {}
    places: dict[int, str] = {}
    if source.form is Form.table:
        files, places, moved = _images(read.cells(column), source, changes, target)
        cells = {**cells, column: moved}
    return Subset(files, _tables(read, source.paths, changes.kept.tolist(), cells), places)


def _new_labels(
    read: CsvTable | ParquetTable, names: Sequence[str], labels: Mapping[int, str], source: Source
) -> dict[str, Mapping[int, Any]]:
    where = source.paths[0]
    if not labels or not names:
        return {}
    if len(names) > 1:
        rows = new_rows(labels, names, len(names), where)
        return {name: {i: row[at] for i, row in rows.items()} for at, name in enumerate(names)}
    values = read.cells(names[0])
    if isinstance(read, CsvTable) and source.class_names is None:  # numbers, as text
        new_values(source.labels or (), labels, None, where)  # they must be numbers too
        return {names[0]: labels}
    return {names[0]: new_values(values, labels, read.class_names(names[0]), where)}


def _images(
    cells: Sequence[Any], source: Source, changes: Changes, target: Path
) -> tuple[dict[str, str], dict[int, str], dict[int, str]]:
    """Files to take, their names by position, and new paths of those that are not taken."""
    folder = os.path.dirname(source.paths[0])
    files, places, moved = {}, {}, {}
    for i in changes.kept.tolist():
        path = source.dataset.paths[i]  # type: ignore[union-attr]
        name = os.path.normpath(os.path.relpath(path, folder or ".")) if not os.path.isabs(str(cells[i])) else ""
        if not name:
            continue
        if name.split(os.sep)[0] == os.pardir:
            moved[i] = Path(os.path.relpath(path, target)).as_posix()
        elif i not in changes.unreadable or os.path.isfile(path):
            places[i] = Path(name).as_posix()
            files[places[i]] = path
    return files, places, moved


def _tables(
    read: CsvTable | ParquetTable, paths: Sequence[str], kept: Sequence[int], cells: Cells
) -> dict[str, Callable[[Path], None]]:
    """File name: what writes it."""
    if isinstance(read, CsvTable):
        content = _csv(read, kept, cells)
        return {os.path.basename(paths[0]): lambda path: _write(path, content)}
    made: dict[str, Callable[[Path], None]] = {}
    start, folder = 0, os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    for path, count in zip(paths, read.lengths, strict=True):
        inside = [i for i in kept if start <= i < start + count]
        made[Path(os.path.relpath(path, folder)).as_posix()] = _parquet_writer(path, inside, cells, start)
        start += count
    return made


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _csv(read: CsvTable, kept: Sequence[int], cells: Cells) -> bytes:
    """The rows as the file writes them: its delimiter, encoding and line ends."""
    text = io.StringIO(newline="")
    text.write(read.preamble)
    writer = csv.writer(text, delimiter=read.delimiter, lineterminator=read.newline)
    writer.writerow(read.header)
    columns = {read.names.index(name): new for name, new in cells.items()}
    for i in kept:
        row = [*read.rows[i], *[""] * (max(columns, default=0) + 1 - len(read.rows[i]))]
        writer.writerow([columns.get(at, {}).get(i, cell) for at, cell in enumerate(row)])
    return text.getvalue().encode(read.encoding)


def _parquet_writer(path: str, kept: Sequence[int], cells: Cells, start: int) -> Callable[[Path], None]:
    def write(target: Path) -> None:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        table = parquet.read_table(path).take([i - start for i in kept])
        for name, new in cells.items():
            at, values = table.schema.get_field_index(name), table.column(name).to_pylist()
            changed = [new.get(i, value) for i, value in zip(kept, values, strict=True)]
            field = table.schema.field(at)
            table = table.set_column(at, field, arrow.array(changed, field.type))
        parquet.write_table(table, target)

    return write
