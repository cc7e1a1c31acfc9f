"""The command line in process. `UPDATE_GOLDEN=1 pytest tests/test_cli.py` writes the help texts anew."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from selfclean_hooks import Audit
from selfclean_hooks.cli import main as cli
from selfclean_hooks.embedding.backbones import self_supervised
from tests.helpers.command_line import refused

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("command", ["", "demo", "audit", "pretrain", "gate", "report", "apply", "export", "init"])
def test_help_is_the_golden_text(command: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    golden = GOLDEN / f"help_{command or 'selfclean-hooks'}.txt"
    ran = call(*command.split(), "--help")
    assert (ran.status, ran.err) == (0, "")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(ran.out)
    assert ran.out == golden.read_text()


def test_audit_saves_prints_and_passes_without_limits(source: Path, tmp_path: Path, call: Any) -> None:
    ran = call("audit", source, "--output", tmp_path / "out")
    assert ran.status == 0
    assert "60 samples" in ran.out
    assert f"report: {tmp_path / 'out' / 'report.html'}" in ran.out
    found = Audit.load(tmp_path / "out")
    assert len(found) == 60
    assert found.contamination["near_duplicates"] == 2 / 60
    kept = [int(line) for line in (tmp_path / "out" / "clean_indices.txt").read_text().split()]
    assert kept == found.clean_indices.tolist()
    assert found.provenance["dataset"]["name"] == str(source)
    assert "the limits</strong>" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("limit", "status"), [("0.04", 0), ("0.03", 1), ("0", 1), ("1", 0)])
def test_the_status_is_the_verdict(
    source: Path, saved: Path, tmp_path: Path, call: Any, limit: str, status: int
) -> None:
    audited = call("audit", source, "-o", tmp_path / "out", "--max-near-duplicates", limit)
    gated = call("gate", saved, "--max-near-duplicates", limit)
    assert (audited.status, gated.status) == (status, status)
    for ran in (audited, gated):
        word = "exceeds the limit" if status else "is within the limit"
        assert f"near_duplicates: 0.0333 (2 of 60 samples; 95% interval 0.0092 to 0.1136) {word}" in ran.out
        assert ran.err.strip() == ""
    page = (tmp_path / "out" / "report.html").read_text()  # saved also where it failed
    assert ("Within the limits" in page, "Limits exceeded" in page) == (status == 0, status == 1)


def test_a_check_that_did_not_run_cannot_pass(source: Path, tmp_path: Path, call: Any) -> None:
    np.savez(source, embeddings=np.load(source)["embeddings"])
    ran = call("audit", source, "-o", tmp_path / "out", "--max-label-errors", 1)
    assert ran.status == 1
    assert "label_errors: not run (there are no labels), so the limit 1 is not met" in ran.out


def test_json_is_all_that_standard_output_gets(source: Path, saved: Path, tmp_path: Path, call: Any) -> None:
    audited = call("audit", source, "-o", tmp_path / "out", "--format", "json", "--max-off-topic", 1)
    gated = call("gate", saved, "--format", "json", "--max-near-duplicates", 0)
    assert (audited.status, gated.status) == (0, 1)
    for ran, passed in ((audited, True), (gated, False)):
        content = json.loads(ran.out)
        assert content["samples"] == 60
        assert content["verdict"]["passed"] is passed
        assert content["contamination"]["near_duplicates"] == pytest.approx(2 / 60)


def test_notes_and_bars_go_to_standard_error(
    folder: Path, tmp_path_factory: Any, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)
    monkeypatch.setenv("FORCE_COLOR", "1")  # bars are drawn where standard error is a terminal
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    ran = call(
        "audit", folder, "-o", tmp_path_factory.mktemp("out"), "--format", "json", "--backbone", "self-supervised"
    )
    assert ran.status == 0
    content = json.loads(ran.out)
    assert content["samples"] == 7
    assert content["contamination"]["unreadable"] == pytest.approx(1 / 7)
    assert "training an encoder" in ran.err
    assert "comparing" in ran.err


def test_a_flat_folder_is_audited_without_labels(
    tmp_path: Path, tmp_path_factory: Any, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    out = tmp_path_factory.mktemp("out")
    ran = call("audit", tmp_path, "-o", out, "--backbone", "self-supervised", "--no-progress")
    assert ran.status == 0
    assert "not run" in ran.out
    assert "there are no labels" in ran.out
    assert Audit.load(out).names == tuple(str(tmp_path / f"{index}.png") for index in range(4))


def test_tables_and_python_objects_are_sources(
    folder: Path, tmp_path_factory: Any, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_supervised, "EPOCHS", 1)
    out = tmp_path_factory.mktemp("out")
    paths = sorted(folder.rglob("*.png"))
    pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]}).to_csv(folder / "t.csv", index=False)
    for text in (folder / "t.csv", "tests.helpers.embedding_data:Items"):
        ran = call("audit", text, "-o", out, "--backbone", "self-supervised", "--no-progress")
        assert (ran.status, ran.err if "error" in ran.err else "") == (0, "")
    found = Audit.load(out)
    assert found.provenance["dataset"]["name"] == "tests.helpers.embedding_data:Items"
    assert len(found) == 12


def test_report_is_written_anew(saved: Path, call: Any) -> None:
    page = saved / "report.html"
    page.unlink()
    ran = call("report", saved)
    assert (ran.status, ran.out.strip(), ran.err) == (0, str(page), "")
    assert page.read_text().startswith("<!")


def test_report_opens_the_page_where_asked_to(saved: Path, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    assert call("report", saved, "--open").status == 0
    assert opened == [(saved / "report.html").resolve().as_uri()]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_sources_that_cannot_be_read(tmp_path: Path, call: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.npz").write_bytes(b"PK damaged")
    out = tmp_path / "out"
    assert "no such file or folder exists" in refused(call("audit", tmp_path / "nowhere", "-o", out))
    assert str(tmp_path / "empty") in refused(call("audit", tmp_path / "empty", "-o", out))
    assert "x.npz" in refused(call("audit", tmp_path / "x.npz", "-o", out))
    assert "nomodule" in refused(call("audit", "nomodule:thing", "-o", out))


def test_a_file_in_the_way_of_the_output_is_said_before_the_source_is_read(tmp_path: Path, call: Any) -> None:
    (tmp_path / "out").write_text("in the way")
    for output in (tmp_path / "out", tmp_path / "out" / "below"):
        assert "out" in refused(call("audit", tmp_path / "nowhere", "-o", output))
    assert (tmp_path / "out").read_text() == "in the way"


@pytest.mark.parametrize("limit", ["1.5", "-0.1", "nan", "many", ""])
def test_limits_out_of_range(saved: Path, source: Path, tmp_path: Path, call: Any, limit: str) -> None:
    for command in (["gate", saved], ["audit", source, "-o", tmp_path / "out"]):
        message = refused(call(*command, f"--max-off-topic={limit}"))
        assert "off-topic" in message or "off_topic" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (["cleanse"], "No such command"),
        (["audit"], "Missing argument"),
        (["audit", "x", "--bogus"], "No such option"),
        (["audit", "x", "--format", "xml"], "xml"),
        (["audit", "x", "--method", "magic"], "magic"),
        (["audit", "x", "--workers", "-1"], "'--workers'"),
        (["gate"], "Missing argument"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, call: Any) -> None:
    ran = call(*arguments)
    assert ran.status == 2
    assert message in ran.out + ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", ["gate", "report"])
@pytest.mark.parametrize("damage", ["no folder", "no manifest", "truncated manifest", "truncated scores"])
def test_damaged_audits(saved: Path, call: Any, command: str, damage: str) -> None:
    manifest, scores = saved / "manifest.json", saved / "scores.npz"
    if damage == "no folder":
        saved = saved / "nowhere"
    elif damage == "no manifest":
        manifest.unlink()
    else:
        path = manifest if damage == "truncated manifest" else scores
        path.write_bytes(path.read_bytes()[:-50])
    assert str(saved) in refused(call(command, saved))


def test_an_unknown_backbone_says_what_is_near(folder: Path, tmp_path_factory: Any, call: Any) -> None:
    out = tmp_path_factory.mktemp("out")
    assert "did you mean resnet18" in refused(call("audit", folder, "-o", out, "--backbone", "resnt18"))


def test_a_policy_that_would_drop_too_much_is_an_error_after_saving(tmp_path: Path, call: Any) -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(5, 4)), 4, 0)
    np.savez(tmp_path / "x.npz", embeddings=vectors)
    ran = call("audit", tmp_path / "x.npz", "-o", tmp_path / "out", "--format", "json")
    assert ran.status == 2
    assert json.loads(ran.out)["kept"] is None
    assert "without clean_indices.txt" in ran.err
    assert not (tmp_path / "out" / "clean_indices.txt").exists()
    assert call("audit", tmp_path / "x.npz", "-o", tmp_path / "out", "--max-near-duplicates", 0.1).status == 1


def test_an_interrupt_is_an_error_and_not_a_verdict(
    source: Path, tmp_path: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfclean_hooks.cli.audit_sources.audit_sources", stop)
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "there", tmp_path / "there" / "new", tmp_path / "of" / "several"):
        assert "interrupted" in refused(call("audit", source, "-o", out))
        assert [path.name for path in tmp_path.iterdir() if path != source] == ["there"]
        assert not list((tmp_path / "there").iterdir())


def test_what_nobody_thought_of_is_an_error_with_its_traceback(
    source: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("selfclean_hooks.cli.audit_sources.audit_sources", fail)
    ran = call("audit", source)
    assert (ran.status, ran.out) == (2, "")
    assert "Traceback" in ran.err
    assert "error: unexpected ZeroDivisionError: surprise" in ran.err


def test_the_installed_command_exits_with_the_status(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["selfclean-hooks", "gate", str(saved), "--max-near-duplicates", "0"])
    with pytest.raises(SystemExit) as stop:
        cli.run()
    assert stop.value.code == 1


LIGHT = """
import sys
from selfclean_hooks.cli.main import main
status = main(["gate", sys.argv[1], "--max-near-duplicates", "0"]), main(["report", sys.argv[1]])
heavy = {"torch", "timm", "lightning", "torchvision", "sklearn"} & set(sys.modules)
assert status == (1, 0), status
assert not heavy, heavy
"""


def test_gate_and_report_load_no_model_library(saved: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, saved], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_that_imports_the_command_line_calls_it_as_before() -> None:
    code = "from selfclean_hooks import cli; raise SystemExit(cli.main(['gate', 'nowhere']))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "nowhere" in ran.stderr
    assert "Traceback" not in ran.stderr
