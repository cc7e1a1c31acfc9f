"""Where data may lie: in the memory of the process, on a web server; and where its copies go."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from selfclean_hooks.sources.remote.local_copy import FOLDER
from tests.sources.remote_files import encoded


@pytest.fixture
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
