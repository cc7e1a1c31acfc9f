"""Files of tables as columns of cells: CSV as spreadsheets write it, and Parquet."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from selfclean_hooks.errors import SourceError

DELIMITERS = ",;\t|"
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class Table(Protocol):
    """The columns of a file.

    Attributes:
        names: of the columns, in order; one may be there twice.
    """

    names: tuple[str, ...]

    def cells(self, name: str) -> list[Any]:
        """The values of a column."""

    def encoded_images(self, name: str) -> Sequence[Any] | None:
        """The images in a column as `encoded_image` takes them, read on access; None where it holds none."""

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """Names of the classes 0, 1, ... of a column, where the file knows them."""


class CsvTable:
    """A file of delimited text: UTF-8 or UTF-16; comma, semicolon, tab or pipe; with or without a line `sep=;`.

    Rows of which all cells are empty are left out.

    Attributes:
        header: Its first row, and `rows` the others, cells as they are written.
        delimiter: Between cells.
        encoding: A Python name, which writes a byte order mark where the file has one.
        newline: At the end of its first line.
        preamble: What stands before the header: `sep=;` or nothing.

    Raises:
        SourceError: It is no such text.
    """

    def __init__(self, path: str) -> None:
        """Read all cells."""
        try:
            self.encoding, lines = _decoded(path)
            self.newline, first = "\r\n" if lines and lines[0].endswith("\r\n") else "\n", lines[:1]
            self.delimiter = delimiter = _delimiter(lines)
            self.preamble = "" if lines[:1] == first else first[0]
            records = [row for row in csv.reader(lines, delimiter=delimiter) if any(cell.strip() for cell in row)]
        except (OSError, ValueError, csv.Error) as error:
            wanted = "UTF-8 text, separated by commas, semicolons, tabs or pipes"
            raise SourceError(f"{path}: cannot be read as a table: {error}; wanted {wanted}") from error
        self.header, self.rows = (records[0], records[1:]) if records else ([], [])
        header = self.header
        self.names = tuple(name.strip() for name in header)
        for at, row in enumerate(self.rows, 1):
            if any(cell.strip() for cell in row[len(header) :]):
                came = f"row {at} (the first is 1) has more cells than there are columns"
                raise SourceError(f"{path}: {came}: put cells with a {delimiter!r} in quotes")

    def cells(self, name: str) -> list[Any]:
        """The texts of a column, "" where a row is too short."""
        at = self.names.index(name)
        return [row[at] if at < len(row) else "" for row in self.rows]

    def encoded_images(self, name: str) -> None:
        """None."""

    def class_names(self, name: str) -> None:
        """None."""


def _decoded(path: str) -> tuple[str, list[str]]:
    with open(path, "rb") as file:
        content = file.read()
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    return encoding, list(io.StringIO(content.decode(encoding), newline=""))


def _delimiter(lines: list[str]) -> str:
    """The one that a line `sep=;` names, which is removed, or else the one that gives the header most columns."""
    first = lines[0].strip().strip('"') if lines else ""
    if first[:4].lower() == "sep=" and len(first) <= 5:
        return lines.pop(0).strip().strip('"')[4:] or "\t"
    header = next((line for line in lines if line.strip()), "")
    return max(DELIMITERS, key=lambda each: len(next(csv.reader([header], delimiter=each), [])))


class ParquetTable:
    """One or several Parquet files with the same columns; a column is read when it is asked for.

    Raises:
        SourceError: A file cannot be read, or `pyarrow` is missing.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Read the schemas."""
        self._paths, self._arrow = paths, self._import(paths[0])
        self._files = [self._guarded(path, lambda path=path: self._arrow.ParquetFile(path)) for path in paths]
        schemas = [self._guarded(path, lambda file=file: file.schema_arrow) for path, file in self._parts()]
        self.names = tuple(schemas[0].names)
        for path, schema in zip(paths, schemas, strict=True):
            if tuple(schema.names) != self.names:
                raise SourceError(f"{path}: wanted the columns of {paths[0]}, got {', '.join(schema.names) or 'none'}")
        self._features = _huggingface_features(schemas[0].metadata or {})

    def _import(self, path: str) -> Any:
        try:
            return importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            cure = "install it with pip install 'selfclean-hooks[parquet]', or save the table as .csv"
            raise SourceError(f"{path}: reading .parquet needs pyarrow: {cure}") from error

    def _parts(self) -> list[tuple[str, Any]]:
        return list(zip(self._paths, self._files, strict=True))

    @staticmethod
    def _guarded(path: str, read: Any) -> Any:
        try:
            return read()
        except Exception as error:  # pyarrow raises many kinds about damaged files, and Python about their values
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise SourceError(f"{path}: cannot be read as a table: {reason}") from error

    def _columns(self, name: str) -> list[tuple[str, Any]]:
        return [
            (path, self._guarded(path, lambda file=file: file.read(columns=[name]).column(name)))
            for path, file in self._parts()
        ]

    def cells(self, name: str) -> list[Any]:
        """The values of a column as Python has them."""
        return [cell for path, column in self._columns(name) for cell in self._guarded(path, column.to_pylist)]

    @property
    def lengths(self) -> list[int]:
        """Rows of each file."""
        return [file.metadata.num_rows for file in self._files]

    def encoded_images(self, name: str) -> Sequence[Any] | None:
        """A column of bytes, or of structs with `bytes` as the Hub serves images."""
        types = importlib.import_module("pyarrow.types")
        kind = self._files[0].schema_arrow.field(name).type
        if types.is_struct(kind):
            is_image = "bytes" in {kind.field(at).name for at in range(kind.num_fields)}
        else:
            is_image = types.is_binary(kind) or types.is_large_binary(kind)
        return _ArrowCells([column for _, column in self._columns(name)]) if is_image else None

    def class_names(self, name: str) -> tuple[str, ...] | None:
        """The names of a ClassLabel of Hugging Face's `datasets`, which stores its features beside the schema."""
        feature = self._features.get(name)
        names = feature.get("names") if isinstance(feature, dict) else None
        return tuple(names) if isinstance(names, list) and all(isinstance(each, str) for each in names) else None


class _ArrowCells(Sequence[Any]):
    """Cells of Arrow columns one after another, each made a Python value on access."""

    def __init__(self, columns: list[Any]) -> None:
        self._chunks = [chunk for column in columns for chunk in column.chunks]
        self._owner = [(at, row) for at, chunk in enumerate(self._chunks) for row in range(len(chunk))]

    def __len__(self) -> int:
        return len(self._owner)

    def __getitem__(self, index: Any) -> Any:
        at, row = self._owner[index]
        return self._chunks[at][row].as_py()


def _huggingface_features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):  # written by something else
        return {}
    return features if isinstance(features, dict) else {}
