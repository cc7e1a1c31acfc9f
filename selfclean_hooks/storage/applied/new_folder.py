"""How an audit is applied, and a new folder as a whole: written under a temporary name, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.files import staging_beside, sync_folder

JOURNAL = "journal.jsonl"


class Mode(str, Enum):
    """How the files of the new data set come to be."""

    link = "link"
    copy = "copy"
    move = "move"
    list = "list"


def mode_of(text: str) -> Mode:
    """The mode of a name.

    Raises:
        SettingError: there is none.
    """
    try:
        return Mode(text)
    except ValueError:
        raise SettingError(f"mode must be one of {', '.join(mode.value for mode in Mode)}, got {text!r}") from None


def check_new(target: Path) -> None:
    """See that a folder can be made without touching anything.

    Raises:
        SettingError: there is something else than an empty folder.
    """
    is_link = target.is_symlink()
    if not os.path.lexists(target) or (target.is_dir() and not is_link and not any(target.iterdir())):
        return
    if (target / JOURNAL).is_file():
        raise SettingError(
            f"{target} holds the files of an earlier move: take that back with --undo, or give a new folder"
        )
    what = "is a link" if is_link else "holds other files" if target.is_dir() else "is no folder"
    raise SettingError(f"{target} {what}: give a folder that is new or empty")


def check_outside(target: Path, source: str) -> None:
    """See that a folder is no part of another one.

    Raises:
        SettingError: it is.
    """
    real, whole = Path(os.path.realpath(target)), Path(os.path.realpath(source))
    if real == whole or whole in real.parents:
        raise SettingError(
            f"{target} lies within {source}: the new data set must not be a part of the audited one. Give a folder "
            "elsewhere"
        )


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `target` at the end of the block; nothing is left of it after an error.

    Raises:
        AuditFileError: it cannot be written.
    """
    with staging_beside(target) as staging:
        yield staging
        if target.is_dir():  # an empty one, which not every system lets a folder take the place of
            target.rmdir()
        os.rename(staging, target)
        sync_folder(target.parent)


def take(original: str, place: Path, is_link: bool) -> bool:
    """Put a file in a place where none is: by a hard link, or a copy where the system refuses one.

    Returns:
        Whether it is a link.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    path = os.path.realpath(original)  # the file, and not a link to it
    if os.path.lexists(place):
        raise FileExistsError(f"there are two files of the name {place.name} in a folder")
    if is_link:
        with suppress(OSError):  # another disk, a file system without links, a file of somebody else's
            os.link(path, place)
            return True
    shutil.copy2(path, place)
    return False
