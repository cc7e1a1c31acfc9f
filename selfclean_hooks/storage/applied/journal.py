"""Files are moved by a journal that is written before the first of them is, so that every move can be undone.

Each line names a file's place before and after. Whatever happens in between, a file is in one of the two, or, on its
way to another disk, in both.
"""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from selfclean_hooks.errors import AuditFileError, SourceError
from selfclean_hooks.storage.applied.new_folder import JOURNAL
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import remove_leftovers, sync_folder, temporary, writing
from selfclean_hooks.utils.json_content import check, parse
from selfclean_hooks.utils.text import visible

KIND = "selfclean-hooks moves"
FORMAT = 1


class Move(NamedTuple):
    """A file and where it goes; absolute paths, in the journal relative to its folder where they lie in that."""

    before: str
    after: str


class _Head(Struct, frozen=True):
    """The first line."""

    kind: str
    format: int
    lists: tuple[str, ...]  # files beside the journal that were written with it
    folders: tuple[str, ...]  # made for the moved files


class _Line(Struct, frozen=True):
    before: str
    after: str


def journal_of(moves: Sequence[Move], lists: Sequence[str], target: Path) -> bytes:
    """The content of a journal: which files will be moved, which folders made for them, and which lists lie beside.

    What lies in `target`, where the journal will be, is relative to it: it may be moved before it is undone.
    """
    folders = [_relative(folder, target) for folder in _missing_folders(moves)]
    head = {"kind": KIND, "format": FORMAT, "lists": list(lists), "folders": folders}
    lines = (Move(move.before, _relative(move.after, target))._asdict() for move in moves)
    return "".join(f"{json.dumps(line)}\n" for line in (head, *lines)).encode()


def _relative(path: str, target: Path) -> str:
    return str(Path(path).relative_to(target)) if Path(path).is_relative_to(target) else path


def carry_out(target: Path) -> None:
    """Move the files of the journal in a folder; after an error or an interrupt all are moved back.

    Raises:
        AuditFileError: a file cannot be moved.
    """
    _, moves = _read(target)
    try:
        with writing(target):
            for move in moves:
                _move(move.before, move.after)
    except BaseException:
        undo(target)
        raise


def undo(target: Path, dry_run: bool = False) -> int:
    """Move all files of the journal in a folder back, and remove it and its lists. Can be repeated after a kill.

    Args:
        target: the folder with the journal.
        dry_run: check whether places are free, and change nothing.

    Returns:
        How many files were moved back.

    Raises:
        AuditFileError: there is no journal, or a file cannot be moved.
        SourceError: a place is taken by another file, or the folder that files came from is gone, in which case nothing
            is moved; or a file is in neither place.
    """
    head, moves = _read(target)
    came_from = sorted({os.path.dirname(move.before) for move in moves})
    if moves and not any(map(os.path.isdir, came_from)):
        raise SourceError(
            f"the folders that the files were moved from are not there: {_named(came_from)}. Move them back to their "
            "places, or make them"
        )
    if not dry_run:
        for folder in {Path(path).parent for move in moves for path in move}:
            remove_leftovers(folder)
    states = [(os.path.lexists(move.before), os.path.lexists(move.after)) for move in moves]
    both = [move for move, (old, new) in zip(moves, states, strict=True) if old and new]
    taken = [move.before for move in both if not _is_same(move.before, move.after)]
    if taken:
        raise SourceError(
            f"{len(taken)} files cannot be moved back, as others are in their places: {_named(taken)}. Move these away"
        )
    lost = [move for move, state in zip(moves, states, strict=True) if not any(state)]
    back = [move for move, (old, new) in zip(moves, states, strict=True) if new and not old]
    if dry_run:
        return len(back) + len(both)
    with writing(target):
        for move in both:
            os.unlink(move.after)
        for move in reversed(back):
            _move(move.after, move.before)
        if not lost:
            _remove(target, head)
    if lost:
        raise SourceError(
            f"{len(lost)} files are neither where they were nor where they were moved to: "
            f"{_named([move.before for move in lost])}. The others are back; {target / JOURNAL} is kept"
        )
    return len(back) + len(both)


def _remove(target: Path, head: _Head) -> None:
    """Remove the lists, the folders that are empty, and the journal last."""
    for name in head.lists:
        (target / name).unlink(missing_ok=True)
    for folder in sorted(head.folders, key=len, reverse=True):
        with suppress(OSError):  # something else is in it, or it is gone
            (target / folder).rmdir()
    (target / JOURNAL).unlink()
    sync_folder(target)
    with suppress(OSError):
        target.rmdir()


def _missing_folders(moves: Iterable[Move]) -> list[str]:
    parents = {str(folder) for move in moves for folder in Path(move.after).parents}
    return sorted(folder for folder in parents if not os.path.lexists(folder))


def _read(target: Path) -> tuple[_Head, list[Move]]:
    path = target / JOURNAL
    try:
        first, *lines = files.read(path).splitlines()
        head = check(parse(first), _Head)
        if (head.kind, head.format) != (KIND, FORMAT):
            raise ValueError(f"kind and format must be {KIND!r} and {FORMAT}, got {head.kind!r:.60} and {head.format}")
        entries = [check(parse(line), _Line) for line in lines]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise AuditFileError(
            f"{target} holds no move that could be undone: cannot read {path}: {why}. Give the folder that was given "
            "with --to"
        ) from error
    whole = target.absolute()
    return head, [Move(entry.before, str(whole / entry.after)) for entry in entries]


def _move(before: str, after: str) -> None:
    """Move a file to where none is, to another disk by a copy that is whole before the file is removed."""
    Path(after).parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(after):
        raise FileExistsError(errno.EEXIST, "a file is there already", after)
    try:
        os.rename(before, after)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        new = temporary(Path(after).parent, "tmp")
        try:
            shutil.copy2(before, new, follow_symlinks=False)
            os.rename(new, after)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(Path(after).parent)
        os.unlink(before)


def _is_same(one: str, other: str) -> bool:
    with suppress(OSError):
        return filecmp.cmp(one, other, shallow=False)
    return False


def _named(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(visible, names[:most])) + (", ..." if len(names) > most else "")
