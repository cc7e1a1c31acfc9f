"""Where the copies on this machine come from: the names under which their data is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from selfclean_hooks.sources.remote.local_copy import UNPACKED, downloads
from selfclean_hooks.sources.remote.urls import without_secrets


def origins_of(texts: Sequence[str], copies: Sequence[str]) -> dict[str, str]:
    """Path of a copy, and of the folder of one that is a file: where that comes from, without secrets.

    Args:
        texts: SOURCE or NAME=SOURCE, each.
        copies: what `local_sources` made of them.
    """
    found = {}
    for text, copy in zip(texts, copies, strict=True):
        if text == copy:
            continue
        name = text.partition("=")[0] + "="
        is_named = copy.startswith(name)
        origin = without_secrets(text.removeprefix(name) if is_named else text).rstrip("/")
        path = copy.removeprefix(name) if is_named else copy
        if not os.path.isdir(path):
            is_unpacked = Path(path).is_relative_to(downloads() / UNPACKED)
            found[os.path.dirname(path)] = origin if is_unpacked else origin.rpartition("/")[0]
        if os.path.isdir(path) or found[os.path.dirname(path)] != origin:
            found[path] = origin
    return found
