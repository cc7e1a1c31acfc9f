"""URLs of data sets: which texts are some, what may be printed of them, and the names that their files get here."""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from urllib.parse import quote, unquote

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[A-Za-z][A-Za-z0-9+.-]*)*://")
SAFE = " !#$&'()+,-.;=@[]^_`{}~"  # in names of files, everywhere but in Windows
NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")  # of shards, as a webdataset has them
MOST = 100_000
WEB = ("http://", "https://")
USER = re.compile(r"(?<=://)[^/?#\s]*@")  # and password
QUERY = re.compile(r"(https?://[^\s?#'\"]*)[?#][^\s'\"]*")  # holds the signature of a URL that was signed


def is_url(text: str) -> bool:
    """Whether it is one, and no file of that name."""
    return URL.match(text) is not None and not os.path.exists(text)


def without_secrets(text: str) -> str:
    """A text with URLs as it may be printed and saved: without users, passwords and queries."""
    return QUERY.sub(r"\1?...", USER.sub("...@", text))


def without_query(url: str) -> tuple[str, str]:
    """A URL of the web up to its query or fragment, and these."""
    bare = re.split("[?#]", url, maxsplit=1)[0]
    return bare, url[len(bare) :].strip("?")


def numbered(text: str) -> list[str]:
    """The names that shards-{000..002}.tar stands for; any other text alone."""
    found = NUMBERS.search(text)
    if found is None or os.path.exists(text):
        return [text]
    first, last = found.groups()
    numbers = range(int(first), min(int(last), int(first) + MOST) + 1)
    return [text.replace(found[0], str(number).zfill(len(first))) for number in numbers] or [text]


def folder_of(base: str, is_web: bool) -> list[str]:
    """The parts of the folder that the copy of a URL's folder is kept in, below that of its protocol."""
    within = base.partition("://")[2] or base
    return _names(USER.sub("", f"://{within}")[3:] if is_web else within, is_web)


def names_below(path: str, base: str, is_web: bool) -> list[str]:
    """The parts of the name of a file's copy below that of its folder; none where the path is the folder's own.

    A query is part of what a web server is asked for, and may hold a secret: a folder beside the file stands for it.
    """
    bare, query = without_query(path) if is_web else (path, "")
    if not bare[len(base) :] or bare.endswith("/"):  # "?C=N;O=D" is a link of Apache to the folder in another order
        return []
    *folders, name = _names(bare[len(base) :], is_web)
    return [*folders, blake2b(query.encode(), digest_size=8).hexdigest(), name] if query else [*folders, name]


def _names(path: str, is_web: bool) -> list[str]:
    """The parts of a path as names of files, whatever the store allows in them."""
    parts = [unquote(part) if is_web else part for part in path.split("/") if part]
    return [quote(part, safe=SAFE) if part.strip(".") else part.replace(".", "%2E") for part in parts]
