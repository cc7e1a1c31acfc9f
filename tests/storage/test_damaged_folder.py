"""Folders that hold no audit, a damaged one or parts of two, and files that are in the way."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage.array_schema import PREDICTED_TARGET
from selfclean_hooks.storage.commit import TRIES, read_steadily
from selfclean_hooks.storage.ownership import digest_of
from selfclean_hooks.utils.files import check_writable, write
from tests.storage.saved_audits import N, _edited, full, leaking, made


@pytest.fixture(scope="module")
def with_leaks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("with_leaks")
    leaking().save(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("leak_other", [1, 3, 1], "leak_other points outside of 3"),
        ("leak_other", [1, 0, 1], "leak_other points outside of 3"),
        ("leak_index", [0, N + 2, 1], "leak_index points outside of 62"),
        ("leak_index", [0, 1], r"leak_index must be of shape \(3,\)"),
        ("leak_other_index", [8, 4, 0], "points outside of the other splits"),
        ("leak_other_index", [8, -1, 0], "leak_other_index is out of range"),
        ("leak_sizes", [N, 9, 4], "leak_sizes must begin with 62"),
        ("leak_sizes", [N + 2, 9], r"must be of shape \(3,\) for"),
        ("leak_name_offsets", [0, 0, 51], r"leak_name_offsets must be of shape \(4,\)"),
        ("leak_thumbnail_index", [[7, 0], [1, 8]], "leak_thumbnail_index points outside of 3 splits"),
        ("leak_thumbnail_index", [[1, 8]], r"leak_thumbnail_offsets must be of shape \(2,\)"),
    ],
)
def test_pairs_between_splits_that_cannot_be(
    name: str, value: Any, message: str, with_leaks: Path, tmp_path: Path
) -> None:
    shutil.copytree(with_leaks, tmp_path, dirs_exist_ok=True)
    if name == "leak_name_offsets":
        with np.load(tmp_path / "scores.npz") as file:
            value = [0, 0, len(file["leak_name_bytes"])]
    _rewritten(tmp_path, lambda arrays: arrays.update({name: np.array(value)}))
    with pytest.raises(AuditFileError, match=message):
        Audit.load(tmp_path)


def _rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """A scores.npz of other content that the manifest vouches for."""
    with np.load(folder / "scores.npz") as file:
        arrays = dict(file)
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (folder / "scores.npz").write_bytes(buffer.getvalue())
    _edited(folder, scores_blake2b=digest_of(buffer.getvalue()))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    full().save(folder)
    return folder


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda d: (d / "manifest.json").unlink(), r"manifest.json: No such file.*Give the folder"),
    (lambda d: (d / "scores.npz").unlink(), r"scores.npz: No such file.*Give the folder"),
    (lambda d: _truncate(d / "manifest.json"), r"manifest.json must be as Audit.save wrote it; .*run the audit again"),
    (lambda d: (d / "manifest.json").write_bytes(b"\xff\xfe"), r"manifest.json must be as"),
    (lambda d: (d / "manifest.json").write_text("[" * 100_000), r"manifest.json must be as"),
    (lambda d: (d / "manifest.json").write_text("[]"), r"it holds a list, not an object"),
    (lambda d: _edited(d, format=2), r"manifest.json must have format 1, got 2: load it with the version"),
    (lambda d: _edited(d, counts={}), r"manifest.json must be as .*\$\.counts: object missing required field n"),
    (lambda d: _edited(d, not_run=3), r"manifest.json must be as .*\$\.not_run: expected object, got int"),
    (lambda d: _edited(d, policy={"off_topic": "delete"}), r"manifest.json must be as .*'delete'"),
    (lambda d: _edited(d, thresholds={"shape": 1}), r"manifest.json must be as .*shape"),
    (lambda d: _truncate(d / "scores.npz"), r"scores.npz must be as .* is not what manifest.json says"),
    (lambda d: _flip(d / "scores.npz"), r"scores.npz must be as .* is not what manifest.json says"),
    (lambda d: _edited(d, counts={"n": 3}), r"near_duplicate must be of shape \(3,\) for 3 samples, got \(62,\)"),
    (lambda d: _rewritten(d, lambda a: a.pop("off_topic")), r"scores.npz must be as .*off_topic"),
    (lambda d: _rewritten(d, lambda a: a.update(pair_score=a["pair_score"][1:])), r"pair_score must be of shape"),
    (lambda d: _rewritten(d, lambda a: a.update(pair_index=a["pair_index"] + N)), r"pair_index points outside"),
    (
        lambda d: _rewritten(d, lambda a: a.update(name_offsets=a["name_offsets"][:-1])),
        r"name_offsets must be of shape \(63,\)",
    ),
    (lambda d: _rewritten(d, lambda a: a.update(error_index=a["error_index"][:1])), r"scores.npz must be as"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_damage_is_named_with_its_file_and_a_cure(
    damage: Callable[[Path], Any], message: str, whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises(AuditFileError, match=message):
        Audit.load(tmp_path)


def test_what_is_no_folder_is_no_audit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(AuditFileError, match=r"a saved audit is a folder with manifest.json and scores.npz"):
            Audit.load(path)


def test_files_of_two_saves_are_not_mixed(tmp_path: Path) -> None:
    made().save(tmp_path / "a")
    made(None).save(tmp_path / "b")
    os.replace(tmp_path / "a" / "scores.npz", tmp_path / "b" / "scores.npz")
    with pytest.raises(AuditFileError, match="from another save"):
        Audit.load(tmp_path / "b")


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(AuditFileError, match=r"cannot write .*file.*Give a folder that can be written"):
            made().save(folder)
        with pytest.raises(AuditFileError, match="cannot write"):
            check_writable(folder)
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_in_the_way_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(AuditFileError, match=r"manifest.json: something that is no file is in the way"):
        made().save(tmp_path)


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(AuditFileError, match="No space left on device"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    write(path, b"new")
    assert path.read_bytes() == b"new"


def _in_format(folder: Path, version: tuple[int, int]) -> None:
    """The first array of scores.npz in that version of NumPy's format."""
    content = io.BytesIO()
    with zipfile.ZipFile(folder / "scores.npz") as old, zipfile.ZipFile(content, "w") as new:
        for number, name in enumerate(old.namelist()):
            member = io.BytesIO()
            array = np.load(io.BytesIO(old.read(name)))
            np.lib.format.write_array(member, array, version if number == 0 else (1, 0))
            new.writestr(name, member.getvalue())
    (folder / "scores.npz").write_bytes(content.getvalue())
    _edited(folder, scores_blake2b=digest_of(content.getvalue()))


def test_arrays_are_read_in_formats_1_and_2(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    _in_format(tmp_path, (2, 0))
    np.testing.assert_array_equal(Audit.load(tmp_path).scores.off_topic, Audit.load(whole).scores.off_topic)
    _in_format(tmp_path, (3, 0))
    with pytest.raises(AuditFileError, match=r"must be an array of format 1.0 or 2.0, got \(3, 0\)"):
        Audit.load(tmp_path)


def test_a_doubtful_label_that_there_is_not(tmp_path: Path) -> None:
    made(np.arange(2 * N).reshape(N, 2) % 3 == 0).save(tmp_path)
    _rewritten(tmp_path, lambda arrays: arrays.update({PREDICTED_TARGET: np.full(N, 4.0)}))
    with pytest.raises(AuditFileError, match=f"{PREDICTED_TARGET} points outside of 2 labels"):
        Audit.load(tmp_path)


def test_a_folder_that_is_saved_to_all_the_time_is_read_a_few_times(tmp_path: Path) -> None:
    manifest, reads = tmp_path / "manifest.json", list[int]()

    def read(fails: bool = False) -> int:
        reads.append(len(reads))
        manifest.write_text("x" * len(reads))
        if fails and len(reads) <= TRIES:
            raise AuditFileError("half of it was of another save")
        return len(reads)

    assert read_steadily(tmp_path, read) == TRIES + 1
    reads.clear()
    assert read_steadily(tmp_path, lambda: read(fails=True)) == TRIES + 1
