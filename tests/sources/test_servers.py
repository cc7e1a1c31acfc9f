"""Data on web servers and in buckets."""

import zipfile
from pathlib import Path

import pytest

from selfclean_hooks import local_copy
from selfclean_hooks.errors import SourceError
from tests.helpers.image_files import write
from tests.sources.remote_files import encoded, names_in, zipped

pytestmark = pytest.mark.usefixtures("cache")


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
