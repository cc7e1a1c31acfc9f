"""Whatever happens while an audit is saved, the old one or the new one is there, in all its files."""

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks import Audit, Thresholds
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli.outcome import load_audit
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage import commit
from selfclean_hooks.storage.commit import replace_audit
from selfclean_hooks.storage.ownership import SAVED
from tests.helpers.command_line import contents
from tests.helpers.disk_steps import failing_at
from tests.helpers.forked import forked
from tests.helpers.format_data import two

FULL_DISK = OSError(28, "No space left on device")
Saved = Audit | SplitsAudit


class Stopped(BaseException):
    """As a signal may be turned into."""


def single() -> Audit:
    return two()["train"]  # with leakage


def reviewed() -> Audit:
    return single().with_decisions(Review((Mark("off_topic", "confirmed", 3),)))


def other() -> Audit:
    return two()["train"].at(thresholds=Thresholds(None, None, None))


def splits(*names: str) -> SplitsAudit:
    audits = dict(zip(("train", "val"), two().values(), strict=True))
    return SplitsAudit({**audits, **dict.fromkeys(names, audits["val"])})


CASES: dict[str, tuple[Saved, Saved]] = {
    "one over another": (single(), other()),
    "a review over another": (reviewed(), single().with_decisions(Review((Mark("off_topic", "rejected", 3),)))),
    "splits over more": (splits("test"), splits()),
    "one over splits": (splits(), single()),
    "splits over one": (single(), splits()),
}


def files_of(folder: Path) -> dict[str, str]:
    """Files and digests, without what is on its way and decisions that were moved aside."""
    found = {name: digest for name, digest in contents(folder).items() if not name.startswith(".")}
    return {name: digest for name, digest in found.items() if name != "decisions.1.json"}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture(scope="module", params=CASES)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "old", and "both": the new one saved over it."""
    root = tmp_path_factory.mktemp("kept")
    old, new = CASES[request.param]
    for folder in ("old", "both"):
        old.save(root / folder)
    new.save(root / "both")
    new.save(root / "new")
    return root


def to_write(folder: Path) -> Mapping[str, bytes]:
    return {name: (folder / name).read_bytes() for name in contents(folder)}


@pytest.mark.parametrize(
    ("kept", "error"),
    [
        *((case, Stopped()) for case in CASES),
        *(
            (case, error)
            for case in ("one over another", "splits over one")
            for error in (FULL_DISK, KeyboardInterrupt())
        ),
    ],
    indirect=["kept"],
    ids=str,
)
def test_an_error_at_any_step(kept: Path, error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, content = files_of(kept / "old"), files_of(kept / "both"), to_write(kept / "new")
    assert old != new
    seen, stride = [], 1 if isinstance(error, Stopped) and "splits.json" in old.keys() - new.keys() else 7
    for number in count(1, stride):
        folder, stopped = tmp_path / str(number), None
        shutil.copytree(kept / "old", folder)
        with failing_at(number, error, monkeypatch) as steps:
            try:
                replace_audit(folder, content)
            except (AuditFileError, Stopped, KeyboardInterrupt) as caught:
                stopped = caught
        if steps.left > 0:
            break
        if isinstance(stopped, AuditFileError):
            assert re.fullmatch("cannot write .*: No space left on device. Give a folder .*", str(stopped))
        elif isinstance(stopped, KeyboardInterrupt):
            assert str(stopped) == (f"the new audit is saved in {folder}" if files_of(folder) == new else "")
        assert load_audit(folder).audits
        found = files_of(folder)
        assert found in (old, new), f"a mixture after step {number}"
        seen.append(found == new)
        replace_audit(folder, content)
        assert files_of(folder) == new
        assert len(hidden(folder)) <= 1  # what was being removed when it was stopped
        shutil.rmtree(folder)
    assert seen == sorted(seen) or error is FULL_DISK  # some steps are tried and not needed
    assert set(seen) == {False, True}


def test_a_disk_that_stays_full(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(kept / "old", tmp_path / "audit")

    def full(descriptor: int) -> None:
        raise FULL_DISK

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AuditFileError, match=r"cannot write .*No space left on device"):
        replace_audit(tmp_path / "audit", to_write(kept / "new"))
    assert contents(tmp_path / "audit") == contents(kept / "old")


# --- who cannot finish reads through, and who is killed leaves it to others -----------------------------------------


def committed(kept: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that was killed at the moment it counts."""
    shutil.copytree(kept / "old", folder)
    with monkeypatch.context() as patch:
        patch.setattr(commit, "_remove_obsolete", stop)
        with pytest.raises(Stopped):
            replace_audit(folder, to_write(kept / "new"))
    assert hidden(folder) == [SAVED]


def stop(*_: Any) -> None:
    raise Stopped


def test_a_folder_that_cannot_be_written_is_read_through(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "audit"
    committed(kept, folder, monkeypatch)
    before = contents(folder)

    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "_finish", read_only)
        found = load_audit(folder).audits
    assert contents(folder) == before
    expected = load_audit(kept / "new").audits
    assert {name: audit.frame.to_csv() for name, audit in found.items()} == {
        name: audit.frame.to_csv() for name, audit in expected.items()
    }
    assert load_audit(folder).audits.keys() == expected.keys()
    assert files_of(folder) == files_of(kept / "both")
    assert hidden(folder) == []


def test_the_next_save_finishes_the_one_before(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "audit"
    committed(kept, folder, monkeypatch)
    reviewed().save(folder)
    assert len(Audit.load(folder)) == 10
    assert hidden(folder) == []


def test_savers_and_a_reader_at_once(tmp_path: Path) -> None:
    one, another = single(), two()["val"]
    one.save(tmp_path / "one")
    another.save(tmp_path / "another")
    one.save(tmp_path / "audit")
    context = multiprocessing.get_context("fork")

    def save(content: Mapping[str, bytes]) -> None:
        for _ in range(8):
            replace_audit(tmp_path / "audit", content)

    def read() -> None:
        expected = {one.frame.to_csv(), another.frame.to_csv()}
        for _ in range(25):
            assert Audit.load(tmp_path / "audit").frame.to_csv() in expected

    work: list[tuple[Any, tuple[Any, ...]]] = [
        (save, (to_write(tmp_path / "one"),)),
        (save, (to_write(tmp_path / "another"),)),
        (read, ()),
    ]
    processes = [context.Process(target=target, args=arguments) for target, arguments in work]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert files_of(tmp_path / "audit") in (files_of(tmp_path / "one"), files_of(tmp_path / "another"))
    assert hidden(tmp_path / "audit") == []


def killed_at(moment: int, folder: Path, new: Path) -> None:
    """Replace an audit by another, and be killed after so many steps."""
    steps = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal steps
        steps += event == "os.rename" or (event == "open" and ".saving" in str(arguments[0]))
        if steps > moment:
            steps = -1000  # to kill is an event too
            os.kill(os.getpid(), signal.SIGKILL)

    content = {path.relative_to(new).as_posix(): path.read_bytes() for path in new.rglob("*") if path.is_file()}
    sys.addaudithook(hook)
    replace_audit(folder, content)


def test_processes_that_are_really_killed(tmp_path: Path) -> None:
    single().save(tmp_path / "old")
    other().save(tmp_path / "new")
    seen = set()
    for moment in (1, 5, 8, 9, 10, 13):
        folder = tmp_path / str(moment)
        shutil.copytree(tmp_path / "old", folder)
        assert forked(partial(killed_at, moment, folder, tmp_path / "new")).status == -signal.SIGKILL
        assert hidden(folder)
        assert Audit.load(folder).n == 10
        found = files_of(folder)
        assert found in (files_of(tmp_path / "old"), files_of(tmp_path / "new"))
        seen.add(found == files_of(tmp_path / "new"))
        other().save(folder)
        assert hidden(folder) == [], "what the killed process left is removed"
    assert seen == {False, True}


FULL = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=600k tmpfs "$1"
cp -r "$2" "$1/audit"
{ dd if=/dev/zero of="$1/fill" bs=1k || true; } 2> /dev/null
"$3" -c 'import sys
from tests.storage.test_interrupted import other, files_of, hidden
from selfclean_hooks import Audit
from selfclean_hooks.errors import AuditFileError
from pathlib import Path
folder = Path(sys.argv[1])
before = files_of(folder)
try:
    other().save(folder)
except AuditFileError as error:
    assert "No space left on device" in str(error), error
else:
    sys.exit("it was saved")
assert files_of(folder) == before and hidden(folder) == [] and Audit.load(folder).n == 10' "$1/audit"
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a file system of its own is mounted by root alone, with unshare")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this root may not unshare its mounts")
    single().save(tmp_path / "old")
    (tmp_path / "disk").mkdir()
    command = [
        "unshare",
        "-m",
        "bash",
        "-c",
        FULL,
        "bash",
        str(tmp_path / "disk"),
        str(tmp_path / "old"),
        sys.executable,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
