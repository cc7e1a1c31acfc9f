"""Data that lies elsewhere: copied once, brought up to date, and then like any other."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fsspec.registry import known_implementations

from selfclean_hooks import local_copy
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks.sources.remote.local_copy import local_sources
from selfclean_hooks.sources.remote.urls import names_below, without_secrets
from selfclean_hooks.utils.files import alone
from tests.sources.remote_files import encoded, names_in, zipped

pytestmark = pytest.mark.usefixtures("cache")


def test_a_folder_elsewhere_is_a_folder_here(memory: Any, cache: Path) -> None:
    copy = local_copy("memory://bucket/photos", progress=False)
    assert Path(copy).is_relative_to(cache)
    assert names_in(copy) == {"cat/1.png", "cat/2.png", "dog/1.png"}
    data = FolderDataset(copy)
    assert (data.classes, data.targets) == (("cat", "dog"), [0, 0, 1])
    assert (Path(copy) / "dog" / "1.png").read_bytes() == encoded("dog/1.png")


def test_only_what_changed_is_fetched_again(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    original = type(memory).get_file

    def counted(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        fetched.append(path)
        return original(self, path, *arguments, **options)

    monkeypatch.setattr(type(memory), "get_file", counted)
    copy = local_copy("memory://bucket/photos", progress=False)
    assert len(fetched) == 3
    fetched.clear()
    assert local_copy("memory://bucket/photos/", progress=False) == copy
    assert fetched == []
    memory.pipe("/bucket/photos/cat/1.png", encoded("other"))
    memory.pipe("/bucket/photos/owl/3.png", encoded("owl"))
    memory.rm("/bucket/photos/dog/1.png")
    (Path(copy) / "cat" / "2.png").unlink()
    (Path(copy) / "mine.txt").write_text("stays")
    assert local_copy("memory://bucket/photos", progress=False) == copy
    assert sorted(fetched) == [f"/bucket/photos/{name}" for name in ("cat/1.png", "cat/2.png", "owl/3.png")]
    assert names_in(copy) == {"cat/1.png", "cat/2.png", "owl/3.png", "mine.txt"}
    assert (Path(copy) / "cat" / "1.png").read_bytes() == encoded("other")


def test_what_is_gone_leaves_no_empty_folder(memory: Any, cache: Path) -> None:
    """An empty folder would be a class, and in the way of a file of its name."""
    memory.pipe("/bucket/photos/owl/young/1.png", encoded("owl"))
    copy = Path(local_copy("memory://bucket/photos", progress=False))
    (copy / "cat" / "mine.txt").write_text("stays")
    memory.rm("/bucket/photos", recursive=True)
    memory.pipe("/bucket/photos/owl", encoded("file"))
    local_copy("memory://bucket/photos", progress=False)
    assert names_in(str(copy)) == {"owl", "cat/mine.txt"}
    assert not (copy / "dog").exists()


@pytest.mark.parametrize("content", ["null", "[1]", '"a"', '{"cat/1.png": 5}', "{", ""])
def test_a_damaged_index_is_made_anew(content: str, memory: Any, cache: Path) -> None:
    local_copy("memory://bucket/photos", progress=False)
    (index,) = (cache / "index").iterdir()
    whole = index.read_text()
    index.write_text(content)
    local_copy("memory://bucket/photos", progress=False)
    assert json.loads(index.read_text()) == json.loads(whole)


def test_files_and_patterns(memory: Any) -> None:
    table = local_copy("memory://bucket/labels.csv", progress=False)
    assert Path(table).read_bytes() == b"path\na.png\n"
    pattern = local_copy("memory://bucket/photos/cat/*.png", progress=False)
    assert pattern.endswith("photos/cat/*.png")
    assert len(list(Path(pattern).parent.glob("*.png"))) == 2
    assert Path(table).is_file()


def test_a_file_without_an_ending(memory: Any) -> None:
    memory.pipe("/bucket/photo", b"one")
    copy = Path(local_copy("memory://bucket/photo", progress=False))
    assert (copy.name, copy.read_bytes()) == ("photo", b"one")


def test_who_copies_at_the_same_time_copies_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from a store that knows no versions, whose files are otherwise fetched each time."""
    memory.pipe("/bucket/photos.zip", zipped({"cat/1.png": encoded("1")}))
    fetched: list[str] = []
    asking = threading.Barrier(2, timeout=60)

    def after_both_asked(*arguments: Any) -> Any:
        asking.wait()
        return alone(*arguments)

    def slow(path: str, target: str, **options: Any) -> None:
        time.sleep(0.05)  # what is written now is newer, by clocks of file systems as well
        fetched.append(path)
        Path(target).write_bytes(memory.cat(path))

    def untagged(path: str) -> dict[str, Any]:
        return {"name": path, "size": 1, "type": "file"}

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr("selfclean_hooks.sources.remote.local_copy.alone", after_both_asked)
        patch.setattr(type(memory), "get_file", lambda self, *arguments, **options: slow(*arguments, **options))
        patch.setattr(type(memory), "info", lambda self, path, **options: untagged(path))
        copies = list(pool.map(lambda _: local_copy("memory://bucket/photos.zip", progress=False), range(2)))
    assert copies[0] == copies[1]
    assert names_in(copies[0]) == {"cat/1.png"}
    assert len(fetched) == 1


def test_an_error_waits_for_no_other_file(memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_begun = threading.Barrier(3, timeout=60)

    def endless(self: Any, path: str, target: str, callback: Any, **options: Any) -> None:
        Path(target).touch()
        all_begun.wait()
        if path.endswith("cat/1.png"):
            raise ConnectionError("reset by peer")
        while True:
            callback.relative_update(1)
            time.sleep(0.001)

    monkeypatch.setattr(type(memory), "get_file", endless)
    with pytest.raises(SourceError, match="reset by peer"):
        local_copy("memory://bucket/photos", progress=False)
    assert not names_in(str(cache / "memory"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@host/a.zip", "https://...@host/a.zip"),
        ("zip://*.png::https://me@host/a.zip", "zip://*.png::https://...@host/a.zip"),
        ("403 at https://host/a.zip?X-Sig=pw&b='1', again", "403 at https://host/a.zip?...'1', again"),
        ("https://host/a@2.zip and s3://bucket/a?.png", "https://host/a@2.zip and s3://bucket/a?.png"),
        ("https://host/a.zip#pw", "https://host/a.zip?..."),
    ],
)
def test_secrets_of_urls_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("path", "is_web", "names"),
    [
        ("http://host/p/my%20cat/1.png", True, ["my cat", "1.png"]),
        ("http://host/p", True, []),
        ("http://host/p/", True, []),
        ("http://host/p/?C=N;O=D", True, []),
        ("http://host/p/sub/?C=N;O=D", True, []),
        ("http://host/p/..%2F..%2Fevil.png", True, ["..%2F..%2Fevil.png"]),
        ("http://host/p/cat/1.png?v=2", True, ["cat", "ad8b69388decbcb6", "1.png"]),
        ("http://host/p/a?.png", False, ["a?.png"]),
    ],
)
def test_names_of_copies(path: str, is_web: bool, names: list[str]) -> None:
    assert [name.replace("%3F", "?") for name in names_below(path, "http://host/p", is_web)] == names


def test_names_never_lead_out_of_the_copy(memory: Any, cache: Path) -> None:
    memory.store["/bucket/odd/../../evil.png"] = memory.store["/bucket/photos/cat/1.png"]
    before = set(cache.parent.rglob("*evil*"))  # of other tests
    memory.pipe("/bucket/odd/a b%41.png", encoded("odd"))
    try:
        copy = local_copy("memory://bucket/odd", progress=False)
        assert "a b%2541.png" in names_in(copy)
        assert all(path.is_relative_to(cache) for path in set(cache.parent.rglob("*evil*")) - before)
    finally:
        memory.store.pop("/bucket/odd/../../evil.png", None)


def test_what_cannot_be_read_is_a_sentence(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, why in (
        ("memory://bucket/none", "found none there|cannot be read"),
        ("nosuch://bucket", "nosuch://bucket: cannot be read: Protocol not known: nosuch"),
    ):
        with pytest.raises(SourceError, match=why):
            local_copy(url, progress=False)
    monkeypatch.setitem(known_implementations, "far", {"class": "no_module.Far", "err": "install far"})
    with pytest.raises(SourceError, match="far:// needs a package that is not installed: install far"):
        local_copy("far://bucket", progress=False)

    def broken(self: Any, path: str, *arguments: Any, **options: Any) -> None:
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(type(memory), "get_file", broken)
    with pytest.raises(SourceError, match=r"memory://bucket/photos: cannot be read: reset by peer; check the URL"):
        local_copy("memory://bucket/photos", progress=False)


def test_paths_and_code_are_left_as_they_are(tmp_path: Path) -> None:
    for text in (str(tmp_path), "no/such", "module:attribute", "~", "data/*.parquet"):
        assert local_copy(text) == text
    assert local_sources([f"train={tmp_path}", "val=no/such"], False) == [f"train={tmp_path}", "val=no/such"]


def test_the_command_line_takes_urls(memory: Any, tmp_path: Path, call: Any) -> None:
    options = ("-o", tmp_path / "out", "--backbone", "tests.sources.detection_backbone:colours", "--no-progress")
    ran = call("audit", "memory://bucket/photos", *options)
    assert ran.status == 0
    assert "memory://bucket/photos is read from its copy, " in ran.err
    applied = call("apply", tmp_path / "out", "--to", tmp_path / "clean", "--mode", "copy")
    assert applied.status == 0
    assert names_in(str(tmp_path / "clean")) >= {"dropped.csv"}
