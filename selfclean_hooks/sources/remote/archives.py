"""Archives as a data set: unpacked into a folder, or, for the shards of a webdataset, a table of images and labels."""

from __future__ import annotations

import csv
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from glob import escape, glob
from hashlib import blake2b
from pathlib import Path

from selfclean_hooks.data.image_files import image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.files import staging_beside, write
from selfclean_hooks.utils.text import bar

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
LABEL = ".cls"  # of a sample of a webdataset, beside its image
TABLE = "samples.csv"


def archives_at(path: str) -> list[str]:
    """The archives that a path names: one, those of a pattern, or those in a folder that holds nothing else."""
    if os.path.isdir(path):
        files = [entry.path for entry in os.scandir(path) if not entry.name.startswith(".")]
    else:
        files = [path] if os.path.isfile(path) or "*" not in path else glob(path)
    are_archives = all(file.lower().endswith(ENDINGS) and os.path.isfile(file) for file in files)
    return sorted(files) if are_archives else []


def unpack(files: Sequence[str], folder: Path, progress: bool) -> str:
    """The folder that archives were unpacked into; of shards with labels the table of their images.

    What was unpacked before is found again, as long as the archives are as they were.

    Raises:
        SourceError: one is damaged, or would write elsewhere.
    """
    stats = [(os.path.abspath(file), os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files]
    first = os.path.basename(files[0]).partition(".")[0]
    target = folder / f"{first}-{blake2b(repr(stats).encode(), digest_size=8).hexdigest()}"
    if not target.is_dir():
        with staging_beside(target) as staging, bar("unpacking", progress) as tick:
            for done, file in enumerate(files, 1):
                place = staging / "all" / (os.path.basename(file).partition(".")[0] if len(files) > 1 else "")
                place.mkdir(parents=True, exist_ok=True)
                _unpack(file, place)
                if tick is not None:
                    tick(done, len(files))
            if rows := list(_labelled(staging / "all")):
                write(staging / "all" / TABLE, _table(rows))
            os.replace(staging / "all", target)
    table = target / TABLE
    return str(table if table.is_file() else target)


def _unpack(file: str, place: Path) -> None:
    try:
        if suffix(file) == ".zip":
            with zipfile.ZipFile(file) as archive:
                archive.extractall(place)  # never leaves the folder
        else:
            with tarfile.open(file) as shard:
                shard.extractall(place, filter="data")
    except Exception as error:  # of the format, of zlib, of the disk
        raise SourceError(f"{file}: cannot be unpacked: {type(error).__name__}: {error}") from error


def _labelled(folder: Path) -> Iterator[tuple[str, str]]:
    """(path below the folder, label) of the images of a webdataset: all those that have a .cls beside them."""
    for label in sorted(folder.rglob(f"*{LABEL}")):
        stem = label.name.removesuffix(LABEL)
        for image in sorted(label.parent.glob(f"{escape(stem)}.*")):
            if suffix(image.name) in image_suffixes():
                yield image.relative_to(folder).as_posix(), label.read_text(encoding="utf-8").strip()


def _table(rows: Sequence[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label"), *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")
