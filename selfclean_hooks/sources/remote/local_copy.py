"""Whatever fsspec opens (s3://, gs://, hf://, https://), as a copy on this machine that is brought up to date."""

from __future__ import annotations

import json
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.remote.archives import archives_at, unpack
from selfclean_hooks.sources.remote.urls import (
    WEB,
    folder_of,
    is_url,
    names_below,
    numbered,
    without_query,
    without_secrets,
)
from selfclean_hooks.utils.files import alone, remove_leftovers, temporary, write, writing
from selfclean_hooks.utils.text import Tick, bar

FOLDER = "SELFCLEAN_HOOKS_DOWNLOADS"  # the variable of the environment
INDEX = "index"  # a file for each copy: name -> its size and tag; not in the copy, where a store's own might lie
UNPACKED = "unpacked"  # the folder of what archives held
NAME = re.compile(r"[\w.-]+")  # of a split
AT_ONCE = 16  # downloads
STALLED = 60.0  # seconds without a byte from a web server
State = dict[str, list[Any]]


def local_copy(source: str | os.PathLike[str], progress: bool = True) -> str:
    """The path of a data set that lies elsewhere, after it was copied to this machine.

        data = ImageFolder(local_copy("s3://bucket/photos"))

    Only files that are new or changed there (by size, and by the tag or time where the store has one) are fetched;
    those that are gone there are removed. Archives (.zip, .tar, .tar.gz), here or elsewhere, are unpacked; of shards
    of a webdataset, as "shards/*.tar" or "shards-{000..009}.tar", this is a table of images and their labels. Copies
    lie in the folder that the variable SELFCLEAN_HOOKS_DOWNLOADS of the environment names, by default
    ~/.cache/selfclean_hooks/downloads.

    Args:
        source: a URL that fsspec opens, of a folder, a file or a pattern of files; or a path. Anything else, and what
            is a folder or a file already, is returned as it is.
        progress: show a progress bar.

    Raises:
        SourceError: it cannot be read, holds nothing, or its protocol needs a package that is not installed.
    """
    text = os.fspath(source)
    copies = [_here(each, progress) for each in numbered(text)]
    archives = [archives_at(copy) for copy in copies]
    if all(archives):
        return unpack([file for files in archives for file in files], downloads() / UNPACKED, progress)
    return copies[0] if is_url(text) and len(copies) == 1 else text


def _here(text: str, progress: bool) -> str:
    return _download(text, progress) if is_url(text) else os.path.expanduser(text)


def local_sources(texts: Sequence[str], progress: bool) -> list[str]:
    """SOURCE or NAME=SOURCE as on the command line, each with the `local_copy` of it."""
    found = []
    for text in texts:
        name, sign, source = text.partition("=")
        is_named = bool(sign) and NAME.fullmatch(name) is not None and not os.path.exists(text)
        found.append(f"{name}={local_copy(source, progress)}" if is_named else local_copy(text, progress))
    return found


def downloads() -> Path:
    """The folder of all copies."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return Path(os.environ.get(FOLDER) or os.path.join(cache, "selfclean_hooks", "downloads")).expanduser()


def _download(url: str, progress: bool) -> str:
    """The path, or the pattern, of the copy of a URL."""
    is_web, protocol = url.startswith(WEB), url.partition("://")[0]
    with _reading(url):
        files, root = _opened(url, protocol)
        listed, base = _listing(files, root.rstrip("/"), is_web, progress)
    below = {path: os.path.join(*names) for path in listed if (names := names_below(path, base, is_web))}
    if not below:
        raise SourceError(
            f"{without_secrets(url)}: wanted a folder with files, or a file, found none there: check the URL, and that "
            "it can be reached from here"
        )
    place = downloads().joinpath(protocol.replace("::", "-"), *folder_of(base, is_web))
    wanted = {path: (name, listed[path]) for path, name in below.items()}
    _update(files, wanted, place, url, base == root.rstrip("/"), progress)
    if "*" in root:
        return os.path.join(place, root[len(base) :].strip("/"))
    return str(place if base == root.rstrip("/") else place / below[root.rstrip("/")])


def _opened(url: str, protocol: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec

    name = protocol.rpartition("::")[2]
    if name not in ("http", "https"):
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    from aiohttp import ClientTimeout

    # as it comes, whatever takes more than five minutes is cut off, and what stalls is waited for as long
    timeout = ClientTimeout(total=None, sock_connect=STALLED, sock_read=STALLED)
    configured = fsspec.config.conf.get(name, {}).get("client_kwargs", {})
    return fsspec.core.url_to_fs(url, **{name: {"client_kwargs": {"timeout": timeout, **configured}}})  # type: ignore[no-any-return]


def _listing(files: Any, root: str, is_web: bool, progress: bool) -> tuple[dict[str, list[Any]], str]:
    """The files at a URL with what tells their versions, and the folder that they are in."""
    bare, query = without_query(root) if is_web else (root, "")
    parent = bare.rpartition("/")[0]
    if "*" in root:
        found = files.glob(root, detail=True)
        base = root.partition("*")[0].rpartition("/")[0]
    elif (query or os.path.splitext(root)[1]) and files.isfile(root):
        found, base = {root: files.info(root)}, parent
    else:
        found = files.find(root, detail=True)
        base = parent if list(found) == [root] else root  # a file without an ending
    found = {path: info for path, info in found.items() if info.get("type") != "directory"}
    untold = [path for path, info in found.items() if _version(info) == [None, None]]  # listings of web servers
    with ThreadPool(AT_ONCE) as pool, bar("listing", progress) as tick:
        for done, info in enumerate(pool.imap(files.info, untold), 1):
            found[untold[done - 1]] = info
            if tick is not None:
                tick(done, len(untold))
    return {path: _version(info) for path, info in found.items()}, base


def _version(info: Mapping[str, Any]) -> list[Any]:
    tags = (info.get(key) for key in ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "mtime", "created", "CRC"))
    return [info.get("size"), next((str(tag) for tag in tags if tag), None)]


def _update(
    files: Any, listed: Mapping[str, tuple[str, list[Any]]], place: Path, url: str, whole: bool, progress: bool
) -> None:
    """Fetch what is new or changed; of a `whole` folder, remove what is gone. An interrupt loses no file.

    Another process that copies the same is waited for; what it has just copied is not copied again.
    """
    index = downloads() / INDEX / f"{blake2b(str(place).encode(), digest_size=16).hexdigest()}.json"
    asked = time.time()
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
        index.parent.mkdir(exist_ok=True)
    with alone(place, math.inf):
        known = _known(index)
        is_new = index.is_file() and index.stat().st_mtime > asked
        for name in set(known) - {name for name, _ in listed.values()} if whole else ():
            _remove(place / name, place)
            del known[name]
        wanted = {
            path: place / name
            for path, (name, version) in listed.items()
            if known.get(name) != version or not (version[1] or is_new) or not (place / name).is_file()
        }
        try:
            with _reading(url), bar(f"copying {without_secrets(url)}", progress) as tick:
                for done, path in enumerate(_fetched(files, wanted, tick), 1):
                    name, known[name] = listed[path]
                    if tick is not None:
                        tick(done, len(wanted))
        finally:
            write(index, json.dumps(known).encode())


def _known(index: Path) -> State:
    try:
        known: State = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remove(file: Path, place: Path) -> None:
    """Remove a file of the copy, and the folders that it leaves empty: a class without images is none."""
    file.unlink(missing_ok=True)
    with suppress(OSError):  # it holds others
        for folder in file.parents[: len(file.relative_to(place).parts) - 1]:
            folder.rmdir()


def _fetched(files: Any, wanted: Mapping[str, Path], tick: Tick | None) -> Iterator[str]:
    """The paths, each once its copy is there; of one file alone its bytes are counted meanwhile."""
    import fsspec

    is_over, news = threading.Event(), {path: temporary(target.parent, "tmp") for path, target in wanted.items()}

    def check(size: int | None, value: int, **_: Any) -> None:
        if is_over.is_set():
            raise InterruptedError
        if tick is not None and len(wanted) == 1 and size:
            tick(value, size)

    def fetch(path: str) -> str:
        try:
            files.get_file(path, str(news[path]), callback=fsspec.Callback(hooks={"check": check}))
            os.replace(news[path], wanted[path])
        finally:
            news[path].unlink(missing_ok=True)
        return path

    for folder in {target.parent for target in wanted.values()}:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    with ThreadPool(AT_ONCE) as pool:  # whose end waits for no thread: an interrupt is heeded while a server stalls
        try:
            yield from pool.imap(fetch, wanted)
        finally:
            is_over.set()
            for new in news.values():
                with suppress(OSError):  # of Windows, where the thread has it open
                    new.unlink(missing_ok=True)


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Whatever a store raises, as one kind."""
    try:
        yield
    except SourceError:
        raise
    except ImportError as error:
        protocol = url.partition("://")[0]
        cure = "pip install 'selfclean-hooks[remote]'" if protocol in ("http", "https") else str(error)
        raise SourceError(
            f"{without_secrets(url)}: {protocol}:// needs a package that is not installed: {cure}"
        ) from error
    except Exception as error:  # each store has exceptions of its own
        why = without_secrets(str(error) or type(error).__name__)
        raise SourceError(
            f"{without_secrets(url)}: cannot be read: {why:.300}; check the URL, and the access to it"
        ) from error
