"""Leftovers of killed processes beside a file that is written: those that nobody writes any more are removed."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfclean_hooks.cli.outcome import load_audit
from selfclean_hooks.data.image_files import read_image
from selfclean_hooks.decisions.review.file import read_review
from selfclean_hooks.errors import AuditFileError, SourceError
from selfclean_hooks.gate.baseline_file import read_baseline
from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks.sources.source import open_source
from selfclean_hooks.storage.ownership import may_be_replaced
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import check_writable, special_kind, temporary, write
from tests.helpers.forked import forked
from tests.helpers.format_data import two


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


@pytest.fixture
def special(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Path]]:
    """Paths whose reading might never end."""
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind("sock.png")  # a short name, which is all that a socket takes
        (tmp_path / "zero.png").symlink_to("/dev/zero")
        yield {name: tmp_path / f"{name}.png" for name in ("pipe", "sock", "zero")}


def test_what_might_never_end_is_not_read(special: dict[str, Path], tmp_path: Path) -> None:
    kinds = {"pipe": "a named pipe", "sock": "a socket", "zero": "a device"}
    for name, path in special.items():
        assert special_kind(path) == kinds[name]
        with pytest.raises(OSError, match=f"it is {kinds[name]} and no file"):
            files.read(path)
        with pytest.raises(OSError, match=f"it is {kinds[name]} and no file"):
            read_image(str(path))
        with pytest.raises(SourceError, match=f"is {kinds[name]}, which may never end"):
            open_source(str(path))
        with pytest.raises(AuditFileError, match=f"it is {kinds[name]}"):
            read_review(path)
        with pytest.raises(AuditFileError, match=f"it is {kinds[name]}"):
            read_baseline(path)
        assert not may_be_replaced(path)
    assert special_kind(tmp_path) == special_kind(tmp_path / "gone") == special_kind("nul\0inside") == ""


def test_a_pipe_that_a_shell_made_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"\xef\xbb\xbfone\r\ntwo")
    os.close(writing)
    assert files.read_text(f"/dev/fd/{reading}") == "one\ntwo"
    os.close(reading)


def test_they_are_unreadable_samples_of_a_folder(special: dict[str, Path], tmp_path: Path) -> None:
    found = FolderDataset(tmp_path)
    assert found.paths == sorted(map(str, special.values()))
    for at in range(3):
        with pytest.raises(OSError, match="and no file"):
            found[at]


def test_tables_and_saved_folders_of_them_are_refused(tmp_path: Path) -> None:
    for name in ("t.csv", "t-0.parquet", "manifest.json", "scores.npz", "dataset_dict.json"):
        os.mkfifo(tmp_path / name)
    for name in ("t.csv", "t-*.parquet"):
        with pytest.raises(SourceError, match="a named pipe, which may never end: save what it gives in a file"):
            open_source(str(tmp_path / name))
    with pytest.raises(SourceError, match=r"t-0\.parquet: wanted a table, got a named pipe"):
        open_source(str(tmp_path))
    with pytest.raises(AuditFileError, match="it is a named pipe and no file"):
        load_audit(tmp_path)
    with pytest.raises(AuditFileError, match=r"manifest\.json"):
        two()["train"].save(tmp_path)
