"""A folder that is cleaned in place, and every way back."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.errors import AuditFileError, SettingError, SourceError
from selfclean_hooks.storage.applied import journal
from tests.helpers.applied_data import audited, files, images
from tests.helpers.forked import forked

NAMES = ("cat/1.png", "cat/2.png", "cat/deep/1.png", "dog/1.png", "dog/3.png", "owl/9.png")
DROP, RELABEL = (1, 2, 5), {0: "dog", 4: "new"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return images(tmp_path / "photos", *NAMES)


@pytest.fixture
def audit(source: Path) -> Audit:
    return audited(source, DROP, RELABEL)


def folders(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()}


def test_what_is_dropped_is_aside_and_comes_back(source: Path, audit: Audit, tmp_path: Path) -> None:
    before, tree = files(source), folders(source)
    aside = tmp_path / "aside"
    audit.apply(aside, "move")
    moved = {"cat/1.png": "dog/1_from_cat.png", "dog/3.png": "new/3.png"}
    dropped = {NAMES[i] for i in DROP}
    assert files(source) == {moved.get(n, n): content for n, content in before.items() if n not in dropped}
    away = {name: content for name, content in files(aside).items() if name.startswith("dropped/")}
    assert away == {f"dropped/off_topic/{name}": before[name] for name in dropped}
    assert set(pd.read_csv(aside / "dropped.csv")["file"]) == set(away)
    with pytest.raises(SettingError, match="the files of an earlier move: take that back with --undo"):
        audit.apply(aside, "move")
    aside = aside.rename(tmp_path / "elsewhere")
    assert Audit.undo(aside) == len(DROP) + len(RELABEL)
    assert (files(source), folders(source)) == (before, tree)
    assert not aside.exists()


def other_disk(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    """Renames from or to the source fail as between disks; within a folder they do not."""
    rename = os.rename

    def refuse(one: Any, other: Any) -> None:
        if Path(one).parent != Path(other).parent and str(one).startswith(str(source)) != str(other).startswith(
            str(source)
        ):
            raise OSError(errno.EXDEV, "another disk")
        rename(one, other)

    monkeypatch.setattr(os, "rename", refuse)


@pytest.mark.parametrize("is_far", [False, True])
def test_a_kill_at_any_step(is_far: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, aside = images(tmp_path / "photos", *NAMES[1:5]), tmp_path / "aside"
    audit, before, tree, steps = audited(source, [1], {0: "dog", 3: "new"}), files(source), folders(source), 0
    if is_far:
        other_disk(monkeypatch, source)
    while killed_at(steps, lambda: audit.apply(aside, "move")):
        assert set(before.values()) <= set(files(tmp_path).values())  # no content is ever lost
        if aside.exists():
            killed_at(steps % 5, lambda: Audit.undo(aside))
            assert set(before.values()) <= set(files(tmp_path).values())
        if aside.exists():
            Audit.undo(aside)
        assert (files(source), folders(source)) == (before, tree)
        assert not aside.exists()
        steps += 1
    assert steps > 3
    Audit.undo(aside)
    assert files(source) == before


def killed_at(step: int, work: Callable[[], Any]) -> bool:
    """Do it in a process that dies at a step on the disk; whether it did."""

    def until() -> None:
        left = [step]
        for name in ("rename", "unlink", "rmdir"):
            setattr(os, name, _dying(getattr(os, name), left))
        work()

    return forked(until).status == 9


def _dying(call: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
        return call(*arguments, **named)

    return counted


@pytest.mark.parametrize("stop", [KeyboardInterrupt, PermissionError])
def test_all_is_moved_back_after_an_error(
    stop: type[BaseException], source: Path, audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tree, move, count = files(source), folders(source), journal._move, [0]

    def failing(one: str, other: str) -> None:
        count[0] += 1
        if count[0] == 3:
            raise stop("no")
        move(one, other)

    monkeypatch.setattr(journal, "_move", failing)
    with pytest.raises(AuditFileError if stop is PermissionError else stop):
        audit.apply(tmp_path / "aside", "move")
    assert (files(source), folders(source)) == (before, tree)
    assert not (tmp_path / "aside").exists()


def test_a_folder_that_was_moved_elsewhere_is_not_made_again(source: Path, audit: Audit, tmp_path: Path) -> None:
    before = files(source)
    audit.apply(tmp_path / "aside", "move")
    source.rename(tmp_path / "renamed")
    with pytest.raises(SourceError, match=r"moved from are not there: .*photos"):
        Audit.undo(tmp_path / "aside")
    assert not source.exists()
    (tmp_path / "renamed").rename(source)
    Audit.undo(tmp_path / "aside")
    assert files(source) == before


def test_what_people_changed_meanwhile(source: Path, audit: Audit, tmp_path: Path) -> None:
    aside, before = tmp_path / "aside", files(source)
    audit.apply(aside, "move")
    (source / "cat" / "2.png").write_bytes(b"another image")
    now = files(tmp_path)
    with pytest.raises(SourceError, match=r"1 files cannot be moved back, .*2\.png"):
        Audit.undo(aside)
    assert files(tmp_path) == now
    (source / "cat" / "2.png").unlink()
    (aside / "dropped" / "off_topic" / "owl" / "9.png").unlink()
    (aside / "mine.txt").write_text("mine")
    with pytest.raises(SourceError, match=r"1 files are neither where they were .*9\.png"):
        Audit.undo(aside)
    del before["owl/9.png"]
    assert files(source) == before
    (source / "owl" / "9.png").write_bytes(b"restored")
    assert Audit.undo(aside) == 0
    assert files(aside) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"no json", b'{"kind": "other", "format": 1, "lists": [], "folders": []}']
)
def test_what_is_no_journal(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(content)
    with pytest.raises(AuditFileError, match="holds no move that could be undone"):
        Audit.undo(tmp_path)
    with pytest.raises(AuditFileError, match="holds no move that could be undone"):
        Audit.undo(tmp_path / "none")
