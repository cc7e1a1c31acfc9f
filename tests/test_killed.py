"""A process that is killed while it saves leaves the old audit, the new one, or what says that it is neither."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Call, contents, two_classes, write_npz, write_splits
from killed_processes import KILLED

PROGRAM = Path(__file__).with_name("killed_processes.py")
STRICT = "--threshold", "near_duplicates=none"  # what is measured stays the same, what is kept does not
SINGLE = "audit", "one.npz", "-o", "audit", "--no-progress"
SPLITS = "audit", "train=train.npz", "val=val.npz", "-o", "audit", "--no-progress"
UPDATE = "--baseline", "baseline.jsonl", "--update-baseline"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where commands are run, with sources."""
    before = tmp_path / "before"
    write_splits(before)
    vectors, labels = two_classes(60)
    vectors[[10, 20]] = vectors[0]
    write_npz(before / "one.npz", vectors, labels)
    monkeypatch.chdir(before)
    return tmp_path


def killed(work: Path, *arguments: str) -> list[Any]:
    """What each run left, the last one being the one that was not killed."""
    command = [sys.executable, PROGRAM, work, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    *cut_short, last = runs
    assert {run["status"] for run in cut_short} == {KILLED}
    assert last["status"] == 0
    assert len(cut_short) >= 3 * sum(name not in contents(work / "before") for name in last["files"])
    return runs


def of(folder: str, run: Any) -> dict[str, str]:
    """The files in a folder, without what was on its way into place."""
    return {name: digest for name, digest in run["files"].items() if name.startswith(folder) and "/." not in name}


def assert_old_or_new_or_told(work: Path, runs: list[Any]) -> None:
    old, new = {"files": contents(work / "before")}, runs[-1]
    assert of("audit/", old) != of("audit/", new)
    whole = [of("audit/", old).items(), of("audit/", new).items()]
    seen = set()
    for number, run in enumerate(runs, 1):
        files, why = of("audit/", run), run["told"]["audit"]
        for name, digest in files.items():
            assert digest in (of("", old).get(name), of("", new).get(name)), (number, name)
        is_one = [files.items() <= kept for kept in whole]
        seen.add("told" if why else "old" if is_one[0] else "new")
        assert why or any(is_one), f"killed at step {number} of {len(runs)} it loads as a mixture: {sorted(files)}"
        assert not why or "audit" in why
    assert {"old", "new"} <= seen


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ([SINGLE], [*SINGLE, *STRICT]),
        ([[*SINGLE, *STRICT]], [*SINGLE]),
        ([SPLITS], [*SPLITS, *STRICT]),
        ([SPLITS], [*SINGLE]),
        ([SINGLE], [*SPLITS]),
    ],
    ids=["other-thresholds", "more-is-dropped", "splits", "one-over-splits", "splits-over-one"],
)
def test_an_audit_over_an_earlier_one(work: Path, call: Call, before: Any, command: list[str]) -> None:
    for earlier in before:
        assert call(*earlier).status == 0
    assert_old_or_new_or_told(work, killed(work, *command))


def test_an_audit_and_a_baseline(work: Path, call: Call) -> None:
    assert call(*SINGLE, *STRICT, *UPDATE).status == 0
    old = contents(work / "before")["baseline.jsonl"]
    runs = killed(work, *SINGLE, *UPDATE)
    assert_old_or_new_or_told(work, runs)
    new = runs[-1]["files"]["baseline.jsonl"]
    assert new != old
    assert {run["files"]["baseline.jsonl"] for run in runs} == {old, new}
    assert {run["told"]["baseline.jsonl"] for run in runs} == {""}
    for run in runs[:-1]:  # findings are accepted only once the audit that has them is there
        assert run["files"]["baseline.jsonl"] == old or of("audit/", run) == of("audit/", runs[-1])


def test_a_baseline_alone(work: Path, call: Call) -> None:
    assert call(*SINGLE).status == 0
    assert call("gate", "audit", *STRICT, *UPDATE).status == 0
    old = contents(work / "before")
    runs = killed(work, "gate", "audit", *UPDATE)
    assert {json.dumps(of("audit/", run)) for run in runs} == {json.dumps(of("audit/", {"files": old}))}
    assert {run["files"]["baseline.jsonl"] for run in runs} == {old["baseline.jsonl"], runs[-1]["files"]["baseline.jsonl"]}
    assert {run["told"]["baseline.jsonl"] for run in runs} == {""}
