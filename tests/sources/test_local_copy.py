"""Data that lies elsewhere, or in archives: copied once, brought up to date, and then like any other."""

import http.server
import io
import json
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import known_implementations
from PIL import Image

from selfclean_hooks import local_copy
from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks.sources.remote.local_copy import FOLDER, local_sources
from selfclean_hooks.sources.remote.urls import names_below, without_secrets
from selfclean_hooks.sources.source import Form, open_source
from tests.helpers.image_files import write


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("downloads")
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        files.pipe(f"/bucket/photos/{name}", encoded(name))
    files.pipe("/bucket/labels.csv", b"path\na.png\n")
    yield files
    files.rm("/bucket", recursive=True)


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (sum(name.encode()) % 256, 3, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def names_in(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


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

    def slow(path: str, target: str, **options: Any) -> None:
        time.sleep(0.05)  # the other is waiting by now
        fetched.append(path)
        Path(target).write_bytes(memory.cat(path))

    def untagged(path: str) -> dict[str, Any]:
        return {"name": path, "size": 1, "type": "file"}

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server that lists its folders, as `python -m http.server` does."""
    pytest.importorskip("aiohttp")
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=served.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def test_a_web_server(server: str, tmp_path: Path) -> None:
    for name in ("my cat/1.png", "my cat/2.png", "dog/1.png"):
        write(tmp_path / "photos" / name)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(tmp_path / "photos" / "dog" / "1.png", "dog/1.png")
    copy = local_copy(f"{server}/photos/", progress=False)
    assert names_in(copy) == {"my cat/1.png", "my cat/2.png", "dog/1.png"}
    assert names_in(local_copy(f"{server}/photos.zip", progress=False)) == {"dog/1.png"}
    with pytest.raises(SourceError, match="found none there"):
        local_copy(f"{server}/none.zip", progress=False)


def test_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against moto's server, where moto and s3fs are installed."""
    moto, _ = pytest.importorskip("moto.server"), pytest.importorskip("s3fs")
    boto3 = pytest.importorskip("boto3")
    served = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    try:
        host, port = served.get_host_and_port()
        for name, value in (("ID", "a"), ("", "b")):
            monkeypatch.setenv(f"AWS_{'ACCESS_KEY_ID' if name else 'SECRET_ACCESS_KEY'}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
            client.put_object(Bucket="photos", Key=f"train/{name}", Body=encoded(name))
        copy = local_copy("s3://photos/train", progress=False)
        assert names_in(copy) == {"cat/1.png", "dog/1.png", "dog/2.png"}
        with pytest.raises(SourceError, match="s3://none/train: "):
            local_copy("s3://none/train", progress=False)
    finally:
        served.stop()


def test_secrets_of_a_web_server_are_not_kept(server: str, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"1.png": encoded("1")}))
    host = server.partition("://")[2]
    for text in (f"http://me:secret@{host}/a.zip", f"{server}/a.zip?sig=secret/1", f"{server}/a.zip#secret/2"):
        assert names_in(local_copy(text, progress=False)) == {"1.png"}
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert not [path for path in kept if "secret" in str(path) or b"secret" in path.read_bytes()]
    assert len([path for path in kept if path.name == "a.zip"]) == 3  # other queries may be of other files
    with pytest.raises(SourceError, match=r"none\.zip") as caught:
        local_copy(f"http://me:secret@{host}/none.zip?sig=secret", progress=False)
    assert "secret" not in str(caught.value)


def zipped(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as shard:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))


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


def test_the_command_line_takes_urls(memory: Any, tmp_path: Path, call: Any) -> None:
    options = ("-o", tmp_path / "out", "--backbone", "tests.sources.detection_backbone:colours", "--no-progress")
    ran = call("audit", "memory://bucket/photos", *options)
    assert ran.status == 0
    assert "memory://bucket/photos is read from its copy, " in ran.err
    applied = call("apply", tmp_path / "out", "--to", tmp_path / "clean", "--mode", "copy")
    assert applied.status == 0
    assert names_in(str(tmp_path / "clean")) >= {"dropped.csv"}
