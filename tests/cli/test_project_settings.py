"""Options from pyproject.toml, and the command that writes them."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from selfclean_hooks.cli.project.settings import defaults_of, section_of
from tests.helpers.command_line import Call


@pytest.fixture
def project(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is run in."""
    monkeypatch.chdir(saved.parent)
    return saved.parent


def write(project: Path, *lines: str) -> None:
    (project / "pyproject.toml").write_text("\n".join(["[project]", "name = 'x'", "[tool.selfclean-hooks]", *lines]))


@pytest.mark.parametrize(
    "line",
    [
        "max-near-duplicates = 0.01",
        "max_near_duplicates = '1%'",
        "max-near-duplicates = ['count:1']",
        "max-near-duplicates = 0",
    ],
)
def test_a_limit_holds_and_a_flag_wins(line: str, project: Path, call: Call) -> None:
    assert call("gate", "saved").status == 0
    write(project, line)
    ran = call("gate", "saved")
    assert ran.status == 1
    assert ran.err == "settings of pyproject.toml: max-near-duplicates\n"
    assert call("gate", "saved", "--max-near-duplicates", "5%").status == 0
    assert call("gate", "saved", "-q").err == ""


def test_the_source_and_everything_else_may_be_set(project: Path, call: Call) -> None:
    lines = ["source = 'x.npz'", "output = 'made'", "report = false", "format = 'json'", "workers = 0", "seed = 3"]
    write(project, *lines, "threshold = {off-topic = 'none'}", "max-off-topic = [0.5]")
    ran = call("audit")
    assert (ran.status, ran.out[:1]) == (1, "{"), ran.err  # off topic is turned off and has a limit
    assert (project / "made" / "manifest.json").exists()
    assert not (project / "made" / "report.html").exists()
    assert call("audit", "-o", "other", "--report", "--format", "table").out.splitlines()[-1].startswith("failed: ")
    assert (project / "other" / "report.html").exists()


def test_paths_are_those_of_the_file(project: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, "source = 'x.npz'", "output = 'made'")
    (project / "below" / "more").mkdir(parents=True)
    monkeypatch.chdir(project / "below" / "more")
    assert call("audit").status == 0
    assert (project / "made" / "manifest.json").exists()


@pytest.mark.parametrize("line", ["backbone = 'os:getcwd'", "source = 'os:getcwd'", "source = {val = 'os:getcwd'}"])
def test_a_file_that_came_with_data_runs_no_code(line: str, project: Path, call: Call) -> None:
    write(project, line)
    ran = call("audit", "x.npz")
    assert ran.status == 2
    assert "code is run only where the command line names it" in " ".join(ran.err.split())


def test_weights_of_an_architecture_are_those_beside_the_file(project: Path) -> None:
    (project / "w.pt").write_bytes(b"")
    option = SimpleNamespace(is_flag=False, multiple=False, nargs=1)
    found = defaults_of(project / "pyproject.toml", {"backbone": "resnet18:w.pt"}, {"backbone": option})
    assert found == {"backbone": "resnet18:w.pt"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("/")
        found = defaults_of(project / "pyproject.toml", {"backbone": "resnet18:w.pt"}, {"backbone": option})
    assert found == {"backbone": f"resnet18:{project.relative_to('/') / 'w.pt'}"}


def test_splits_as_a_table(project: Path, call: Call) -> None:
    (project / "y.npz").write_bytes((project / "x.npz").read_bytes())
    write(project, "source = {train = 'x.npz', val = 'y.npz'}", "max-leakage = {val = 'count:0'}")
    ran = call("audit")
    assert ran.status == 1
    assert "failed: val: leakage" in ran.out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max-near-duplicate = 0.01", "did you mean max-near-duplicates?"),
        ("max_label_error = 1", "did you mean max-label-errors?"),
        ("zzz = 1", "see selfclean-hooks audit --help"),
        ("quiet = true", "'quiet'"),
        ("update-baseline = true", "'update-baseline'"),
        ("help = true", "'help'"),
        ("relabel = 'yes'", "must be true or false, got 'yes'"),
        ("output = true", "must be a text or a number, got True"),
        ("output = ['a', 'b']", "must be a text or a number, got ['a', 'b']"),
        ("max-total = []", "must be texts or numbers, got []"),
        ("max-total = ['1%', true]", "must be texts or numbers"),
        ("source = true", "must be texts or numbers, got True"),
        ("max-total = 2026-01-01", "must be texts or numbers"),
        ("max-total = 'many'", "the limit of total must be a fraction"),
        ("format = 'xml'", "'xml'"),
        ("workers = 'x'", "workers"),
        ("= 3", "must be TOML"),
    ],
)
def test_what_is_wrong_is_said(line: str, message: str, project: Path, call: Call) -> None:
    write(project, line)
    ran = call("audit", "x.npz", "-o", "out")
    assert (ran.status, ran.out) == (2, "")
    assert message in " ".join(ran.err.split())
    assert not (project / "out").exists()
    assert call("audit", "--help").status == 0


def test_other_sections_and_other_files_are_none_of_ours(project: Path, call: Call) -> None:
    (project / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert call("gate", "saved").err == ""
    (project / "pyproject.toml").write_text("this is = no TOML")
    assert call("gate", "saved").err == ""
    (project / "pyproject.toml").write_text("tool.selfclean-hooks = 3")
    assert "must be a table of options" in " ".join(call("gate", "saved").err.split())


def test_commands_take_what_they_share(project: Path, call: Call) -> None:
    write(project, "output = 'elsewhere'", "threshold = ['near_duplicates=none']", "seed = 1", "source = 'x.npz'")
    ran = call("apply", "saved", "--to", "clean", "--dry-run")
    assert ran.status == 0, ran.err
    assert "settings of pyproject.toml: threshold\n" in ran.err
    assert call("report", "saved").err == ""


def test_init_writes_what_audit_takes(project: Path, call: Call) -> None:
    ran = call("init", "x.npz")
    assert (ran.status, ran.err) == (0, "")
    section = section_of(project / "pyproject.toml")
    assert section is not None
    assert section["source"] == "x.npz"
    job = yaml.safe_load((project / ".github/workflows/data-audit.yml").read_text())
    assert {"run": "selfclean-hooks audit"} in job["jobs"]["audit"]["steps"]
    assert call("audit").status in (0, 1)
    assert (project / "audit" / "report.html").exists()
    with_all = re.sub(r"(?m)^# (?=[a-z-]+ = )", "", (project / "pyproject.toml").read_text())
    (project / "pyproject.toml").write_text(with_all)  # the lines that are comments are settings too
    uncommented = section_of(project / "pyproject.toml")
    assert uncommented is not None
    assert {"backbone", "max-leakage", "baseline", "decisions"} <= set(uncommented)


def test_init_replaces_nothing(project: Path, call: Call) -> None:
    before = "[project]\nname = 'y'"
    (project / "pyproject.toml").write_text(before)
    assert call("init", 'a "b"', "--ci", "gitlab").status == 0
    text = (project / "pyproject.toml").read_text()
    assert text.startswith(before + "\n\n[tool.selfclean-hooks]")
    section = section_of(project / "pyproject.toml")
    assert section is not None
    assert section["source"] == 'a "b"'
    assert "audit-data" in yaml.safe_load((project / "data-audit.gitlab-ci.yml").read_text())
    again = call("init", "other", "--ci", "gitlab")
    assert again.out.count("left as it is") == 2
    assert (project / "pyproject.toml").read_text() == text
    (project / "pyproject.toml").write_text("[tool.selfclean-hooks\n")
    assert call("init").status == 2
    assert (project / "pyproject.toml").read_text() == "[tool.selfclean-hooks\n"


def test_the_job_is_one_of_the_service(project: Path, call: Call) -> None:
    call("init")
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.github-workflows",
            ".github/workflows/data-audit.yml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
