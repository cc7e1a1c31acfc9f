"""A process that is killed while it saves leaves the old audit or the new one, at any moment."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from selfclean_hooks.cli import main as cli
from selfclean_hooks.cli.outcome import load_audit
from selfclean_hooks.gate.baseline import Baseline
from tests.helpers.command_line import contents, two_classes, write_npz, write_splits
from tests.helpers.disk_steps import before_every_step
from tests.helpers.forked import forked

STRICT = "--threshold", "near_duplicates=none"  # what is measured stays the same, what is kept does not
SINGLE = "audit", "one.npz", "-o", "audit", "--no-progress"
SPLITS = "audit", "train=train.npz", "val=val.npz", "-o", "audit", "--no-progress"
UPDATE = "--baseline", "baseline.jsonl", "--update-baseline"
CASES = {  # what was saved before, and what is killed
    "less is dropped": (SINGLE, (*SINGLE, *STRICT)),
    "splits": (SPLITS, (*SPLITS, *STRICT)),
    "one over splits": (SPLITS, SINGLE),
    "splits over one": (SINGLE, SPLITS),
    "with a baseline": ((*SINGLE, *STRICT, *UPDATE), (*SINGLE, *UPDATE)),
    "baseline alone": ((*SINGLE, *STRICT, *UPDATE), ("gate", "audit", "--threshold", "near_duplicates=auto", *UPDATE)),
}
AUDITS = [case for case, (_, command) in CASES.items() if command[0] == "audit"]
BASELINES = [case for case, (_, command) in CASES.items() if UPDATE[0] in command]


class Killed(NamedTuple):
    """Files and their digests before, after, and at every moment between; and these moments as folders."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    between: list[Mapping[str, str]]
    folders: list[Path]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Killed]:
    return {case: all_kills(tmp_path_factory.mktemp("killed"), *commands) for case, commands in CASES.items()}


def all_kills(root: Path, earlier: tuple[str, ...], command: tuple[str, ...]) -> Killed:
    work, here = root / "work", os.getcwd()
    write_splits(work)
    vectors, labels = two_classes(60)
    vectors[[10, 20]] = vectors[0]
    write_npz(work / "one.npz", vectors, labels)
    os.chdir(work)
    try:
        assert cli.main(list(earlier)) == 0
        before = contents(work)
        with before_every_step(work, root / "steps") as folders:
            assert cli.main(list(command)) == 0
        return Killed(before, contents(work), [contents(folder) for folder in folders], folders)
    finally:
        os.chdir(here)


def of_audit(files: Mapping[str, str]) -> dict[str, str]:
    """Those of the audit, without what was on its way into place."""
    return {name: digest for name, digest in files.items() if name.startswith("audit/") and "/." not in name}


@pytest.mark.parametrize("case", CASES)
def test_every_file_is_the_old_or_the_new_one(killed: Mapping[str, Killed], case: str) -> None:
    before, after, between, _ = killed[case]
    written = [name for name, digest in after.items() if digest != before.get(name)]
    assert len(between) >= 2 * len(written) >= 2  # each is made beside its place, and put there
    for files in between:
        named = {name: digest for name, digest in files.items() if "/." not in name and not name.startswith(".")}
        assert all(digest in (before.get(name), after.get(name)) for name, digest in named.items())
        sources = {name for name in before if name.endswith(".npz") and "/" not in name}
        assert {name: files[name] for name in sources} == {name: before[name] for name in sources}


@pytest.mark.parametrize("case", AUDITS)
def test_what_loads_is_the_old_audit_or_the_new_one_in_all_its_files(killed: Mapping[str, Killed], case: str) -> None:
    before, after, _, folders = killed[case]
    old, new = of_audit(before), of_audit(after)
    assert old != new
    seen = []
    for number, folder in enumerate(folders, 1):
        assert load_audit(folder / "audit").audits
        found = of_audit(contents(folder))
        assert found in (old, new), f"killed at step {number} of {len(folders)} a mixture is left"
        seen.append(found == new)
    assert seen == sorted(seen), "once the new one is there, it stays"
    assert set(seen) == {False, True}


@pytest.mark.parametrize("case", BASELINES)
def test_the_baseline_is_the_old_or_the_new_one(killed: Mapping[str, Killed], case: str) -> None:
    before, after, between, folders = killed[case]
    assert before["baseline.jsonl"] != after["baseline.jsonl"]
    for files, folder in zip(between, folders, strict=True):
        Baseline.read(folder / "baseline.jsonl")
        is_old = files["baseline.jsonl"] == before["baseline.jsonl"]
        assert is_old or files["baseline.jsonl"] == after["baseline.jsonl"]
        assert is_old or of_audit(contents(folder)) == of_audit(
            after
        )  # accepted only once the audit that has it is there


def killed_at_a_replacement(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        cli.main(list(arguments))


def test_a_process_that_is_really_killed(tmp_path: Path, saved: Path) -> None:
    baseline = tmp_path / "baseline.jsonl"
    Baseline({}).write(baseline)
    before = contents(saved), baseline.read_bytes()
    command = ["gate", str(saved), "--baseline", str(baseline), "--update-baseline"]
    assert forked(lambda: killed_at_a_replacement(*command)).status == -signal.SIGKILL
    assert (contents(saved), baseline.read_bytes()) == before
