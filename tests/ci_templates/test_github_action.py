"""The scripts of the GitHub action, run as they are written."""

from pathlib import Path

import pytest

from tests.ci_templates.ci_steps import ACTION, ROOT, Action, calls, document, stub

FORMATS = ["json", "junit", "sarif", "markdown"]
HOSTILE = "my \"photos\" 'of' $(touch x) `touch x`; touch x && * \\ --help"


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    return stub(tmp_path)


def test_one_audit_and_a_gate_call_per_format(tmp_path: Path, binaries: Path) -> None:
    inputs = {"source": "photos", "limits": "--max-near-duplicates 1%", "baseline": "accepted.txt", "output": "out"}
    audit, verdict = Action(tmp_path, binaries, **inputs, arguments="--workers 4").run_all()
    assert (audit.status, verdict.status) == (0, 0)
    limits = ["--max-near-duplicates", "1%", "--baseline=accepted.txt"]
    cache = f"--cache-dir={tmp_path / 'runner temp' / 'selfclean-hooks-cache'}"
    options = ["--workers", "4", cache, *limits, "--backbone=auto", "--output=out", "--no-progress"]
    gates = [["gate", *limits, f"--format={name}", "--", "out"] for name in FORMATS]
    assert calls(tmp_path) == [["audit", *options, "--", "photos"], *gates]
    assert audit.summary == "made as markdown\n"
    files = {"verdict": "out/verdict.json", "report": "out"}
    assert audit.outputs == {"passed": "true", "status": "0", "cache-changed": "true", **files}
    names = {"manifest.json", "verdict.json", "junit.xml", "results.sarif", "summary.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("photos", ["photos"]),
        ("my photos\n", ["my photos"]),
        ("train=my data/train  val=my data/val test=c d", ["train=my data/train", "val=my data/val", "test=c d"]),
        ("  train=a b\n\n\tval=c=d e \n", ["train=a b", "val=c=d e"]),
        ("été.v-1=a b_2=c", ["été.v-1=a", "b_2=c"]),
        ("lr=1 seed=3", ["lr=1 seed=3"]),
        ("-o", ["-o"]),
        (HOSTILE, [HOSTILE]),
        (f"train={HOSTILE}\nval=*", [f"train={HOSTILE}", "val=*"]),
        ("", []),
    ],
)
def test_sources_arrive_as_they_were_written(source: str, words: list[str], tmp_path: Path, binaries: Path) -> None:
    (tmp_path / "lr=1 seed=3").mkdir()
    Action(tmp_path, binaries, source=source).run_all()
    called = calls(tmp_path)[0]
    assert called[called.index("--") + 1 :] == words
    assert not (tmp_path / "x").exists()


def test_hostile_inputs_are_words_and_nothing_else(tmp_path: Path, binaries: Path) -> None:
    output = "out $(touch x)\npassed=true"
    inputs = {"limits": f"{HOSTILE}\n--max-total 1", "arguments": HOSTILE, "baseline": HOSTILE, "backbone": HOSTILE}
    action = Action(tmp_path, binaries, source="photos", output=output, cache="false", **inputs)
    audit, verdict = action.run_all(STUB_AUDIT="1")
    limits = [*HOSTILE.split(), "--max-total", "1", f"--baseline={HOSTILE}"]
    made, *gates = calls(tmp_path)
    assert made[1:-4] == [*HOSTILE.split(), *limits, f"--backbone={HOSTILE}"]
    assert made[-4:] == [f"--output={output}", "--no-progress", "--", "photos"]
    assert gates == [["gate", *limits, f"--format={name}", "--", output] for name in FORMATS]
    assert (audit.outputs["passed"], audit.outputs["report"], verdict.status) == ("false", output, 1)
    assert not (tmp_path / "x").exists()


def test_what_lies_around_is_not_expanded(tmp_path: Path, binaries: Path) -> None:
    (tmp_path / "--update-baseline").touch()
    Action(tmp_path, binaries, source="*", limits="*").run_all()
    assert calls(tmp_path)[1] == ["gate", "*", "--format=json", "--", "audit"]


@pytest.mark.parametrize(("cache", "passed"), [("true", True), ("false", False)])
def test_the_cache_is_an_input(cache: str, passed: bool, tmp_path: Path, binaries: Path) -> None:
    audit, _ = Action(tmp_path, binaries, source="photos", cache=cache).run_all()
    assert any(word.startswith("--cache-dir=") for word in calls(tmp_path)[0]) is passed
    assert ("cache-changed" in audit.outputs) is passed


def test_embeddings_are_saved_where_they_changed_only(tmp_path: Path, binaries: Path) -> None:
    action = Action(tmp_path, binaries, source="photos")
    assert "cache-changed" in action.run_all()[0].outputs
    assert "cache-changed" not in action.run_all()[0].outputs


def test_contamination_fails_the_last_step(tmp_path: Path, binaries: Path) -> None:
    audit, verdict = Action(tmp_path, binaries, source="photos", limits="--max-total 0").run_all(STUB_AUDIT="1")
    assert audit.status == 0  # the report is to be uploaded
    assert (audit.outputs["passed"], audit.outputs["status"]) == ("false", "1")
    assert audit.summary == "made as markdown\n"
    assert verdict.status == 1
    assert verdict.log.startswith("::error title=selfclean-hooks::The data is beyond a limit")


@pytest.mark.parametrize("status", [2, 137])
def test_an_error_does_not_look_like_contamination(status: int, tmp_path: Path, binaries: Path) -> None:
    said = "error: <b>photos</b> & such"
    action = Action(tmp_path, binaries, source="photos", limits="--max-total 0")
    audit, verdict = action.run_all(STUB_AUDIT=str(status), STUB_SAYS=said)
    assert len(calls(tmp_path)) == 1
    assert audit.outputs == {"status": str(status), "cache-changed": "true"}
    assert "no verdict" in audit.summary
    assert f"Exit status {status}: an error, which says nothing about the data" in audit.summary
    assert "error: &lt;b&gt;photos&lt;/b&gt; &amp; such" in audit.summary
    assert verdict.status == status
    assert "No verdict" in verdict.log
    assert "beyond a limit" not in verdict.log


def test_an_error_leaves_no_old_result(tmp_path: Path, binaries: Path) -> None:
    action = Action(tmp_path, binaries, source="photos")
    action.run_all()
    audit, _ = action.run_all(STUB_AUDIT="2")
    assert {"passed", "report", "verdict"}.isdisjoint(audit.outputs)
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {"manifest.json"}  # not theirs to remove


@pytest.mark.parametrize("how", [{"STUB_SAVES_NOT": ""}, {"STUB_SAVES_NOT": "", "STUB_AUDIT": "1"}, {"STUB_GATE": "1"}])
def test_only_what_was_saved_and_read_counts(how: dict[str, str], tmp_path: Path, binaries: Path) -> None:
    """Neither --help among the limits (0), nor a broken installation (1), nor a gate that says otherwise."""
    audit, verdict = Action(tmp_path, binaries, source="photos").run_all(**how)
    assert ("passed" in audit.outputs, audit.outputs["status"], verdict.status) == (False, "2", 2)
    assert "the audit ended with" in audit.summary


def test_splits_are_saved_under_another_name(tmp_path: Path, binaries: Path) -> None:
    audit, _ = Action(tmp_path, binaries, source="a=1 b=2").run_all(STUB_SAVES="splits.json")
    assert (audit.outputs["passed"], audit.outputs["report"]) == ("true", "audit")


def test_an_audit_beside_an_earlier_one_is_the_one_that_is_read(tmp_path: Path, binaries: Path) -> None:
    action = Action(tmp_path, binaries, source="photos", output="out/")
    assert action.run_all()[0].outputs["report"] == "out"
    audit, _ = action.run_all(STUB_AUDIT="1", STUB_BESIDE="")
    assert audit.outputs["report"] == "out"
    audit, _ = Action(tmp_path, binaries, source="photos", output="out").run_all(STUB_AUDIT="1", STUB_BESIDE=".refused")
    assert (audit.outputs["report"], audit.outputs["verdict"]) == ("out.refused", "out.refused/verdict.json")
    assert calls(tmp_path)[-1][-1] == "out.refused"


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path, binaries: Path) -> None:
    action = Action(tmp_path, binaries, source="photos")
    (binaries / "selfclean-hooks").unlink()
    (binaries / "selfclean-hooks").write_text("not to be run")
    action.known["inputs.package"] = "installed"
    action.run("Install")
    action.known["steps.install.outputs.tool"] = str(binaries / "selfclean-hooks")
    audit = action.run("Audit")
    assert audit.outputs["status"] == "126"
    assert action.run("Verdict").status == 126


def test_an_audit_that_was_not_reached_is_an_error(tmp_path: Path, binaries: Path) -> None:
    action = Action(tmp_path, binaries, source="photos")
    verdict = action.run("Verdict")
    assert action.step("Verdict")["if"] == "${{ !cancelled() }}"
    assert verdict.status == 2
    assert "No verdict" in verdict.log
    assert "no verdict" in verdict.summary


def test_file_names_are_no_workflow_commands(tmp_path: Path, binaries: Path) -> None:
    audit, _ = Action(tmp_path, binaries, source="photos").run_all(STUB_SAYS="::add-mask::a")
    lines = audit.log.splitlines()
    (start,) = [at for at, line in enumerate(lines) if line.startswith("::stop-commands::")]
    token = lines[start].removeprefix("::stop-commands::")
    assert len(token) > 30
    assert start < lines.index("::add-mask::a") < lines.index(f"::{token}::")


def test_no_limit_is_reported(tmp_path: Path, binaries: Path) -> None:
    reported = "::notice title=selfclean-hooks::Neither limits nor a baseline"
    assert reported in Action(tmp_path, binaries, source="photos").run_all()[0].log
    assert reported not in Action(tmp_path, binaries, source="photos", baseline="accepted.txt").run_all()[0].log


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, ["--torch-backend", "auto", "--", f"{ACTION.parent}/../.."]),
        ({"package": "selfclean-hooks==9", "torch-backend": ""}, ["--", "selfclean-hooks==9"]),
        ({"package": HOSTILE, "torch-backend": "cpu"}, ["--torch-backend", "cpu", "--", HOSTILE]),
    ],
)
def test_install_takes_the_own_checkout_unless_reported(
    inputs: dict[str, str], words: list[str], tmp_path: Path
) -> None:
    """A Python that writes down its words takes the place of the real one."""
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/bash\nprintf "%s|" "$@" >> "$STUB_CALLS"; echo >> "$STUB_CALLS"\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    python.chmod(0o755)
    action = Action(tmp_path, tmp_path, source="photos", **inputs)
    action.known["steps.python.outputs.python-path"] = str(python)
    ran = action.run("Install")
    binaries = f"{action.temporary}/selfclean-hooks/bin"
    assert (ran.status, ran.outputs["tool"]) == (0, f"{binaries}/selfclean-hooks")
    *_, last = (tmp_path / "calls").read_text().splitlines()
    start = ["-m", "uv", "pip", "install", "--quiet", "--python", f"{binaries}/python"]
    assert last.split("|") == [*start, *words, ""]
    assert not (tmp_path / "x").exists()


def test_the_own_checkout_is_this_project() -> None:
    assert (ACTION.parent / ".." / "..").resolve() == ROOT
    assert (ROOT / "pyproject.toml").is_file()


def test_steps_that_upload_follow_what_the_audit_put_out() -> None:
    steps = {step["name"]: step for step in document(ACTION)["runs"]["steps"]}
    assert list(steps)[-1] == "Verdict"
    assert steps["Upload the report"]["continue-on-error"] is True
    assert "inputs.upload-sarif == 'true'" in steps["Upload SARIF"]["if"]
    assert steps["Restore embeddings"]["with"]["key"] == steps["Save embeddings"]["with"]["key"]
    assert steps["Save embeddings"]["with"]["key"].startswith(steps["Restore embeddings"]["with"]["restore-keys"])
