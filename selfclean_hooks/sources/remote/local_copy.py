"""Whatever fsspec opens (s3://, gs://, hf://, https://), as a copy on this machine that is brought up to date."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from selfclean_hooks.errors import SourceError
from selfclean_hooks.sources.remote.archives import archives_at, unpack
from selfclean_hooks.utils.files import temporary, write
from selfclean_hooks.utils.text import bar

FOLDER = "SELFCLEAN_HOOKS_DOWNLOADS"  # the variable of the environment
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
INDEX = "index"  # a file for each copy: name -> its size and tag; not in the copy, where a store's own might lie
SAFE = " !#$&'()+,-.;=@[]^_`{}~"  # in names of files, everywhere but in Windows
NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")  # of shards, as a webdataset has them
MOST = 100_000
NAME = re.compile(r"[\w.-]+")  # of a split
AT_ONCE = 16  # downloads
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
    copies = [_here(each, progress) for each in _numbered(text)]
    archives = [archives_at(copy) for copy in copies]
    if all(archives):
        return unpack([file for files in archives for file in files], downloads() / "unpacked", progress)
    return copies[0] if _is_url(text) and len(copies) == 1 else text


def _is_url(text: str) -> bool:
    return URL.match(text) is not None and not os.path.exists(text)


def _here(text: str, progress: bool) -> str:
    return _download(text, progress) if _is_url(text) else os.path.expanduser(text)


def _numbered(text: str) -> list[str]:
    """The names that shards-{000..002}.tar stands for; any other text alone."""
    found = NUMBERS.search(text)
    if found is None or os.path.exists(text):
        return [text]
    first, last = found.groups()
    numbers = range(int(first), min(int(last), int(first) + MOST) + 1)
    return [text.replace(found[0], str(number).zfill(len(first))) for number in numbers] or [text]


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
    with _reading(url):
        import fsspec

        files, root = fsspec.core.url_to_fs(url)
        listed, base = _listing(files, root.rstrip("/"))
    if not listed:
        raise SourceError(f"{url}: wanted a folder with files, or a file, found none there: check the URL")
    is_web = url.startswith(("http://", "https://"))
    protocol, within = url.partition("://")[0].replace("::", "-"), base.partition("://")[2] or base
    place = downloads().joinpath(protocol, *_names(within, is_web))
    below = {path: os.path.join(*_names(path[len(base) :], is_web)) for path in listed}
    wanted = {path: (below[path], version) for path, version in listed.items()}
    _update(files, wanted, place, url, base == root.rstrip("/"), progress)
    if "*" in root:
        return os.path.join(place, root[len(base) :].strip("/"))
    return str(place if base == root.rstrip("/") else place / below[root.rstrip("/")])


def _listing(files: Any, root: str) -> tuple[dict[str, list[Any]], str]:
    """The files at a URL with what tells their versions, and the folder that they are in."""
    if "*" in root:
        found = files.glob(root, detail=True)
        base = root.partition("*")[0].rpartition("/")[0]
    elif os.path.splitext(root)[1] and files.isfile(root):
        found, base = {root: files.info(root)}, root.rpartition("/")[0]
    else:
        found, base = files.find(root, detail=True), root
    found = {path: info for path, info in found.items() if info.get("type") != "directory"}
    untold = [path for path, info in found.items() if _version(info) == [None, None]]  # listings of web servers
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found |= dict(zip(untold, pool.map(files.info, untold), strict=True))
    return {path: _version(info) for path, info in found.items()}, base


def _version(info: Mapping[str, Any]) -> list[Any]:
    tags = (info.get(key) for key in ("ETag", "etag", "blob_id", "md5Hash", "LastModified", "mtime", "created", "CRC"))
    return [info.get("size"), next((str(tag) for tag in tags if tag), None)]


def _names(path: str, is_web: bool) -> list[str]:
    """The parts of a path as names of files, whatever the store allows in them."""
    parts = [unquote(part) if is_web else part for part in path.split("/") if part]
    return [quote(part, safe=SAFE) if part.strip(".") else part.replace(".", "%2E") for part in parts]


def _update(
    files: Any, listed: Mapping[str, tuple[str, list[Any]]], place: Path, url: str, whole: bool, progress: bool
) -> None:
    """Fetch what is new or changed; of a `whole` folder, remove what is gone. An interrupt loses no file."""
    index = downloads() / INDEX / f"{blake2b(str(place).encode(), digest_size=16).hexdigest()}.json"
    try:
        known: State = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    for name in set(known) - {name for name, _ in listed.values()} if whole else ():
        (place / name).unlink(missing_ok=True)
        del known[name]
    wanted = {
        path: name
        for path, (name, version) in listed.items()
        if known.get(name) != version or version[1] is None or not (place / name).is_file()
    }

    def fetch(path: str) -> str:
        target = place / wanted[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        new = temporary(target.parent, "tmp")
        try:
            files.get_file(path, str(new))
            os.replace(new, target)
        finally:
            new.unlink(missing_ok=True)
        return path

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        with _reading(url), bar(f"copying {url}", progress) as tick:
            for done, path in enumerate(pool.map(fetch, wanted), 1):
                known[wanted[path]] = listed[path][1]
                if tick is not None:
                    tick(done, len(wanted))
    finally:
        pool.shutdown(cancel_futures=True)
        if place.is_dir():
            index.parent.mkdir(exist_ok=True)
            write(index, json.dumps(known).encode())


@contextmanager
def _reading(url: str) -> Iterator[None]:
    """Whatever a store raises, as one kind."""
    try:
        yield
    except ImportError as error:
        protocol = url.partition("://")[0]
        cure = "pip install 'selfclean-hooks[remote]'" if protocol in ("http", "https") else str(error)
        raise SourceError(f"{url}: {protocol}:// needs a package that is not installed: {cure}") from error
    except Exception as error:  # each store has exceptions of its own
        why = str(error) or type(error).__name__
        raise SourceError(f"{url}: cannot be read: {why:.300}; check the URL, and the access to it") from error
