"""Which files in a folder a saved audit wrote. Others are the user's: they are never overwritten or removed.

Derived from the manifest, so that it holds for folders of every version.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from selfclean_hooks.decisions.review.file import read_review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import no_file_error, write

MANIFEST = "manifest.json"
SPLITS = "splits.json"  # of an audit of several splits
SAVED = ".selfclean-saved"  # files of a finished save that are not all in their places yet
CLEAN = "clean_indices.txt"
CLEAN_FILES = "clean_files.txt"
LEAKAGE = "leakage.csv"
PAGE = "report.html"
DECISIONS = "decisions.json"
RELABELLED = "relabelled.csv"
ENCODER = "encoder.safetensors"
ALWAYS = ("samples.csv", "pairs.csv", PAGE, "scores.npz", MANIFEST)
FILES = (CLEAN, CLEAN_FILES, LEAKAGE, DECISIONS, RELABELLED, ENCODER, *ALWAYS)
FILES_OF_SPLITS = (LEAKAGE, PAGE, SPLITS)
MARKS = {  # what stands at the beginning of files that people may have written or edited themselves, in all versions
    PAGE: b"<title>Data audit",
    "samples.csv": b"index,sample,near_duplicate_score",
    "pairs.csv": b"index_1,index_2,distance",
    LEAKAGE: b"split_1,index_1,",
    RELABELLED: b"index,sample,given_label,new_label",
    ENCODER: b"selfclean_hooks_encoder",
}
PLACE = re.compile(r"[\w=-]{1,200}")  # folder of a split


class SavedFolder:
    """The files of a saved audit in a folder, or in the folder of a split below it, wherever they are now."""

    def __init__(self, folder: Path, split: str = "", is_moved: bool = False) -> None:
        """`split` is the name of its folder; `is_moved`: only what is in its place counts."""
        self.folder, self.split, self._is_moved = folder, split, is_moved

    def path(self, name: str) -> Path:
        """Where a file is: in its place, or on its way there."""
        staged = self.folder / SAVED / self.split / name
        return staged if os.path.isfile(staged) and not self._is_moved else self.folder / self.split / name

    def of(self, split: str) -> SavedFolder:
        """The folder of a split."""
        return SavedFolder(self.folder, split, self._is_moved)

    def index(self, name: str) -> Mapping[str, Any] | None:
        """Content of manifest.json or splits.json; None where it is not as an audit writes it."""
        staged = [index for index in KEYS if os.path.isfile(self.folder / SAVED / index)]
        if staged and name not in staged and not (self.split or self._is_moved):
            return None  # of the old audit
        try:
            content = json.loads(files.read(self.path(name)))
        except (OSError, ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) and content.keys() >= KEYS[name] else None


KEYS = {
    MANIFEST: {"format", "scores_blake2b", "thresholds", "policy", "counts"},
    SPLITS: {"format", "splits", "shift"},
}


def owned_files(saved: SavedFolder) -> set[str]:
    """Paths of the files that a saved audit wrote, relative to its folder; none where there is no audit."""
    names = set(_of_manifest(saved))
    index = saved.index(SPLITS)
    if index is not None:
        names |= set(FILES_OF_SPLITS)
        for place in _places(index):
            names |= {f"{place}/{name}" for name in _of_manifest(saved.of(place))}
    return {name for name in names if may_be_replaced(saved.folder / name)}  # else people changed it


def may_be_replaced(path: Path, name: str = "") -> bool:
    """Whether a file is missing, empty, or begins as an audit writes one of that name, or else of its own."""
    if files.special_kind(path):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return not os.path.lexists(path)
    return not start or MARKS.get(name or path.name, b"") in start


def write_pages(pages: Mapping[Path, bytes]) -> None:
    """Write reports, over earlier ones.

    Raises:
        AuditFileError: one cannot be written, or there is a file that is no report; then none is written.
    """
    for path in pages:
        if os.path.isfile(path) and not may_be_replaced(path, PAGE):
            raise AuditFileError(
                f"cannot write {path}: a file is there that is no report. Give another name, or move it away"
            )
    for path, content in pages.items():
        write(path, content)


def remove_pages(paths: Iterable[Path]) -> None:
    """Remove reports; what is no report stays."""
    for path in paths:
        if os.path.isfile(path) and may_be_replaced(path, PAGE):
            path.unlink()


def check_nothing_lost(folder: Path, names: Iterable[str]) -> None:
    """Check that no file of these names is there that a saved audit did not write.

    Raises:
        AuditFileError: there are such files; names them.
    """
    names = sorted(names)
    there = [name for name in names if os.path.lexists(folder / name)]
    for path in (folder / name for name in there):
        if not os.path.isfile(path) and not os.path.islink(path):
            raise no_file_error(path)
    for place in {(folder / name).parent for name in names}:
        if os.path.lexists(place) and not (os.path.isdir(place) and os.access(place, os.W_OK)):
            raise AuditFileError(
                f"cannot write {place}: it must be a folder that can be written. Give another folder for the audit"
            )
    owned = owned_files(SavedFolder(folder))
    foreign = [name for name in there if name not in owned and not _may_stay(folder / name, bool(owned))]
    if foreign:
        more = f" and {len(foreign) - MOST_NAMED} more" if len(foreign) > MOST_NAMED else ""
        raise AuditFileError(
            f"{folder} must be empty or hold a saved audit; it holds {', '.join(foreign[:MOST_NAMED])}{more}, which "
            "no audit wrote: they would be replaced. Give another folder for the audit, or move these files away"
        )


MOST_NAMED = 5


def _may_stay(path: Path, in_saved: bool) -> bool:
    """Whether it is a file of decisions, or an encoder: such a file is moved aside and never lost."""
    if path.name == ENCODER:
        return may_be_replaced(path)
    if path.name != DECISIONS:
        return False
    try:
        return in_saved or bool(read_review(path))
    except AuditFileError:
        return False


def _of_manifest(saved: SavedFolder) -> Iterator[str]:
    manifest = saved.index(MANIFEST)
    if manifest is None:
        return
    yield from ALWAYS
    counts = manifest["counts"] if isinstance(manifest["counts"], dict) else {}
    if counts.get("kept", 0) is not None:
        yield CLEAN
        if "files" in counts:
            yield CLEAN_FILES
    if "leakage" in counts:
        yield LEAKAGE
    if "decisions_blake2b" in manifest:
        yield from (DECISIONS, RELABELLED)
    if (digest := manifest.get("encoder_blake2b")) is not None and digest == _digest_in(saved.path(ENCODER)):
        yield ENCODER  # pretrain writes such files too: another one is the user's


def digest_of(content: bytes) -> str:
    """Digest by which the manifest knows a file."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _digest_in(path: Path) -> str | None:
    try:
        return digest_of(files.read(path))
    except OSError:
        return None


def _places(index: Mapping[str, Any]) -> Iterator[str]:
    """Folders of the splits."""
    entries = index["splits"] if isinstance(index["splits"], list) else []
    for entry in entries:
        place = entry.get("folder") if isinstance(entry, dict) else None
        if isinstance(place, str) and PLACE.fullmatch(place):
            yield place
