"""Copies of URLs and archives are shown under the names of where they come from, and found where they lie."""

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import Audit, SplitsAudit
from selfclean_hooks.results.display_names import files_of, renamed
from selfclean_hooks.sources.remote.local_copy import FOLDER
from selfclean_hooks.sources.remote.origins import origins_of
from tests.helpers.command_line import Call

OPTIONS = ("--backbone", "tests.sources.detection_backbone:colours", "--no-progress")
NAMES = [f"{kind}/{i}.png" for kind in ("cat", "dog") for i in range(8)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders of images, two of which are equal."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)).save(path)
    shutil.copy(tmp_path / "photos" / NAMES[0], tmp_path / "photos" / NAMES[1])
    return tmp_path / "photos"


@pytest.fixture
def memory(photos: Path) -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    for name in NAMES:
        for split in ("train", "val"):
            files.pipe(f"/bucket/{split}/{name}", (photos / name).read_bytes())
    files.pipe("/bucket/listed/table.csv", b"path,label\n")
    yield files
    files.rm("/bucket", recursive=True)


def shows_no_copy(folder: Path, cache: Path) -> bool:
    """Whether only the manifest, which `apply` reads, names the cache."""
    shown = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".csv", ".txt", ".html", ".json")]
    assert {path.name for path in shown} >= {"samples.csv", "pairs.csv", "report.html", "clean_files.txt"}
    return not any(str(cache).encode() in path.read_bytes() for path in shown if path.name != "manifest.json")


def test_a_url_is_shown_and_its_copy_is_applied(memory: Any, tmp_path: Path, cache: Path, call: Call) -> None:
    ran = call("audit", "memory://bucket/train", "-o", tmp_path / "out", "--format", "json", *OPTIONS)
    assert ran.status == 0
    assert str(cache) not in ran.out
    assert "memory://bucket/train/cat/0.png" in ran.out
    assert shows_no_copy(tmp_path / "out", cache)
    audit = Audit.load(tmp_path / "out")
    assert audit.provenance["dataset"]["name"] == "memory://bucket/train"
    assert audit.names is not None
    assert audit.names[:2] == ("memory://bucket/train/cat/0.png", "memory://bucket/train/cat/1.png")
    files = files_of(audit)
    assert files is not None
    assert all(Path(file).is_relative_to(cache) and Path(file).is_file() for file in files)
    assert call("gate", tmp_path / "out", "--max-near-duplicates", "0").status == 1
    applied = call("apply", tmp_path / "out", "--to", tmp_path / "clean", "--mode", "copy")
    assert applied.status == 0
    assert "memory://bucket/train/cat/1.png" in (tmp_path / "clean" / "dropped.csv").read_text()
    assert (tmp_path / "clean" / "cat" / "0.png").is_file()
    assert call("export", tmp_path / "out", "--to", "fiftyone", "-o", tmp_path / "fo").status == 0
    samples = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert all(Path(sample["filepath"]).is_file() for sample in samples)


def test_a_copy_that_is_gone_is_fetched_again_by_its_url(memory: Any, tmp_path: Path, cache: Path, call: Call) -> None:
    assert call("audit", "memory://bucket/train", "-o", tmp_path / "out", *OPTIONS).status == 0
    shutil.rmtree(cache)
    refused = call("apply", tmp_path / "out", "--to", tmp_path / "clean")
    assert refused.status == 2
    assert "--source" in refused.err
    again = call("apply", tmp_path / "out", "--to", tmp_path / "clean", "--source", "memory://bucket/train")
    assert again.status == 0


def test_an_archive_is_shown_with_the_paths_in_it(photos: Path, tmp_path: Path, cache: Path, call: Call) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for name in NAMES:
            archive.write(photos / name, name)
    assert call("audit", tmp_path / "photos.zip", "-o", tmp_path / "out", *OPTIONS).status == 0
    assert shows_no_copy(tmp_path / "out", cache)
    names = Audit.load(tmp_path / "out").names
    assert names is not None
    assert names[0] == f"{tmp_path}/photos.zip/cat/0.png"
    assert call("apply", tmp_path / "out", "--to", tmp_path / "clean").status == 0


def test_splits_and_what_they_share(memory: Any, tmp_path: Path, cache: Path, call: Call) -> None:
    sources = ("train=memory://bucket/train", "val=memory://bucket/val")
    ran = call("audit", *sources, "-o", tmp_path / "out", "--format", "markdown", *OPTIONS)
    assert str(cache) not in ran.out
    found = SplitsAudit.load(tmp_path / "out")
    leaks = found.audits["train"].scores.leaks
    assert leaks is not None
    assert leaks.other_names is not None
    assert leaks.other_names[0].startswith("memory://bucket/val/")
    pages = [*(tmp_path / "out").rglob("*.csv"), *(tmp_path / "out").rglob("*.html")]
    assert not any(str(cache).encode() in page.read_bytes() for page in pages)


def test_where_copies_come_from(cache: Path, tmp_path: Path) -> None:
    (cache / "https" / "host" / "photos").mkdir(parents=True)
    (cache / "https" / "host" / "table.parquet").touch()
    (cache / "unpacked" / "train-1").mkdir(parents=True)
    (cache / "unpacked" / "train-1" / "samples.csv").touch()
    host, shards = cache / "https" / "host", cache / "unpacked" / "train-1"
    url = "https://me:secret@host/photos/?key=secret"
    assert origins_of([url], [str(host / "photos")]) == {str(host / "photos"): "https://...@host/photos/?..."}
    assert origins_of(["val=https://host/table.parquet"], [f"val={host}/table.parquet"]) == {
        str(host): "https://host",
        f"{host}/table.parquet": "https://host/table.parquet",
    }
    assert origins_of(["a-{0..9}.tar"], [f"{shards}/samples.csv"])[str(shards)] == "a-{0..9}.tar"
    assert origins_of([str(tmp_path)], [str(tmp_path)]) == {}


def test_names_are_changed_at_the_ends_of_folders_alone() -> None:
    prefixes = {"/c/photos": "s3://photos", "/c/photos/old/": "s3://older"}
    names = ("/c/photos/1.png", "/c/photos2/1.png", "/c/photos", "/c/photos/old/2.png", "x", "", "/c/photos#3")
    assert renamed(names, prefixes) == (
        "s3://photos/1.png",
        "/c/photos2/1.png",
        "s3://photos",
        "s3://older/2.png",
        "x",
        "",
        "s3://photos#3",
    )
