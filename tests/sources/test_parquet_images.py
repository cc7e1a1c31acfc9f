"""Parquet files that hold images, alone and as the splits of a snapshot of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks.cli.audit_sources import named_sources
from selfclean_hooks.sources.source import open_source
from tests.data.test_stored_images import png
from tests.helpers.image_files import noisy, refused, write

datasets, pa, pq = (pytest.importorskip(name) for name in ("datasets", "pyarrow", "pyarrow.parquet"))


def shard(path: Path, seeds: range, label: str = "label") -> None:
    names = datasets.ClassLabel(names=["fern", "moss"])
    features = datasets.Features({"image": datasets.Image(), label: names})
    columns = {"image": [noisy(seed) for seed in seeds], label: [seed % 2 for seed in seeds]}
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=features).to_parquet(path)


@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_images_and_names_of_classes_are_read(tmp_path: Path, label: str) -> None:
    shard(tmp_path / "x.parquet", range(3), label)
    source = open_source(str(tmp_path / "x.parquet"))
    assert (source.class_names, source.labels) == (("fern", "moss"), [0, 1, 0])
    assert source.dataset is not None
    for seed in range(3):
        image, code = source.dataset[seed]
        assert code == seed % 2
        assert np.array_equal(np.asarray(image), np.asarray(noisy(seed)))


def test_columns_of_bytes_and_of_paths_in_structs(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", noisy(8))
    pq.write_table(pa.table({"img": [png(noisy(7)), b"broken"], "y": ["p", "q"]}), tmp_path / "b.parquet")
    source = open_source(str(tmp_path / "b.parquet"))
    assert source.dataset is not None
    assert source.class_names == ("p", "q")
    assert np.array_equal(np.asarray(source.dataset[0][0]), np.asarray(noisy(7)))
    with pytest.raises(OSError, match="6 bytes cannot be read as an image"):
        source.dataset[1]
    structs = [{"bytes": None, "path": "in/a.png"}, {"bytes": None, "path": None}]
    pq.write_table(pa.table({"image": structs}), tmp_path / "s.parquet")
    source = open_source(str(tmp_path / "s.parquet"))
    assert source.dataset is not None
    assert np.array_equal(np.asarray(source.dataset[0][0]), np.asarray(noisy(8)))
    with pytest.raises(OSError, match="neither the bytes nor the path"):
        source.dataset[1]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            {
                "data/train-00000-of-00002.parquet": 4,
                "data/train-00001-of-00002.parquet": 3,
                "data/test-00000-of-00001-0af3.parquet": 2,
            },
            {"train": 7, "test": 2},
        ),
        ({"train.parquet": 3, "validation.parquet": 2}, {"train": 3, "validation": 2}),
        (
            {"default/train/0000.parquet": 2, "default/train/0001.parquet": 2, "default/dev/0000.parquet": 3},
            {"train": 4, "dev": 3},
        ),
    ],
)
def test_a_snapshot_of_the_hub_is_audited_as_splits(
    tmp_path: Path, files: dict[str, int], splits: dict[str, int]
) -> None:
    root = tmp_path / "a [1]"
    for name, count in files.items():
        shard(root / name, range(count))
    (root / "README.md").write_text("# data\n")
    named = named_sources([str(root)])
    assert list(named) == list(splits)
    assert {name: len(open_source(text).labels or ()) for name, text in named.items()} == splits
    assert "holds several tables: give one, or name them as splits: " in refused(root)


def test_a_folder_with_one_table_is_that_table(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "train-00000-of-00001.parquet", range(3))
    assert named_sources([str(tmp_path)]) == {"": str(tmp_path)}
    assert open_source(str(tmp_path)).labels == [0, 1, 0]


def test_shards_that_differ_and_tables_without_rows_are_refused(tmp_path: Path) -> None:
    shard(tmp_path / "t-00000-of-00002.parquet", range(2))
    shard(tmp_path / "t-00001-of-00002.parquet", range(2), "other")
    assert "t-00001-of-00002.parquet: wanted the columns of" in refused(tmp_path)
    empty: Any = pa.table({"image": pa.array([], pa.binary())})
    pq.write_table(empty, tmp_path / "e.parquet")
    assert "the table has no rows" in refused(tmp_path / "e.parquet")
