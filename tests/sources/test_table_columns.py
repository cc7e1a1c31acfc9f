"""Tables as people have them: columns of other names, other delimiters and encodings, gaps, and damaged files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.source import Source, open_source
from tests.helpers.image_files import refused, write

pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
LABELS = ["owl", "hen", "owl", "hen"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for at in range(4):
        write(tmp_path / f"{at}.png")
    return tmp_path


def table(folder: Path, header: list[str], *columns: list[Any], sep: str = ",", name: str = "t.csv") -> Path:
    rows = [header, *([f"{at}.png", *map(str, row)] for at, row in enumerate(zip(*columns, strict=True)))]
    (folder / name).write_text("".join(sep.join(row) + "\n" for row in rows))
    return folder / name


def opened(source: Path, **columns: Any) -> Source:
    return open_source(str(source), columns=ColumnNames(**columns))


@pytest.mark.parametrize(
    "name", ["Class", "target", "labels", "fine_label", "category", "y", "label_name", "Class Name"]
)
def test_labels_of_another_name_are_found_and_said(folder: Path, name: str) -> None:
    source = opened(table(folder, ["filename", name], LABELS))
    assert (source.class_names, source.labels) == (("hen", "owl"), [1, 0, 1, 0])
    assert source.notes == (f"labels are taken from the column `{name}`",)


@pytest.mark.parametrize("name", ["file", "file_name", "image", "Image_Path", "filepath", "img"])
def test_images_of_another_name_are_found(folder: Path, name: str) -> None:
    source = opened(table(folder, [name, "label"], LABELS))
    assert source.dataset is not None
    assert (source.dataset.paths[3], source.notes) == (str(folder / "3.png"), ())


def test_where_it_is_not_plain_the_option_chooses(folder: Path) -> None:
    path = table(folder, ["path", "class", "target"], LABELS, [1, 1, 2, 2])
    assert "the columns class, target may all be meant: name one with --label-column" in refused(path)
    assert opened(path, labels=("target",)).labels == [1, 1, 2, 2]
    assert opened(path, labels=None).labels is None
    other = table(folder, ["where", "breed"], LABELS, name="other.csv")
    found = opened(other, path="where")
    assert found.labels is None
    assert found.notes == ("no column is named `label`: none of `breed` is read; --label-column chooses one",)
    assert opened(other, path="where", labels=("breed",)).class_names == ("hen", "owl")
    with pytest.raises(SourceError, match="there is no column 'bred', got where, breed: check the spelling"):
        opened(other, path="where", labels=("bred",))
    with pytest.raises(SourceError, match="name columns of a table"):
        opened(folder, path="where")
    both = table(folder, ["file", "image"], ["x.png"] * 4, name="both.csv")
    assert "the columns file, image may all be meant: name one with --path-column" in refused(both)


def test_columns_that_are_there_twice_are_refused(folder: Path) -> None:
    assert "the column 'label' is there 2 times" in refused(table(folder, ["path", "label", "label"], LABELS, LABELS))
    assert "the column 'path' is there 2 times" in refused(table(folder, ["path", "path", "label"], LABELS, LABELS))
    assert opened(table(folder, ["path", "label", "x", "x"], LABELS, LABELS, LABELS)).class_names == ("hen", "owl")
    pq.write_table(pa.table([["0.png"], ["a"], ["b"]], names=["path", "label", "label"]), folder / "t.parquet")
    assert "the column 'label' is there 2 times" in refused(folder / "t.parquet")


def test_one_column_a_class(folder: Path) -> None:
    source = opened(table(folder, ["path", "owl", "hen", "emu"], [1, 0, 0, 0], ["0.0", "1.0", "1", 0], [0, 0, 0, 1]))
    assert (source.class_names, source.labels) == (("owl", "hen", "emu"), [0, 1, 1, 2])
    assert source.notes == ("labels are taken from the columns owl, hen, emu",)
    several = table(folder, ["path", "wet", "red"], [1, 1, 0, 0], [1, 0, 0, 1])
    assert opened(several).labels is None
    chosen = opened(several, labels=("wet", "red"))
    assert (chosen.class_names, chosen.labels) == (
        ("wet", "red"),
        [[True, True], [True, False], [False] * 2, [False, True]],
    )
    with pytest.raises(SourceError, match="must hold zeros and ones: path, wet"):
        opened(several, labels=("path", "wet"))
    assert opened(table(folder, ["path", "is_train", "is_test"], [1, 1, 0, 0], [0, 0, 1, 1])).labels is None


@pytest.mark.parametrize("sep", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(folder: Path, sep: str, encoding: str, end: str) -> None:
    lines = [sep.join(("path", "label", "note"))]
    lines += [sep.join((f"{at}.png", "käfer" if at % 2 else "", '"a, b"')) for at in range(4)] + [sep * 2]
    for first in ([], [f"sep={sep}"]):
        with open(folder / "t.csv", "w", encoding=encoding, newline="") as file:
            file.write(end.join([*first, *lines, ""]))
        source = opened(folder / "t.csv")
        assert (source.class_names, source.labels) == (("käfer",), [-1, 0, -1, 0])
    write(folder / "sub" / "0.png")
    assert opened(table(folder, ["path", "label"], LABELS, sep="\t", name="t.tsv")).class_names == ("hen", "owl")


def test_digits_with_leading_zeros_are_names(folder: Path) -> None:
    source = opened(table(folder, ["Path", "Label"], ["007", "07", "007", "07"]))
    assert (source.class_names, source.labels, source.notes) == (("007", "07"), [0, 1, 0, 1], ())
    assert opened(table(folder, ["path", "label"], ["0", "10", "0.0", "10"])).labels == [0, 10, 0, 10]


def test_paths_of_windows_are_read(folder: Path) -> None:
    write(folder / "in" / "a.png")
    (folder / "t.csv").write_text("path;label\r\nin\\a.png;x\r\nin\\b.png;y\r\n")
    source = opened(folder / "t.csv")
    assert source.dataset is not None
    assert source.dataset.paths == [str(folder / "in/a.png"), str(folder / "in/b.png")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label\n\xe9.png,a\n", "wanted UTF-8 text"),
        (b"", "got none"),
        (b"path,label\n", "the table has no rows"),
        (b"\x00\x01\x02", "wanted a column `path`"),
        (b"path,label\n,a\n0.png,b\n", "column `path`: 1 of 2 are empty, row 1"),
    ],
)
def test_damaged_text_is_refused_in_a_sentence(folder: Path, content: bytes, message: str) -> None:
    (folder / "t.csv").write_bytes(content)
    assert message in refused(folder / "t.csv")


PATHS = ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (pa.array(LABELS).dictionary_encode(), [1, 0, 1, 0]),
        (pa.array([7, None, 7, 8], pa.int16()), [7, -1, 7, 8]),
        (pa.array([True, False, True, None]), [1, 0, 1, -1]),
        (pa.array([b"x", b"y", b"x", b"y"]), [0, 1, 0, 1]),
        (pa.array([[1, 0], [1, 1], [0, 0], [0, 1]]), [[True, False], [True, True], [False, False], [False, True]]),
    ],
)
def test_kinds_of_parquet_columns(folder: Path, label: Any, expected: list[Any]) -> None:
    pq.write_table(pa.table({"path": pa.array(PATHS).dictionary_encode(), "label": label}), folder / "t.parquet")
    assert opened(folder / "t.parquet").labels == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "got none"),
        ({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "the table has no rows"),
        ({"path": PATHS, "label": pa.array([10**15] * 4, pa.timestamp("ms"))}, "cannot be read as a table"),
        ({"path": PATHS, "label": [datetime.date(2020, 1, at) for at in (1, 2, 3, 4)]}, "a label must be a word"),
        ({"path": PATHS, "label": [{"a": 1}] * 4}, "a label must be a word or a number"),
        ({"path": PATHS, "label": [[1], [1, 2], [], [3]]}, "items of different shapes"),
        ({"path": [{"a": 1}] * 4}, "and the rest do not exist"),
        (
            {"path": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff.png"]).buffers())},
            "cannot be read as a table: 'utf-8' codec can't decode",
        ),
    ],
)
def test_odd_parquet_is_refused_in_a_sentence(folder: Path, columns: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    assert message in refused(folder / "t.parquet")


def test_a_date_out_of_range_in_a_column_that_is_not_read_does_no_harm(folder: Path) -> None:
    dates = pa.array([10**15] * 4, pa.timestamp("ms"))
    pq.write_table(pa.table({"path": PATHS, "label": LABELS, "taken": dates}), folder / "t.parquet")
    assert opened(folder / "t.parquet").class_names == ("hen", "owl")
