"""Names and labels with characters that terminals act on or hide: none of them is left in any text that is written."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from selfclean_hooks import Audit, Limits
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.report.formats import WRITERS, as_text
from tests.helpers.command_line import Call
from tests.helpers.format_data import two

HOSTILE = (
    "\x1b[2J\x1b[31mred",
    "\x9b2Jcsi",
    "a\rb",
    "a\x00b",
    "a\x07\x08\x7fb",
    "gnp.\u202eexe",
    "\u2066isolate\u2069",
    "\ud800lone",
    "nel\x85line\u2028para\u2029",
    "\ufeffbom\u200bzero\xadsoft",
)
SPLIT = "va\x1b[31ml\u202e"


def hostile() -> SplitsAudit:
    audits = {}
    for name, audit in zip(("train", SPLIT), two(other=SPLIT).values(), strict=True):
        names = tuple(HOSTILE[i % len(HOSTILE)] + str(i) for i in range(len(audit)))
        classes = tuple(HOSTILE[i % len(HOSTILE)] for i in range(len(audit.scores.class_names or ()) or 2))
        errors = {i: "OSError: " + HOSTILE[i % len(HOSTILE)] for i in audit.scores.errors}
        scores = replace(audit.scores, class_names=classes, errors=errors, not_run={"off_topic": HOSTILE[0]})
        about = {**audit.provenance, "notes": list(HOSTILE), "dataset": {"name": HOSTILE[1]}}
        audits[name] = replace(audit, scores=scores, names=names, provenance=about)
    row = {"split_1": "train", "split_2": SPLIT, "distance": 0.5, "expected": 0.25, "p_value": 0.125}
    return SplitsAudit(audits, ({**row, "components": 3, "explained": 1.0},))


def hidden(text: str) -> set[str]:
    """Characters that are neither shown nor ends of lines."""
    return {c for c in text if not c.isprintable() and c != "\n"}


@pytest.mark.parametrize("format", WRITERS)
def test_formats(format: str) -> None:
    found = hostile()
    baseline = Baseline.of(found.audits)
    for verdict in (found.check(Limits(near_duplicates=0, label_errors=0, leakage=0)), found.check(None, baseline)):
        assert hidden(as_text(format, found.audits, verdict, found.shifts)) == set()  # type: ignore[arg-type]


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".csv", ".json", ".txt", ".jsonl"):
            with path.open(encoding="utf-8", newline="") as file:
                yield path.relative_to(folder).as_posix(), file.read()


def test_saved_files(tmp_path: Path) -> None:
    found = hostile()
    found.save(tmp_path)
    Baseline.of(found.audits).write(tmp_path / "baseline.jsonl")
    seen = dict(texts(tmp_path))
    assert len(seen) >= 12
    assert {name: characters for name, text in seen.items() if (characters := hidden(text))} == {}
    again = SplitsAudit.load(tmp_path)
    assert [audit.names for audit in again.audits.values()] == [audit.names for audit in found.audits.values()]
    assert again.audits["train"].provenance["notes"] == list(HOSTILE)
    table = list(csv.DictReader(io.StringIO(seen["train/samples.csv"])))
    assert [row["sample"] for row in table[:4]] == [
        r"\x1b[2J\x1b[31mred0",
        r"\x9b2Jcsi1",
        r"a\rb2",
        r"a\0b3",
    ]
    assert json.loads(seen["train/manifest.json"])["dataset"]["name"] == HOSTILE[1]


def test_what_commands_print(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "a\x1b[31mudit\u202e"
    hostile().save(folder)
    baseline = tmp_path / "base\x9bline.jsonl"
    runs = [
        ("gate", folder),
        ("gate", folder, "--max-off-topic", "0", "--max-near-duplicates", "0"),
        ("gate", folder, "--baseline", baseline, "--update-baseline"),
        ("gate", folder, "--baseline", baseline),
        ("gate", folder, "--max-off-topic", "no\x1b[31mne=0"),
        ("gate", folder, "--threshold", "x\x1b=0"),
        ("gate", folder, "--decisions", tmp_path / "\x1b[5mnone.json"),
        ("gate", tmp_path / "\x1b[5mnone"),
        ("gate", folder, "--format", "\x1b[5mnone"),
        ("report", folder),
        ("audit", "\x1b[5mnone", "-o", tmp_path / "out"),
        ("audit", "\x1b[5mnone.csv", "-o", folder / "\x1b[5m"),
    ]
    for run in runs:
        ran = call(*run)
        assert hidden(ran.out + ran.err) == set(), run


def test_splits_of_one(tmp_path: Path) -> None:
    one: Audit = hostile().audits["train"]
    one.save(tmp_path)
    assert all(not hidden(text) for _, text in texts(tmp_path))
