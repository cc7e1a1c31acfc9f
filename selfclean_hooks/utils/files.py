"""Files are written whole or not at all, and checked for being writable; leftovers of killed processes are removed."""

from __future__ import annotations

import errno
import io
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from selfclean_hooks.errors import AuditFileError, SelfCleanError

TEMPORARY = re.compile(r"\.selfclean-(\d+)-([0-9a-f]{8})[0-9a-f]{8}\.(tmp|saving)")  # process, machine
DAY = 86400.0


SHELL_PIPES = "/dev/fd/", "/proc/self/fd/", "/dev/stdin"  # what a shell hands over as <(command) or |


def special_kind(path: str | os.PathLike[str]) -> str:
    """ "a named pipe", "a socket" or "a device", whose reading might never end; "" of all else, or of nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # ValueError: of a name that no file can have
        return ""
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else ""


def read(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, or of a pipe that a shell has made for the command.

    Raises:
        OSError: it cannot be read, or is another pipe, a socket or a device.
    """
    if (kind := special_kind(path)) and not os.fspath(path).startswith(SHELL_PIPES):
        raise OSError(errno.EINVAL, f"it is {kind} and no file")
    with open(path, "rb") as file:
        return file.read()


def read_text(path: str | os.PathLike[str]) -> str:
    """`read` as UTF-8, without a mark of the byte order, and with \\n at the ends of lines.

    Raises:
        OSError: as `read`.
        UnicodeDecodeError: it is no such text.
    """
    return io.TextIOWrapper(io.BytesIO(read(path)), "utf-8-sig").read()


def write(path: Path, content: bytes) -> None:
    """Put a file in place at once: whoever reads it, and whatever is killed, finds the old file or the new one.

    Raises:
        AuditFileError: it cannot be written.
    """
    with writing(path):
        if path.exists() and not path.is_file():
            raise no_file_error(path)
        remove_leftovers(path.parent)
        new = temporary(path.parent, "tmp")
        try:
            write_synced(new, content)
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(path.parent)


def check_writable(folder: Path) -> None:
    """Make the folder and see that files can be put there, before hours go into what is to be saved.

    Raises:
        AuditFileError: they cannot.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary(folder, "tmp")
        try:
            write_synced(probe, b"")
        finally:
            probe.unlink(missing_ok=True)


def temporary(folder: Path, ending: str) -> Path:
    """A new name in a folder, "tmp" for a file or "saving" for a folder, that says whose it is."""
    return folder / f".selfclean-{os.getpid()}-{_machine()}{secrets.token_hex(4)}.{ending}"


def remove_leftovers(folder: Path) -> None:
    """Remove what was `temporary` of processes that are gone; of other machines, what is older than a day."""
    try:
        names = os.listdir(folder)
    except OSError:  # some folders can be written and not listed
        return
    for path in (folder / name for name in names):
        found = TEMPORARY.fullmatch(path.name)
        if found is None or not _is_left_over(path, int(found[1]), found[2]):
            continue
        if found[3] == "saving":
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


@contextmanager
def staging_beside(target: Path) -> Iterator[Path]:
    """A new folder in that of `target`, to move things from: what is left in it at the end of the block is removed.

    Raises:
        AuditFileError: it cannot be written.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent)
        staging = temporary(target.parent, "saving")
        try:
            staging.mkdir()
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def alone(folder: Path, patience: float) -> Iterator[None]:
    """Within the block no other process is in such a block of the folder, as far as its file system knows of locks.

    Args:
        folder: one that is there.
        patience: seconds to wait for others; then the block begins all the same.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, patience)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # processes forked meanwhile hold the descriptor too
        os.close(descriptor)


def _lock(descriptor: int, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:  # no locks on this file system
            return


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file through to the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Write the names in a folder through to the disk, where the file system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def no_file_error(path: Path) -> AuditFileError:
    """The error about a folder, say, where a file is to be written."""
    return AuditFileError(
        f"cannot write {path}: something that is no file is in the way. Give another path, or remove it"
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise an AuditFileError that names the path for what the operating system refuses."""
    try:
        yield
    except SelfCleanError:  # says what is wrong
        raise
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise AuditFileError(
            f"cannot write {path}: {why}. Give a folder that can be written, or free this one"
        ) from error


def _machine() -> str:
    """What numbers of processes are unique in: the machine, or the container."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return blake2b(" ".join(parts).encode(), digest_size=4).hexdigest()


def _is_left_over(path: Path, process: int, machine: str) -> bool:
    try:
        if time.time() - path.lstat().st_mtime > DAY:
            return True
        if machine == _machine() and os.name == "posix":  # elsewhere signal 0 is not a mere question
            os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # PermissionError: it is alive, and another user's
        return False
    return False
