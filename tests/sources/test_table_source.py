import sys
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks.sources.source import open_source
from selfclean_hooks.sources.table import TableDataset
from tests.helpers.image_files import refused, write


def write_table(path: Path, columns: dict[str, list[Any]]) -> Path:
    import pandas as pd

    frame = pd.DataFrame(columns)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    else:
        frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_name_images_beside_them(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "in" / "a, b.png")
    columns: dict[str, list[Any]] = {
        "path": ["in/a, b.png", "in/gone.png", "in/a, b.png"],
        "label": ["NA", "dog", "None"],
        "more": [1, 2, 3],
    }
    source = open_source(str(write_table(tmp_path / f"t.{kind}", columns)))
    assert isinstance(source.dataset, TableDataset)
    assert source.dataset.paths[1] == str(tmp_path / "in/gone.png")
    assert (source.class_names, source.labels) == (("NA", "dog"), [0, 1, -1])
    assert source.dataset[2][1] == -1
    assert source.notes == ('1 labels are read as missing: "None" (1)',)
    with pytest.raises(OSError, match=r"gone\.png: no such file"):
        source.dataset[1]
    numbers = open_source(str(write_table(tmp_path / f"n.{kind}", {**columns, "label": [7, -1, 7]})))
    assert (numbers.class_names, numbers.labels) == (None, [7, -1, 7])
    bare = open_source(str(write_table(tmp_path / f"b.{kind}", {"path": columns["path"]})))
    assert bare.dataset is not None
    assert bare.labels is None
    assert len(bare.dataset[0]) == 1


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_labels_with_fractions_are_numbers(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.png")
    paths = ["a.png"] * 4
    numbers = open_source(str(write_table(tmp_path / f"n.{kind}", {"path": paths, "label": [1.5, -2.0, 3e-7, 4.0]})))
    assert (numbers.class_names, numbers.labels) == (None, [1.5, -2.0, 3e-7, 4.0])
    assert numbers.dataset is not None
    assert numbers.dataset[0][1] == 1.5
    names = ["1.5", "2.0", "3.x", "2.0"]
    named = open_source(str(write_table(tmp_path / f"t.{kind}", {"path": paths, "label": names})))
    assert named.class_names == tuple(sorted(set(names)))
    whole = open_source(str(write_table(tmp_path / f"w.{kind}", {"path": paths, "label": ["1.0", "", "3.0", "1.0"]})))
    assert (whole.class_names, whole.labels) == (None, [1, -1, 3, 1])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    table = tmp_path / f"t.{kind}"
    write(tmp_path / "a.png")
    message = refused(write_table(table, {"where": ["a.png"], "label": [1]}))
    assert "wanted a column `path` (and optionally `label`), got where, label" in message
    assert "name it with --path-column" in message
    assert "column `path`: 1 of 2 are empty" in refused(write_table(table, {"path": ["a.png", ""], "label": [1, 2]}))
    assert "b.png' and the rest do not exist" in refused(write_table(table, {"path": ["b.png"]}))
    assert "the table has no rows" in refused(write_table(table, {"path": []}))
    table.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as a table" in refused(table)


def test_a_csv_row_with_too_many_cells_is_an_error_and_not_truncated(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.png,x\na,b.png,x\n")
    assert "row 2 (the first is 1) has more cells than there are columns" in refused(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("")
    assert "got none" in refused(tmp_path / "t.csv")


def test_parquet_without_pyarrow_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_table(tmp_path / "t.parquet", {"path": ["a.png"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'selfclean-hooks[parquet]'" in refused(table)
