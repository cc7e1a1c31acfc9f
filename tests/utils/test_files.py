"""Leftovers of killed processes beside a file that is written: those that nobody writes any more are removed."""

import os
import signal
import time
from pathlib import Path

import pytest

from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import check_writable, temporary, write
from tests.helpers.forked import forked


def killed_while_writing(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        write(path, b"new")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    write(path, b"old")
    assert forked(lambda: killed_while_writing(path)).status == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"old"
    write(path, b"newer")
    assert names(tmp_path) == {"baseline.jsonl"}


def test_what_may_still_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = temporary(tmp_path, "tmp")
    mine.touch()
    with monkeypatch.context() as patch:
        patch.setattr(files, "_machine", lambda: "0" * 8)
        patch.setattr(os, "getpid", lambda: 2**22 + 1)  # no process of this machine
        other = temporary(tmp_path, "saving")
    other.mkdir()
    alike = [tmp_path / name for name in (".selfclean-1-x.tmp", ".selfclean-saved", "selfclean-1-0123456789abcdef.tmp")]
    for path in alike:
        path.touch()
    write(tmp_path / "file", b"")
    assert names(tmp_path) == {"file", mine.name, other.name, *(path.name for path in alike)}
    long_ago = time.time() - 2 * files.DAY
    for path in (mine, other):
        os.utime(path, (long_ago, long_ago))
    write(tmp_path / "file", b"")
    assert names(tmp_path) == {"file", *(path.name for path in alike)}


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_alone(
    failing: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(AuditFileError if isinstance(error, OSError) else KeyboardInterrupt):
            write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == set()
