"""The last line of what is printed is the result; what stands above it is brief, whole or nothing."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli.audit_sources import audit_sources
from selfclean_hooks.cli.output import advise_on_time, quiet
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.errors import DataWarning
from selfclean_hooks.gate.verdict import Check, Count, Verdict
from selfclean_hooks.report.table import brief_tables
from selfclean_hooks.report.text import in_one_line, percentage
from tests.helpers.command_line import Call
from tests.helpers.format_data import half_accepted, judged, one, two


def checked(issue: str, found: int, samples: int = 5500, split: str = "", **settings: object) -> Check:
    none = np.zeros(0, np.int64)
    return Check(issue, split, samples, np.arange(found), none, (), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("checks", "line"),
    [
        ([checked("label_errors", 303, limit=0.02)], "failed: label errors 5.5% exceed 2%"),
        ([checked("off_topic", 112, limit=0.02)], "failed: off topic 2.04% exceeds 2%"),
        ([checked("near_duplicates", 3, limit=0.0)], "failed: near duplicates 0.1% exceed 0%"),
        ([checked("near_duplicates", 1, 90_000, limit=0.0)], "failed: near duplicates 0.001% exceed 0%"),
        ([checked("leakage", 7, split="val", limit=Count(5))], "failed: val: leakage 7 exceeds 5"),
        ([checked("label_errors", 0, limit=0.1, not_run="no labels")], "failed: label errors not run"),
        (
            [
                checked("total", 2, limit=Count(0)),
                checked("off_topic", 0, limit=1.0),
                checked("unreadable", 2, limit=0.0),
            ],
            "failed: total 2 exceeds 0, unreadable 0.04% exceeds 0%",
        ),
        ([checked("off_topic", 5, limit=1.0), checked("total", 5, limit=1.0)], "passed: 2 limits kept"),
        ([checked("off_topic", 5), checked("label_errors", 2), checked("total", 6)], "passed: 7 findings, no limit"),
        ([checked("off_topic", 0), checked("label_errors", 0, not_run="no labels")], "passed: nothing found"),
    ],
)
def test_the_result_in_one_line(checks: list[Check], line: str) -> None:
    assert in_one_line(Verdict(tuple(checks))) == line


@pytest.mark.parametrize("share", [0.5, 0.05, 0.021, 0.02001, 0.020000001])
def test_a_share_beyond_a_limit_reads_so(share: float) -> None:
    assert float(percentage(share, 0.02).rstrip("%")) > 2


def test_the_last_line_is_the_result_and_the_command_to_go_on(saved: Path, call: Call) -> None:
    page = f"next: selfclean-hooks report {saved}/ --open"

    def last(*more: Any) -> str:
        return str(call("gate", saved, *more).out.splitlines()[-1])

    assert last("--max-near-duplicates", "1%") == f"failed: near duplicates 3.3% exceed 1% | {page}"
    assert last("--max-near-duplicates", "count:2") == f"passed: 1 limit kept | {page}"
    assert re.fullmatch(rf"passed: \d findings, no limit \| {re.escape(page)}", last())
    empty = {"format": 1, "kind": "selfclean-hooks decisions", "decisions": []}
    (saved.parent / "my decisions.json").write_text(json.dumps(empty))
    decided = last("--decisions", saved.parent / "my decisions.json")
    command = f"selfclean-hooks apply {saved}/ --decisions '{saved.parent / 'my decisions.json'}' --to clean"
    assert decided.endswith(f" | next: {command}")


def test_the_command_that_is_named_can_be_run(saved: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    command = call("gate", saved).out.splitlines()[-1].partition("next: selfclean-hooks ")[2]
    assert call(*command.split()).status == 0
    assert opened == [(saved / "report.html").as_uri()]


def test_brief_whole_or_quiet(saved: Path, call: Call) -> None:
    brief, whole, least = (call("gate", saved, *flags).out for flags in ([], ["-v"], ["-q"]))
    assert brief.splitlines()[1].split() == ["issue", "found", "worst"]
    assert "threshold" not in brief
    assert "inspect for" not in brief
    assert {"threshold", "contamination"} <= set(whole.splitlines()[1].split())
    assert "inspect for" in whole
    assert least.splitlines() == brief.splitlines()[-1:] == whole.splitlines()[-1:]
    assert call("gate", saved, "-q", "--format", "json").out == call("gate", saved, "--format", "json").out


def test_quiet_has_no_notes_and_no_warnings(source: Path, tmp_path: Path, call: Call) -> None:
    np.savez(tmp_path / "same.npz", embeddings=np.ones((20, 4), np.float32))
    assert call("audit", tmp_path / "same.npz", "-o", tmp_path / "loud").err != ""
    assert call("audit", source, "-o", tmp_path / "out", "--quiet").err == ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet(True):
            warnings.warn("of the data", DataWarning, stacklevel=1)
        warnings.warn("after it", DataWarning, stacklevel=1)
    assert [str(each.message) for each in caught] == ["after it"]


def test_a_brief_table_names_files_and_says_what_did_not_run() -> None:
    audits = {"": one()}
    cells = [list(column.cells) for column in brief_tables(audits, judged(audits, Limits()))[0].columns]
    rows = {str(row[0]): [str(cell) for cell in row[1:]] for row in zip(*cells, strict=True)}
    names = audits[""].names
    assert names is not None
    assert rows["near duplicates"][0] == "2 (20.0%)"
    assert rows["near duplicates"][1].startswith(names[1])
    assert rows["label errors"] == ["not run", "there are no labels"]
    audits = two()
    assert [str(table.title) for table in brief_tables(audits, judged(audits))] == [
        "train: 10 samples",
        "val: 10 samples",
    ]
    accepted = brief_tables(*half_accepted())[0]
    assert "0 new, 1 accepted" in map(str, accepted.columns[1].cells)


def test_without_a_report_there_is_none_and_an_old_one_goes(source: Path, tmp_path: Path, call: Call) -> None:
    out = tmp_path / "out"
    call("audit", source, "-o", out)
    assert (out / "report.html").exists()
    ran = call("audit", source, "-o", out, "--no-report")
    assert ran.status == 0
    assert not (out / "report.html").exists()
    assert "report: " not in ran.out
    assert len(Audit.load(out)) == 60
    assert call("report", out).status == 0
    assert (out / "report.html").exists()


def test_device_batch_size_and_seed_reach_the_audit(
    source: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[EmbeddingSettings] = []

    def record(opened: Any, backbone: Any, settings: AuditSettings) -> SplitsAudit:
        given.append(settings.embedding)
        return audit_sources(opened, backbone, settings)

    monkeypatch.setattr("selfclean_hooks.cli.audit_sources.audit_sources", record)
    call("audit", source, "-o", tmp_path / "out", "--batch-size", "3", "--seed", "7", "--device", "cpu")
    assert (given[0].batch_size, given[0].seed, given[0].device) == (3, 7, "cpu")
    assert call("audit", source, "--batch-size", "0").status == 2


def test_what_took_long_says_how_it_is_faster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with advise_on_time("photos", None, "auto"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("selfclean_hooks.cli.output.LONG", -1.0)
    with advise_on_time("my photos", None, "auto"):
        pass
    text = " ".join(capsys.readouterr().err.split())
    assert "--cache-dir DIR" in text
    assert "selfclean-hooks pretrain 'my photos' -o encoder.safetensors" in text
    with advise_on_time("photos", Path("cache"), "resnet18"):
        pass
    assert capsys.readouterr().err == ""


def test_the_version(call: Call) -> None:
    assert re.fullmatch(r"selfclean-hooks \d+\.\d+\.\d+\S*\n", call("--version").out)


def test_completion_is_for_the_shells(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SELFCLEAN_HOOKS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "selfclean-hooks audit --max-l")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert call().out.split() == ["--max-label-errors", "--max-leakage"]


def test_an_error_is_the_last_line(saved: Path, call: Call) -> None:
    ran = call("gate", saved, "--threshold", "off_topic=1.0")
    assert ran.status == 2
    assert "passed" not in ran.out
    assert ran.err.startswith("error: the threshold 1 flags")
