"""The files of an audit are replaced together: the old ones count until one rename, the new ones from then on.

All files are staged in `.selfclean-PROCESS-ID.saving`. To rename that to `.selfclean-saved` is to save. Then files of
the old audit that the new one lacks are removed, and those of the new one moved to their places, splits.json or
manifest.json last. Whoever finds `.selfclean-saved` does so first; who cannot write there reads through it (see
`SavedFolder`). So a kill or a full disk leaves the old audit or the new one, at any moment.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from selfclean_hooks.decisions.review.file import read_review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage.ownership import (
    DECISIONS,
    ENCODER,
    FILES,
    FILES_OF_SPLITS,
    MANIFEST,
    SAVED,
    SPLITS,
    SavedFolder,
    check_nothing_lost,
    owned_files,
)
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import (
    alone,
    check_writable,
    remove_leftovers,
    sync_folder,
    temporary,
    write_synced,
    writing,
)

PATIENCE = 20.0  # seconds for another process that moves files, which takes moments
TRIES = 5  # of reading while others save
T = TypeVar("T")
LAST = (MANIFEST, SPLITS)  # what says which files there are is removed and moved last


def check_output(folder: Path, splits: Iterable[str] | None = None, make: bool = True) -> None:
    """See that an audit can be saved in a folder, before hours go into it.

    Args:
        folder: where to.
        splits: names of the folders of the splits; None: one data set.
        make: make the folder, and try to write there.

    Raises:
        AuditFileError: files cannot be put there, or would replace files that are not those of a saved audit.
    """
    if make:
        check_writable(folder)
    finish(folder)
    places = [] if splits is None else list(splits)
    names = [*(FILES_OF_SPLITS if splits is not None else ()), *FILES, SPLITS]
    candidates = {*names, *(f"{place}/{name}" for place in places for name in FILES)}
    check_nothing_lost(folder, candidates)


def replace_audit(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Put an audit in the place of the one that a folder holds, all of it or nothing.

    Args:
        folder: made if need be.
        contents: relative path: content.

    Raises:
        AuditFileError: it cannot be written, or a file there is none of an audit's; the old audit is as it was.
        KeyboardInterrupt: the same, unless its text says that the new audit is saved.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        staging, is_whole = temporary(folder, "saving"), False
        try:
            _stage(staging, contents)
            with alone(folder, PATIENCE):
                _finish(folder)
                check_nothing_lost(folder, contents)
                is_whole = True
                os.rename(staging, folder / SAVED)
                sync_folder(folder)
                _finish(folder)
        except KeyboardInterrupt as stop:
            if is_whole and not staging.exists():
                finish(folder)
                raise type(stop)(f"the new audit is saved in {folder}") from None
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def finish(folder: Path) -> None:
    """Move the files of an audit to their places where a save was killed in between, if that can be done."""
    absolute = folder.absolute()
    for place in (absolute, absolute.parent):  # that of a split lies in the one that was saved
        if os.path.isdir(place / SAVED):
            with suppress(OSError, AuditFileError), alone(place, PATIENCE):
                _finish(place)


def read_steadily(folder: Path, read: Callable[[], T]) -> T:
    """What a function reads from a folder; read again where another process saved an audit there meanwhile."""
    for _ in range(TRIES):
        finish(folder)
        before = _state(folder)
        try:
            found = read()
        except AuditFileError:
            if _state(folder) == before:
                raise
        else:
            if _state(folder) == before:
                return found
    return read()


def _state(folder: Path) -> list[tuple[int, int] | None]:
    """Changes with every save: which files say what there is, and since when."""
    seen: list[tuple[int, int] | None] = []
    for name in (SAVED, *LAST):
        try:
            found = (folder / name).stat()
            seen.append((found.st_ino, found.st_mtime_ns))
        except (OSError, ValueError):
            seen.append(None)
    return seen


def _stage(staging: Path, contents: Mapping[str, bytes]) -> None:
    staging.mkdir()
    for name, content in contents.items():
        (staging / name).parent.mkdir(exist_ok=True)
        write_synced(staging / name, content)
    for folder in {(staging / name).parent for name in contents} | {staging}:
        sync_folder(folder)


def _finish(folder: Path) -> None:
    """Two processes may do this at once: what the other one has moved is passed over."""
    saved = folder / SAVED
    if not saved.is_dir():
        return
    names = [path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()]
    if MANIFEST in names or SPLITS in names:  # else all is in place
        _remove_obsolete(folder)
        for name in sorted(names, key=_rank):
            _move(saved / name, folder / name)
    for place in {(folder / name).parent for name in names} | {folder}:
        sync_folder(place)
    shutil.rmtree(saved, ignore_errors=True)


def _rank(name: str) -> tuple[int, bool, str]:
    """Order of moving: what says which files there are comes last, that of the whole after those of the splits."""
    return int(name.rpartition("/")[2] in LAST), "/" not in name, name


def _remove_obsolete(folder: Path) -> None:
    """Remove the files of the old audit that the new one does not have; decisions are kept, they are a day's work."""
    old, new = owned_files(SavedFolder(folder, is_moved=True)), owned_files(SavedFolder(folder))
    for name in sorted(old - new, key=_rank):
        if name.rpartition("/")[2] != DECISIONS:
            (folder / name).unlink(missing_ok=True)
    for place in {(folder / name).parent for name in old - new} - {folder}:
        with suppress(OSError):  # what else is in there stays
            place.rmdir()


def _move(staged: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    if place.name in (DECISIONS, ENCODER):
        _set_aside(place, staged)
    with suppress(FileNotFoundError):
        os.replace(staged, place)


def _set_aside(old: Path, new: Path) -> None:
    """Move away a file of decisions that holds more than the new one does, or an encoder that no audit wrote."""
    if not old.is_file() or _is_held(old, new):
        return
    number = 1
    while os.path.lexists(aside := old.with_name(f"{old.stem}.{number}{old.suffix}")):
        number += 1
    old.rename(aside)


def _is_held(old: Path, new: Path) -> bool:
    """Whether nothing is lost where the new file takes the place of the old one."""
    if old.name == ENCODER:
        is_owned = ENCODER in owned_files(SavedFolder(old.parent, is_moved=True))
        return is_owned or files.read(old) == new.read_bytes()
    try:
        before, after = read_review(old), read_review(new)
    except AuditFileError:
        return False  # unknown content is not overwritten
    return set(before.marks) <= set(after.marks) and before.thresholds.items() <= after.thresholds.items()
