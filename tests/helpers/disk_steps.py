"""What a folder looks like between any two steps on disk: what a kill at that moment would leave."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# What Python tells before it changes something on disk, and which of the arguments says where.
STEPS = {"open": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.truncate": 0, "os.link": 1}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_watched: list["_Steps | _Failing"] = []  # at most one
_installed: list[bool] = []  # a hook can never be removed


class _Steps:
    def __init__(self, folder: Path, into: Path) -> None:
        self.folder, self.into, self.taken = folder, into, list[Path]()

    def before(self, event: str, arguments: tuple[Any, ...]) -> None:
        path, flags = _changed(event, arguments)
        if path is not None and self.folder in path.parents:
            self.copy()
            if event == "open" and flags & os.O_TRUNC and path.exists():  # a step of its own: it is empty now
                (self.copy() / path.relative_to(self.folder)).write_bytes(b"")

    def copy(self) -> Path:
        self.taken.append(self.into / f"{len(self.taken):04}")
        shutil.copytree(self.folder, self.taken[-1])
        return self.taken[-1]


def _changed(event: str, arguments: tuple[Any, ...]) -> tuple[Path | None, int]:
    """What is about to be changed, None if nothing is, and how it is opened."""
    place = arguments[STEPS[event]]
    flags = arguments[2] if event == "open" else WRITING
    if not isinstance(place, (str, bytes, os.PathLike)) or not flags & WRITING:
        return None, flags
    return Path(os.path.abspath(os.fsdecode(place))), flags


class _Failing:
    def __init__(self, number: int, error: BaseException) -> None:
        self.left, self.error = number, error

    def before(self, event: str, arguments: tuple[Any, ...]) -> None:
        if _changed(event, arguments)[0] is not None:
            self.step()

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in STEPS:
        watching = _watched.pop()  # copying is no step
        try:
            watching.before(event, arguments)
        finally:
            _watched.append(watching)


@contextmanager
def before_every_step(folder: Path, into: Path) -> Iterator[list[Path]]:
    """Copies of a folder, made within the block before anything below it is changed: opened to be written, replaced...

    A file that opening truncates is taken both before and after. What is written into an open file is no step: a file
    is to be in its place only when it is whole, and so it must be put there by another.
    """
    _install()
    steps = _Steps(folder.resolve(), into)
    into.mkdir(parents=True)
    _watched.append(steps)
    try:
        yield steps.taken
    finally:
        _watched.clear()


@contextmanager
def failing_at(number: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Iterator["_Failing"]:
    """Within the block the step of that number, from 1, raises the error; to write a file through is a step too.

    `left` of what it gives is how many steps there were too few.
    """
    _install()
    failing, fsync = _Failing(number, error), os.fsync

    def counted(descriptor: int) -> None:
        failing.step()
        fsync(descriptor)

    _watched.append(failing)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", counted)
            yield failing
    finally:
        _watched.clear()


def _install() -> None:
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
