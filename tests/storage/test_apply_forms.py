"""Tables, arrays and saved data sets after an audit: the same form, rows and columns."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfclean_hooks.errors import SettingError, SourceError
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.source import open_source
from tests.helpers.applied_data import audited, files, image, pixels

datasets = pytest.importorskip("datasets")


def table(folder: Path, text: str, name: str = "data.csv", encoding: str = "utf-8") -> Path:
    """A table beside six images, img/0.png to img/5.png."""
    for i in range(6):
        image(folder / "img" / f"{i}.png", i)
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def rows_of(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text(), newline="")))


TEXT = "id,path,label,note\n" + "".join(f'{i},img/{i}.png,{"cat" if i % 2 else "dog"},"a, {i}"\n' for i in range(6))


def test_a_table_keeps_its_rows_columns_and_images(tmp_path: Path) -> None:
    source = table(tmp_path / "set", TEXT)
    before = files(tmp_path / "set")
    audited(source, drop=[1, 4], relabel={0: "owl"}).apply(tmp_path / "clean")
    expected = [row for i, row in enumerate(rows_of(source), -1) if i not in (1, 4)]
    expected[1][2] = "owl"
    assert rows_of(tmp_path / "clean" / "data.csv") == expected
    assert {name for name in files(tmp_path / "clean") if name.startswith("img")} == {
        f"img/{i}.png" for i in (0, 2, 3, 5)
    }
    assert open_source(str(tmp_path / "clean" / "data.csv")).class_names == ("cat", "dog", "owl")
    assert files(tmp_path / "set") == before


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (TEXT.replace(",", ";").replace("\n", "\r\n"), "utf-8-sig"),
        (TEXT.replace(",", "\t"), "utf-16"),
        ("sep=|\n" + TEXT.replace(",", "|"), "utf-8"),
    ],
)
def test_the_table_is_written_as_it_was(text: str, encoding: str, tmp_path: Path) -> None:
    source = table(tmp_path / "set", text, encoding=encoding)
    audited(source).apply(tmp_path / "whole")
    assert (tmp_path / "whole" / "data.csv").read_bytes() == source.read_bytes()


def test_paths_that_lead_elsewhere_still_do(tmp_path: Path) -> None:
    table(tmp_path, "path,label\n")
    inside = image(tmp_path / "list" / "own.png", 9)
    cells = ["own.png", "../img/1.png", str(tmp_path / "img" / "2.png"), "./own2.png"]
    image(tmp_path / "list" / "own2.png", 10)
    source = tmp_path / "list" / "files.csv"
    source.write_text("path,label\n" + "".join(f"{cell},{i % 2}\n" for i, cell in enumerate(cells)))
    audited(source).apply(tmp_path / "deep" / "clean")
    there = tmp_path / "deep" / "clean"
    found = [row[0] for row in rows_of(there / "files.csv")[1:]]
    assert [found[0], found[2], found[3]] == [cells[0], cells[2], cells[3]]
    contents = [(there / cell).read_bytes() for cell in found]
    assert contents == [(source.parent / cell).read_bytes() for cell in cells]
    assert contents[0] == inside.read_bytes()


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    text = "path,label\n" + "".join(f"img/{i}.png,{i % 3}\n" for i in range(6))
    source = table(tmp_path / "set", text)
    audited(source, relabel={0: "2"}).apply(tmp_path / "clean")
    assert rows_of(tmp_path / "clean" / "data.csv")[1] == ["img/0.png", "2"]
    with pytest.raises(SourceError, match="a new label must be a whole number, got 'owl'"):
        audited(source, relabel={0: "owl"}).apply(tmp_path / "none")


def test_named_columns_and_one_column_a_class(tmp_path: Path) -> None:
    head = "where,cat,dog\n"
    source = table(tmp_path / "set", head + "".join(f"img/{i}.png,{i % 2},{1 - i % 2}\n" for i in range(6)))
    named = ColumnNames("where", ("cat", "dog"))
    audited(source, drop=[5], relabel={0: "cat"}, columns=named).apply(tmp_path / "clean")
    assert rows_of(tmp_path / "clean" / "data.csv")[1:3] == [["img/0.png", "1", "0"], ["img/1.png", "1", "0"]]
    with pytest.raises(SourceError, match="must be one of cat, dog, got 'owl'"):
        audited(source, relabel={0: "owl"}, columns=named).apply(tmp_path / "none")


def test_a_table_whose_labels_or_rows_changed(tmp_path: Path) -> None:
    source = table(tmp_path / "set", TEXT)
    audit = audited(source)
    source.write_text(TEXT.replace("img/3.png,cat", "img/3.png,dog"))
    with pytest.raises(SourceError, match=r"another label of 1 samples, .*3\.png"):
        audit.apply(tmp_path / "clean")
    head, *lines = TEXT.splitlines()
    source.write_text("\n".join([head, *lines[::-1]]))
    with pytest.raises(SourceError, match="in another order"):
        audit.apply(tmp_path / "clean")
    with pytest.raises(SettingError, match="a table of paths: link or copy"):
        audited(source).apply(tmp_path / "clean", "move")


def test_a_parquet_table_of_paths(tmp_path: Path) -> None:
    source = table(tmp_path / "set", "", name="data.parquet")
    frame = pd.DataFrame(
        {"path": [f"img/{i}.png" for i in range(6)], "label": list("aabbab"), "weight": np.arange(6.0)}
    )
    frame.to_parquet(source, index=False)
    audited(source, drop=[2], relabel={5: "a"}).apply(tmp_path / "clean")
    frame.loc[5, "label"] = "a"
    found = pd.read_parquet(tmp_path / "clean" / "data.parquet")
    pd.testing.assert_frame_equal(found, frame.drop(index=2).reset_index(drop=True))
    assert (tmp_path / "clean" / "img" / "0.png").is_file()


def shown(n: int = 6) -> Any:
    """A Hugging Face data set of images with named classes."""
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "weight": datasets.Value("float32"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    made = {
        "image": [Image.fromarray(pixels(i)) for i in range(n)],
        "weight": [i / 4 for i in range(n)],
        "label": [i % 2 for i in range(n)],
    }
    return datasets.Dataset.from_dict(made, features=features)


def plain(dataset: Any) -> list[tuple[bytes, float, int]]:
    return [(row["image"].tobytes(), row["weight"], row["label"]) for row in dataset]


def test_a_saved_data_set(tmp_path: Path) -> None:
    dataset = shown()
    dataset.save_to_disk(str(tmp_path / "saved"))
    audited(tmp_path / "saved", drop=[0, 4], relabel={3: "cat"}).apply(tmp_path / "clean")
    found = datasets.load_from_disk(str(tmp_path / "clean"))
    expected = [row for i, row in enumerate(plain(dataset)) if i not in (0, 4)]
    expected[2] = (*expected[2][:2], 0)
    assert plain(found) == expected
    assert found.features == dataset.features
    with pytest.raises(SourceError, match="must be one of cat, dog, got 'owl'"):
        audited(tmp_path / "saved", relabel={3: "owl"}).apply(tmp_path / "none")
    dataset.select([0, 1, 2, 3, 5, 4]).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(SourceError, match="another label of 2 samples, index 4, index 5"):
        audited(tmp_path / "saved").apply(tmp_path / "none", source=tmp_path / "other")


def test_shards_of_a_table_with_images(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    dataset = shown(7)
    for shard, part in enumerate((range(4), range(4, 7))):
        dataset.select(part).to_parquet(tmp_path / "set" / f"train-{shard:05}-of-00002.parquet")
    pattern = tmp_path / "set" / "train-*.parquet"
    audited(pattern, drop=[1, 6], relabel={4: "dog"}).apply(tmp_path / "clean")
    again = open_source(str(tmp_path / "clean" / "train-*.parquet"))
    kept = [0, 2, 3, 4, 5]
    assert list(again.labels or ()) == [1 if i == 4 else i % 2 for i in kept]
    assert again.class_names == ("cat", "dog")
    images: Any = again.dataset
    assert [images[k][0].tobytes() for k in range(5)] == [pixels(i).tobytes() for i in kept]
    assert len(files(tmp_path / "clean")) == 4  # and the lists


@pytest.mark.parametrize(
    ("labels", "new", "expected"),
    [
        (np.array([0, 1, 0, 1, 1]), "0", 0),
        (np.array(["cat", "dog", "cat", "dog", "dog"]), "a longer word", "a longer word"),
        (np.array([0.5, 1.25, 2, 3, 4]), "7.5", 7.5),
        (np.eye(2)[[0, 1, 0, 1, 1]].astype(np.uint8), "0", [1, 0]),
    ],
)
def test_arrays(labels: Any, new: str, expected: Any, tmp_path: Path) -> None:
    arrays = {
        "images": np.stack([pixels(i) for i in range(5)]),
        "labels": labels,
        "extra": np.arange(5),
        "mean": np.ones(3),
    }
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    audit = audited(tmp_path / "data.npz", drop=[0], relabel={3: new})
    done = audit.apply(tmp_path / "clean")
    assert done.notes == ("copied whole, as they do not have one row for each sample: mean",)
    with np.load(tmp_path / "clean" / "data.npz") as found:
        assert set(found.files) == set(arrays)
        for name in ("images", "extra"):
            np.testing.assert_array_equal(found[name], arrays[name][1:])
        np.testing.assert_array_equal(found["mean"], arrays["mean"])
        changed = labels.tolist()
        changed[3] = expected
        assert found["labels"].tolist() == changed[1:]
        assert found["labels"].dtype.kind == labels.dtype.kind


def test_embeddings_and_a_file_that_changed(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", embeddings=vectors)
    audit = audited(tmp_path / "data.npz", drop=[2])
    audit.apply(tmp_path / "clean")
    with np.load(tmp_path / "clean" / "data.npz") as found:
        np.testing.assert_array_equal(found["embeddings"], vectors[[0, 1, 3, 4]])
    np.savez(tmp_path / "data.npz", embeddings=vectors + (np.arange(5)[:, None] == 4))
    with pytest.raises(SourceError, match="another content of 1 samples, index 4"):
        audit.apply(tmp_path / "none")
    np.savez(tmp_path / "data.npz", embeddings=vectors[:4])
    with pytest.raises(SourceError, match="it holds 4 samples, the audit 5"):
        audit.apply(tmp_path / "none")


def test_a_folder_of_tables_with_images(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    shown(4).to_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet")
    audit = audited(tmp_path / "set", drop=[2])
    with pytest.raises(SettingError, match="must not be a part of the audited one"):
        audit.apply(tmp_path / "set" / "clean")
    audit.apply(tmp_path / "clean")
    assert list(open_source(str(tmp_path / "clean")).labels or ()) == [0, 1, 1]


def test_a_table_of_the_name_of_a_list_is_refused(tmp_path: Path) -> None:
    source = table(tmp_path / "set", TEXT, "dropped.csv")
    with pytest.raises(SettingError, match=r"dropped.csv is a name of a list that is written: give the file of the so"):
        audited(source, drop=[1]).apply(tmp_path / "clean")
    assert not (tmp_path / "clean").exists()
