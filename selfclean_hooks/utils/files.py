"""Files are written whole or not at all, and checked for being writable."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selfclean_hooks.errors import AuditFileError


def clear(folder: Path, names: Iterable[str]) -> None:
    """Make the folder if need be, and remove what an earlier audit left there.

    Raises:
        AuditFileError: that cannot be done.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in names):
            if path.is_file() or path.is_symlink():  # `write` complains of anything else
                path.unlink()


def write(path: Path, content: bytes) -> None:
    """Put a file in place at once: whoever reads it, and whatever is killed, finds the old file or the new one.

    Raises:
        AuditFileError: it cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    with _writing(path):
        if path.exists() and not path.is_file():
            raise AuditFileError(
                f"cannot write {path}: something that is no file is in the way. Give another path, or remove it"
            )
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Make the folder and see that files can be put there, before hours go into what is to be saved.

    Raises:
        AuditFileError: they cannot.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{uuid.uuid4().hex}.probe"
    write(probe, b"")
    with _writing(folder):
        probe.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditFileError(
            f"cannot write {path}: {error.strerror or error}. Give a folder that can be written, or free this one"
        ) from error
