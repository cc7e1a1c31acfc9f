"""Where a sample lies, as SARIF says it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from selfclean_hooks.report.words import visible

REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def location_of(name: str, split: str, index: int, source: str = "") -> dict[str, Any]:
    """A location of SARIF: the file if there is one, and always split and position.

    Args:
        name: file of the sample, "" where it has none.
        split: its name, "" for one data set.
        index: position in it.
        source: file that holds many samples, to point to where `name` is "".
    """
    logical = {"name": str(index), "fullyQualifiedName": f"{visible(split) or 'samples'}[{index}]", "kind": "sample"}
    location: dict[str, Any] = {"logicalLocations": [logical]}
    if name or source:
        # GitHub leaves out what has no line, so a picture is given its first one
        region = {"startLine": 1}
        location["physicalLocation"] = {"artifactLocation": artifact(name or source), "region": region}
    return location


def artifact(name: str) -> dict[str, str]:
    """The URI of a file: relative to the current folder where it lies below it, else absolute."""
    if REMOTE.match(name):
        return {"uri": quote(_bytes(name), safe="/:?#@!$&'()*+,;=%~")}
    path = Path(os.path.abspath(name))
    if path.is_relative_to(Path.cwd()):
        return {"uri": quote(_bytes(path.relative_to(Path.cwd()).as_posix())), "uriBaseId": "%SRCROOT%"}
    root = "file://" if path.as_posix().startswith("/") else "file:///"  # a drive has no slash before it
    return {"uri": root + quote(_bytes(path.as_posix()), safe="/:")}


def _bytes(name: str) -> bytes:
    """As on the disk, where a name is no valid text."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return name.encode("utf-8", "surrogatepass")
