"""Data in archives and shards: unpacked once, and nowhere else."""

import shutil
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from selfclean_hooks import local_copy
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.source import Form, open_source
from tests.sources.remote_files import encoded, names_in, tar, zipped

pytestmark = pytest.mark.usefixtures("cache")


def test_shards_are_a_table_of_images_and_labels(tmp_path: Path) -> None:
    for number in range(2):
        sample = {f"{number}{i}.png": encoded(f"{number}{i}") for i in range(2)}
        labels = {f"{number}{i}.cls": (b"7" if i else b"3") for i in range(2)}
        tar(tmp_path / f"train-{number}.tar", {**sample, **labels, f"{number}0.json": b"{}"})
    for text in (str(tmp_path), f"{tmp_path}/train-*.tar", f"{tmp_path}/train-{{0..1}}.tar"):
        source = open_source(local_copy(text, progress=False))
        assert source.form is Form.table
        assert source.labels == [3, 7, 3, 7]
        assert [source.dataset[i][0].getpixel((0, 0))[0] for i in range(4)] == [  # type: ignore[index]
            sum(name.encode()) % 256 for name in ("00", "01", "10", "11")
        ]
    assert local_copy(f"{tmp_path}/train-{{0..2}}.tar") == f"{tmp_path}/train-{{0..2}}.tar"  # one is not there
    one = open_source(local_copy(str(tmp_path / "train-1.tar"), progress=False))
    assert one.labels == [3, 7]


@pytest.mark.parametrize("ending", ["zip", "tar", "tgz"])
def test_an_archive_of_class_folders_is_that_folder(ending: str, tmp_path: Path, cache: Path) -> None:
    members = {name: encoded(name) for name in ("all/cat/1.png", "all/dog/1.png", "all/dog/2.png")}
    path = tmp_path / f"photos.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        tar(path, members)
    copy = local_copy(str(path), progress=False)
    assert open_source(copy).labels == [0, 1, 1]
    assert local_copy(str(path), progress=False) == copy
    assert len(list((cache / "unpacked").iterdir())) == 1


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png"])
def test_an_archive_writes_nowhere_else(name: str, tmp_path: Path, cache: Path) -> None:
    tar(tmp_path / "bad.tar", {name: b"x"})
    with pytest.raises(SourceError, match=r"bad.tar: cannot be unpacked") if name.startswith("..") else nullcontext():
        local_copy(str(tmp_path / "bad.tar"), progress=False)
    assert not list(cache.parent.glob("evil*"))
    assert not Path("/tmp/evil.png").exists()
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(SourceError, match=r"broken.zip: cannot be unpacked: BadZipFile"):
        local_copy(str(tmp_path / "broken.zip"), progress=False)


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_an_archive_of_which_only_the_beginning_can_be_read(damage: str, tmp_path: Path, cache: Path) -> None:
    """Python's tarfile takes either for the end."""
    path = tmp_path / "photos.tar"
    tar(path, {f"{i}.png": b"x" for i in range(4)})
    content, half = path.read_bytes(), 2 * 1024  # a member has a head and its content, of 512 bytes each
    path.write_bytes(content[:half] if damage == "cut off" else content[:half] + b"?" * 512 + content[half + 512 :])
    with pytest.raises(SourceError, match=r"photos\.tar: cannot be unpacked: .*; fetch it again"):
        local_copy(str(path), progress=False)
    assert not names_in(str(cache / "unpacked"))


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_an_archive_of_more_than_the_disk_holds(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, members = tmp_path / f"photos.{ending}", {"1.png": bytes(3000)}
    path.write_bytes(zipped(members)) if ending == "zip" else tar(path, members)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2999))
    with pytest.raises(SourceError, match=r"its files take 0\.0 GiB, and 0\.0 GiB are free in "):
        local_copy(str(path), progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3000))
    assert names_in(local_copy(str(path), progress=False)) == {"1.png"}


def test_labels_of_shards_must_be_text(tmp_path: Path) -> None:
    tar(tmp_path / "shard.tar", {"1.png": encoded("1"), "1.cls": b"\xff\xfe"})
    with pytest.raises(SourceError, match=r"shard\.tar: cannot be unpacked: .*1\.cls must hold a label as text"):
        local_copy(str(tmp_path / "shard.tar"), progress=False)
