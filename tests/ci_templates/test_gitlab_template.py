"""The script of the GitLab template, run as it is written."""

from pathlib import Path

import pytest

from tests.ci_templates.ci_steps import calls, gitlab, stub

HOSTILE = "my \"photos\" 'of' $(touch x) `touch x`; touch x && * \\ --help"

BOTH = ("before_script", "script")


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    return stub(tmp_path)


def test_one_audit_and_a_gate_call_per_format(tmp_path: Path, binaries: Path) -> None:
    given = {"SELFCLEAN_LIMITS": "--max-total 1%", "SELFCLEAN_BASELINE": "a b", "SELFCLEAN_ARGUMENTS": "--workers 4"}
    ran = gitlab(tmp_path, binaries, SELFCLEAN_SOURCE="train=my data val=data/val", **given)
    limits = ["--max-total", "1%", "--baseline=a b"]
    options = ["--workers", "4", "--cache-dir=.selfclean-hooks-cache", "--backbone=auto", *limits]
    made = ["audit", *options, "--output=audit", "--no-progress", "--", "train=my data", "val=data/val"]
    gates = [["gate", *limits, f"--format={name}", "--", "audit"] for name in ("json", "junit", "markdown")]
    assert (ran.status, calls(tmp_path)) == (0, [made, *gates])
    assert "No verdict" not in ran.log
    names = {"manifest.json", "verdict.json", "junit.xml", "summary.md"}
    assert {path.name for path in (tmp_path / "audit").iterdir()} == names


def test_hostile_variables_are_words_and_nothing_else(tmp_path: Path, binaries: Path) -> None:
    names = ("SOURCE", "LIMITS", "BASELINE", "BACKBONE", "ARGUMENTS")
    ran = gitlab(tmp_path, binaries, **{f"SELFCLEAN_{name}": HOSTILE for name in names})
    words = HOSTILE.split()
    options = [*words, "--cache-dir=.selfclean-hooks-cache", f"--backbone={HOSTILE}", *words, f"--baseline={HOSTILE}"]
    assert calls(tmp_path)[0] == ["audit", *options, "--output=audit", "--no-progress", "--", HOSTILE]
    assert ran.status == 0
    assert not (tmp_path / "x").exists()


def test_contamination_fails_the_job(tmp_path: Path, binaries: Path) -> None:
    ran = gitlab(tmp_path, binaries, SELFCLEAN_SOURCE="photos", STUB_AUDIT="1")
    assert ran.status == 1
    assert ran.log.splitlines()[-1].startswith("The data is beyond a limit")
    assert (tmp_path / "audit" / "junit.xml").read_text() == "made as junit\n"


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"STUB_AUDIT": "2"}, 2),
        ({"STUB_AUDIT": "137"}, 137),
        ({"STUB_SAVES_NOT": ""}, 2),
        ({"STUB_SAVES_NOT": "", "STUB_AUDIT": "1"}, 2),
        ({"STUB_GATE": "1"}, 2),
    ],
)
def test_an_error_does_not_look_like_contamination(
    how: dict[str, str], status: int, tmp_path: Path, binaries: Path
) -> None:
    ran = gitlab(tmp_path, binaries, SELFCLEAN_SOURCE="photos", **how)
    assert ran.status == status
    assert ran.log.splitlines()[-1].startswith(f"No verdict (exit status {status}): an error")
    assert "beyond a limit" not in ran.log


def test_a_command_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "selfclean-hooks").touch()  # not to be run
    ran = gitlab(tmp_path, tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin", SELFCLEAN_SOURCE="photos")
    assert ran.status in (126, 127)


def test_an_error_leaves_no_old_result(tmp_path: Path, binaries: Path) -> None:
    gitlab(tmp_path, binaries, SELFCLEAN_SOURCE="photos")
    gitlab(tmp_path, binaries, SELFCLEAN_SOURCE="photos", STUB_AUDIT="2")
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {"manifest.json"}


def test_what_the_image_has_is_not_installed(tmp_path: Path, binaries: Path) -> None:
    ran = gitlab(tmp_path, binaries, *BOTH, SELFCLEAN_SOURCE="photos", SELFCLEAN_PACKAGE="")
    assert ran.status == 0
    assert "Neither limits nor a baseline" in ran.log


def test_the_package_is_installed_before(tmp_path: Path, binaries: Path) -> None:
    python = binaries / "python3"
    python.write_text(
        '#!/bin/bash\nprintf "%s|" "$@" >> words; echo >> words\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi\n'
    )
    python.chmod(0o755)
    assert gitlab(tmp_path, binaries, *BOTH, SELFCLEAN_SOURCE="photos", SELFCLEAN_PACKAGE=HOSTILE).status == 0
    made, pip, install = (tmp_path / "words").read_text().splitlines()
    venv = made.split("|")[2]
    assert pip.startswith("-m|pip|install|")
    start = ["-m", "uv", "pip", "install", "--quiet", "--python", f"{venv}/bin/python"]
    assert install.split("|") == [*start, "--", HOSTILE, ""]
    assert not (tmp_path / "x").exists()


def test_an_installation_that_fails_does_not_look_like_contamination(tmp_path: Path, binaries: Path) -> None:
    python = binaries / "python3"
    python.write_text("#!/bin/bash\nexit 1\n")
    python.chmod(0o755)
    assert gitlab(tmp_path, binaries, *BOTH, SELFCLEAN_SOURCE="photos").status == 2
    assert not (tmp_path / "calls").exists()
