"""Archives as a data set: unpacked into a folder, or, for the shards of a webdataset, a table of images and labels."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape, glob
from hashlib import blake2b
from pathlib import Path
from typing import Any

from selfclean_hooks.data.image_files import image_suffixes, suffix
from selfclean_hooks.errors import SourceError
from selfclean_hooks.utils.files import alone, staging_beside, write, writing
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
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, math.inf):  # processes that audit as one unpack once
        if not target.is_dir():
            _unpack_all(files, target, progress)
    table = target / TABLE
    return str(table if table.is_file() else target)


def _unpack_all(files: Sequence[str], target: Path, progress: bool) -> None:
    rows: list[tuple[str, str]] = []
    with staging_beside(target) as staging, bar("unpacking", progress) as tick:
        for done, file in enumerate(files, 1):
            place = staging / "all" / (os.path.basename(file).partition(".")[0] if len(files) > 1 else "")
            place.mkdir(parents=True, exist_ok=True)
            with _reading(file):
                _unpack(file, place)
                rows += _labelled(place, staging / "all")
            if tick is not None:
                tick(done, len(files))
        if rows:
            write(staging / "all" / TABLE, _table(rows))
        os.replace(staging / "all", target)


@contextmanager
def _reading(file: str) -> Iterator[None]:
    """Whatever is wrong with an archive, as one kind."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # of the format, of zlib, of the disk
        why = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(":")
        raise SourceError(
            f"{file}: cannot be unpacked: {why:.300}; fetch it again, or unpack it and give the folder"
        ) from error


def _unpack(file: str, place: Path) -> None:
    if suffix(file) == ".zip":
        with zipfile.ZipFile(file) as archive:
            _check_room(sum(member.file_size for member in archive.infolist()), place)
            archive.extractall(place)  # never leaves the folder
        return
    with tarfile.open(file) as shard:
        _check_room(sum(member.size for member in shard.getmembers()), place)
        if not _has_end(shard):
            raise tarfile.ReadError("it ends in the middle, or is damaged there")
        shard.extractall(place, filter="data")


def _check_room(size: int, place: Path) -> None:
    """A small archive may hold more than the disk: that is known before it is full."""
    free = shutil.disk_usage(place).free
    if size > free:
        raise OSError(f"its files take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free in {place.parent}")


def _has_end(shard: tarfile.TarFile) -> bool:
    """Whether the members end with a block of zeros: tarfile takes a damaged member, or none, for the end too."""
    file: Any = shard.fileobj
    file.seek(shard.offset)
    block: bytes = file.read(tarfile.BLOCKSIZE)
    return block == bytes(tarfile.BLOCKSIZE)


def _labelled(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """(path below the root, label) of the images of a webdataset: all those that have a .cls beside them."""
    for label in sorted(folder.rglob(f"*{LABEL}")):
        stem = label.name.removesuffix(LABEL)
        for image in sorted(label.parent.glob(f"{escape(stem)}.*")):
            if suffix(image.name) in image_suffixes():
                yield image.relative_to(root).as_posix(), _text_of(label)


def _text_of(label: Path) -> str:
    try:
        return label.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{label.name} must hold a label as text, and cannot be read as such") from error


def _table(rows: Sequence[tuple[str, str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label"), *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")
