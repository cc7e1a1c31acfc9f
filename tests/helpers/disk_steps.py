"""What a folder looks like between any two steps on disk: what a kill at that moment would leave."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What Python tells before it changes something on disk, and which of the arguments says where.
STEPS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "os.link": 1}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_watched: list["_Steps"] = []  # at most one
_installed: list[bool] = []  # a hook can never be removed


class _Steps:
    def __init__(self, folder: Path, into: Path) -> None:
        self.folder, self.into, self.taken = folder, into, list[Path]()

    def before(self, event: str, arguments: tuple[Any, ...]) -> None:
        place = arguments[STEPS[event]]
        flags = arguments[2] if event == "open" else WRITING
        if not isinstance(place, (str, bytes, os.PathLike)) or not flags & WRITING:
            return
        path = Path(os.path.abspath(os.fsdecode(place)))
        if self.folder in path.parents:
            self.copy()
            if event == "open" and flags & os.O_TRUNC and path.exists():  # a step of its own: it is empty now
                (self.copy() / path.relative_to(self.folder)).write_bytes(b"")

    def copy(self) -> Path:
        self.taken.append(self.into / f"{len(self.taken):04}")
        shutil.copytree(self.folder, self.taken[-1])
        return self.taken[-1]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in STEPS:
        watching = _watched.pop()  # copying is no step
        watching.before(event, arguments)
        _watched.append(watching)


@contextmanager
def before_every_step(folder: Path, into: Path) -> Iterator[list[Path]]:
    """Copies of a folder, made within the block before anything below it is changed: opened to be written, replaced...

    A file that opening truncates is taken both before and after. What is written into an open file is no step: a file
    is to be in its place only when it is whole, and so it must be put there by another.
    """
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    steps = _Steps(folder.resolve(), into)
    into.mkdir(parents=True)
    _watched.append(steps)
    try:
        yield steps.taken
    finally:
        _watched.clear()
