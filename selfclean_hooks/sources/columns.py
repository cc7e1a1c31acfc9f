"""Which columns of a table hold the images and the labels, and the labels as numbers or class names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from selfclean_hooks.core.label_text import MISSING_WORDS, is_unknown
from selfclean_hooks.core.labels import ReadLabels, encode_labels
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.sources.table_files import Table

# Compared without case, blanks and underscores.
PATH_NAMES = frozenset(
    [
        "path",
        "paths",
        "file",
        "files",
        "filename",
        "filenames",
        "filepath",
        "filepaths",
        "image",
        "images",
        "img",
        "imagepath",
        "imgpath",
        "imagefile",
        "imagefilename",
        "imagename",
        "imgname",
    ]
)
LABEL_NAMES = frozenset(
    [
        "label",
        "labels",
        "class",
        "classes",
        "classname",
        "classlabel",
        "classid",
        "target",
        "targets",
        "category",
        "categoryname",
        "categoryid",
        "y",
        "labelname",
        "labelid",
        "finelabel",
        "finelabels",
    ]
)
SPLIT = re.compile(r"train|val|test|split|fold", re.IGNORECASE)  # zeros and ones that say where a sample belongs
CODE = re.compile(r"[+-]?0[0-9]")  # 007 is another class than 07: digits that are no number
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,2})?", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnNames:
    """Columns that the user names.

    Attributes:
        path: Of the images; None: one of the usual name.
        labels: Several where each is a class of its own; none: one of the usual name. None: labels are not wanted.
        group: That says which samples belong together.
    """

    path: str | None = None
    labels: tuple[str, ...] | None = ()
    group: str | None = None

    def __bool__(self) -> bool:
        """Whether any is named."""
        return self.path is not None or bool(self.labels)


def path_column(table: Table, chosen: str | None, where: str) -> str:
    """The column of images.

    Raises:
        SourceError: There is none, there are several, or it is there twice.
    """
    if not table.names:
        raise SourceError(f"{where}: wanted a table with a column `path` (and optionally `label`), got none")
    with_images = [name for name in _matching(table.names, PATH_NAMES) if _holds_images(table, name)]
    found = _chosen(
        table.names, chosen, "path", with_images or _matching(table.names, PATH_NAMES), "--path-column", where
    )
    if found is None:
        came = ", ".join(table.names)
        cure = "rename one, or name it with --path-column"
        raise SourceError(f"{where}: wanted a column `path` (and optionally `label`), got {came}: {cure}")
    return found


def _holds_images(table: Table, name: str) -> bool:
    return table.names.count(name) == 1 and table.encoded_images(name) is not None


def read_groups(table: Table, chosen: str | None, where: str) -> list[Any] | None:
    """The cells of the column that says which samples belong together; None where none is chosen.

    Raises:
        SourceError: There is no such column, or it is there twice.
    """
    name = None if chosen is None else _chosen(table.names, chosen, "", (), "--group-column", where)
    return None if name is None else table.cells(name)


def label_columns(table: Table, chosen: Sequence[str] | None, path: str, where: str) -> tuple[str, ...]:
    """The columns that hold the labels: one, several where each is a class of its own, or none.

    Raises:
        SourceError: It is not plain which column holds them.
    """
    if chosen is None:
        return ()
    others = [name for name in table.names if name != path]
    if len(chosen) > 1:
        for name in chosen:
            _chosen(table.names, name, "", (), "", where)
        return tuple(chosen)
    option = "--label-column"
    found = _chosen(table.names, next(iter(chosen), None), "label", _matching(others, LABEL_NAMES), option, where)
    if found is not None:
        return (found,)
    may_be = len(set(others)) == len(others) > 1 and not any(map(SPLIT.search, others))
    one_hot = _one_column_a_class(table, others) if may_be else None
    return tuple(others) if one_hot is not None and one_hot.values is not None and one_hot.values.ndim == 1 else ()


def read_label_columns(table: Table, chosen: Sequence[str] | None, path: str, where: str) -> ReadLabels | None:
    """The labels of a table, with notes on where they were found; None where there are none.

    Raises:
        SourceError: It is not plain which column holds them, or their values are no labels.
    """
    try:
        names = label_columns(table, chosen, path, where)
        if len(names) > 1:
            if (read := _one_column_a_class(table, names)) is None:
                raise SourceError(f"{where}: several columns of labels must hold zeros and ones: {', '.join(names)}")
            return read
        if names:
            return _one_column(table, names[0])
    except DataError as error:
        raise SourceError(f"{where}: {error}") from None
    others = [name for name in table.names if name != path]
    if chosen is None or not others:
        return None
    came = ", ".join(f"`{name}`" for name in others[:8]) + (", ..." if len(others) > 8 else "")
    return ReadLabels(None, notes=(f"no column is named `label`: none of {came} is read; --label-column chooses one",))


def _chosen(
    names: Sequence[str], chosen: str | None, exact: str, matching: Collection[str], option: str, where: str
) -> str | None:
    """The column that is chosen, that has the exact name, or that is the only matching one."""
    came = ", ".join(names)
    if chosen is not None and chosen not in names:
        raise SourceError(f"{where}: there is no column {chosen!r}, got {came}: check the spelling")
    found = chosen or (exact if exact in names else None)
    if found is None and len(set(matching)) > 1:
        raise SourceError(f"{where}: the columns {', '.join(matching)} may all be meant: name one with {option}")
    found = found or next(iter(matching), None)
    if found is not None and names.count(found) > 1:
        raise SourceError(f"{where}: the column {found!r} is there {names.count(found)} times, in {came}: rename one")
    return found


def _matching(names: Sequence[str], known: Collection[str]) -> list[str]:
    return [name for name in names if re.sub(r"[\s_-]", "", name).lower() in known]


def _one_column(table: Table, name: str) -> ReadLabels:
    cells = table.cells(name)
    read = encode_labels(_numbers_where_all_are(cells), len(cells))
    names = table.class_names(name) or read.class_names
    notes = () if name.lower() == "label" else (f"labels are taken from the column `{name}`",)
    return ReadLabels(read.values, names, notes=(*notes, *read.notes))


def _one_column_a_class(table: Table, names: Sequence[str]) -> ReadLabels | None:
    """Classes or several labels a sample from columns of zeros and ones; None where a column holds something else.

    Cells may be missing or -1: they are unknown.
    """
    columns = [_numbers_where_all_are(table.cells(name)) for name in names]
    if not columns[0] or any(cell not in (0, 1) and not is_unknown(cell) for column in columns for cell in column):
        return None
    if all(is_unknown(cell) for column in columns for cell in column):
        return None
    read = encode_labels(list(zip(*columns, strict=True)), len(columns[0]))
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return ReadLabels(read.values, tuple(names), notes=(f"labels are taken from the columns {listed}", *read.notes))


def _numbers_where_all_are(cells: list[Any]) -> list[Any]:
    """Texts as numbers, None for the missing ones, where all others are numbers; anything else as it is."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    present = [text for text in texts if text not in MISSING_WORDS or NUMBER.fullmatch(text)]
    is_text = all(cell is None or isinstance(cell, str) for cell in cells)
    if not is_text or not present or not all(NUMBER.fullmatch(text) and not CODE.match(text) for text in present):
        return cells
    return [_number(cell.strip()) if cell is not None else None for cell in cells]


def _number(text: str) -> int | float | None:
    if not NUMBER.fullmatch(text):
        return None
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,4000}", text) else float(text)
