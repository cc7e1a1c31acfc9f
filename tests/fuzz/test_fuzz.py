"""Cases drawn at random: `pytest tests/fuzz --fuzz 10000`; a failure says how to run its case again."""

import gc
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from selfclean_hooks import audit
from tests.fuzz.conftest import CASES, option
from tests.fuzz.outcome import OUTPUT, Outcome, contents, faults, run_call, run_command
from tests.fuzz.targets import TARGETS, reviewed, vectors
from tests.fuzz.values import AnySamples, arguments
from tests.helpers.new_memory import new_memory

OTHERS = ("items", "arguments")
QUICK = 3  # cases of a command that reads no data set for one of others
SHOWN = 5  # failures of a target that are described


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)


def seeds(config: pytest.Config, target: str) -> list[int]:
    """Of the cases of one target."""
    known, _, seed = str(option(config, "--fuzz-case", "")).partition(":")
    if known:
        return [int(seed)] if known == target else []
    first, count = option(config, "--fuzz-seed", 0), option(config, "--fuzz", CASES)
    shares = {name: QUICK if name in TARGETS and TARGETS[name].argv[0] == "gate" else 1 for name in (*TARGETS, *OTHERS)}
    return list(range(first, first + -(-count * shares[target] // sum(shares.values()))))


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The files that a target starts from, made once."""
    return cache(lambda target: template(target, tmp_path_factory.mktemp("start")))


def template(target: str, place: Path) -> Path:
    """Make them in an empty folder."""
    before = os.getcwd()
    os.chdir(place)
    try:
        if target in TARGETS:
            TARGETS[target].build(place)
        elif target == "arguments":
            reviewed(place)
            vectors(place)
    finally:
        os.chdir(before)
    return place


def outcome_of(target: str, seed: int, start: Path, place: Path) -> tuple[Outcome, list[str]]:
    """Of one case, and what does not hold in it."""
    rng = Random(f"{target}:{seed}")
    shutil.copytree(start, place)
    os.chdir(place)
    if target == "items":
        samples = AnySamples(rng)
        outcome = run_call(lambda: audit(samples, features, progress=False))
        return outcome, list(faults(outcome, is_command=False))
    argv = list(TARGETS[target].argv) if target in TARGETS else arguments(rng)
    if target in TARGETS:
        TARGETS[target].change(place, rng)
    if (place / "kept").is_dir():
        shutil.copytree(place / "kept", place / "out-kept")
    before = contents(place)
    is_report = target == "arguments" and argv[0] == "report"
    outcome = run_command(argv, "saved" if is_report else OUTPUT)
    wrong = list(faults(outcome))
    after = contents(place)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    changed = [name for name in changed if not (is_report and name.startswith("saved/report.html"))]
    return outcome, wrong + ([f"files changed: {changed[:5]}"] if changed else [])


def features(batch: Any) -> torch.Tensor:
    """Of whatever comes: its first 48 numbers."""
    rows = [torch.as_tensor(each).float().flatten()[:48] for each in batch]
    return torch.stack([torch.nn.functional.pad(row, (0, 48 - len(row))) for row in rows])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_changed_is_read(target: str, tmp_path: Path, templates: Callable[[str], Path]) -> None:
    start = shutil.copytree(templates(target), tmp_path / "case")
    os.chdir(start)
    if (start / "kept").is_dir():
        shutil.copytree(start / "kept", start / "out-kept")
    outcome = run_command(list(TARGETS[target].argv))
    assert (outcome.status, list(faults(outcome))) == (0, [])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", [*TARGETS, *OTHERS])
def test_whatever_is_read_ends_in_a_result_or_a_sentence(
    target: str, tmp_path: Path, request: pytest.FixtureRequest, templates: Callable[[str], Path]
) -> None:
    chosen = seeds(request.config, target)
    if not chosen:
        pytest.skip("another case was asked for")
    start, counts = templates(target), Counter[int]()
    failed: dict[int, list[str]] = {}
    for seed in chosen:
        outcome, wrong = outcome_of(target, seed, start, tmp_path / "case")
        counts[outcome.status] += 1
        if wrong:
            failed[seed] = wrong
        os.chdir(tmp_path)
        shutil.rmtree(tmp_path / "case")
    print(f"{target}: {len(chosen)} cases, {dict(sorted(counts.items()))}, {len(failed)} failed")
    gc.collect()
    again = [f"pytest tests/fuzz -n 0 --fuzz-case '{target}:{seed}'\n    {'; '.join(w)}" for seed, w in failed.items()]
    assert not failed, f"{len(failed)} of {len(chosen)} cases of {target} failed:\n" + "\n".join(again[:SHOWN])


def test_faults_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties can fail."""
    monkeypatch.setattr("tests.fuzz.outcome.MEGABYTES", 60)

    def unruly() -> Iterator[str]:
        yield from faults(run_call(lambda: dict[str, int]()["key"]), is_command=False)
        yield from faults(run_call(lambda: Path("elsewhere").write_text("x")), is_command=False)
        with ExitStack() as held:
            yield from faults(run_call(lambda: held.enter_context(new_memory(100 * 2**20))), is_command=False)
        yield from faults(Outcome(2, "\x1b[2J", "", 0, ()))
        yield from faults(Outcome(2, "", "error: Traceback (most recent call last)", 0, ()))

    found = " ".join(unruly())
    words = (
        "KeyError: 'key'",
        "written or started elsewhere",
        "MB of memory",
        "control characters",
        "without a sentence",
    )
    assert all(word in found for word in words), found
    assert "a traceback: error: Traceback" in found
