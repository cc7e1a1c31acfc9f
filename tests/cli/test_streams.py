"""Whatever reads the output, 0 is passed, 1 beyond a limit and 2 an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks.cli import main as cli
from selfclean_hooks.cli.process import SteadyStream
from selfclean_hooks.errors import SelfCleanError
from tests.helpers.command_line import Call

FORMATS = ("table", "json", "metrics", "markdown", "junit", "sarif")
PASSES, FAILS = "--max-total=1", "--max-near-duplicates=0"


def shell(line: str, saved: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which $gate is the command that checks a saved audit."""
    gate = f"{sys.executable} -m selfclean_hooks gate {saved}"
    here = {"PYTHONPATH": os.pathsep.join(sys.path), "gate": gate, "saved": str(saved), **variables}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**os.environ, **here}, check=False)


class Broken:
    """A stream below which something fails."""

    encoding = "latin-1"

    def __init__(self, error: Exception) -> None:
        self.error, self.tries = error, 0

    def write(self, text: str) -> Any:
        self.tries += 1
        raise self.error

    flush = isatty = lambda self, *text: False


def test_readers_that_leave_change_no_verdict(saved: Path) -> None:
    line = f"$gate {FAILS} --format json"
    ran = shell(f"{line} | true; echo ${{PIPESTATUS[0]}}; {line} >&-; echo $?; {line} 2>&- >/dev/null; echo $?", saved)
    assert ran.stdout.split() == ["1"] * 3
    assert "Traceback" not in ran.stderr
    assert "error" not in ran.stderr


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("limit", "status"), [(PASSES, 0), (FAILS, 1)])
def test_nor_do_they_in_any_format(
    format: str, limit: str, status: int, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Broken(BrokenPipeError(32, "gone"))
    monkeypatch.setattr(sys, "stdout", below)
    assert cli.main(["gate", str(saved), limit, "--format", format]) == status
    assert below.tries == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is Linux's")
@pytest.mark.parametrize("command", [f"$gate {PASSES}", "$gate --help"])
def test_a_full_device_is_an_error_in_a_sentence(command: str, saved: Path) -> None:
    ran = shell(f"{command} > /dev/full", saved)
    assert (ran.returncode, ran.stdout) == (2, "")
    message = "error: standard output cannot be written: No space left on device. What was printed is incomplete\n"
    assert ran.stderr.endswith(message)
    assert len(ran.stderr.splitlines()) == 1


def test_errors_need_not_be_written(saved: Path) -> None:
    assert shell(f"$gate {PASSES} 2> /dev/full > /dev/null", saved).returncode == 0


@pytest.mark.parametrize("columns", ["0", "1", "5", "39"])
def test_a_terminal_without_columns_shows_everything(
    columns: str, saved: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    usual = call("gate", saved, FAILS)
    for name, value in {"COLUMNS": columns, "LINES": "0", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert call("gate", saved, FAILS) == usual
    assert "exceeds the limit" in usual.out


def test_characters_that_an_encoding_lacks_are_escaped(saved: Path) -> None:
    (saved / "ü").mkdir()
    ran = shell('cp "$saved"/* "$saved/ü" 2>/dev/null; ${gate}/ü --max-total=1', saved, PYTHONIOENCODING="ascii")
    assert ran.returncode == 0
    assert ran.stdout.isascii()
    help = shell(f"{sys.executable} -m selfclean_hooks --help | true; echo ${{PIPESTATUS[0]}}", saved)
    assert help.stdout.split() == ["0"]
    missing = shell("${gate}/none-ä", saved, PYTHONIOENCODING="ascii")
    assert (missing.returncode, "none-\\xe4" in missing.stderr) == (2, True)


@pytest.mark.parametrize("error", [BrokenPipeError(32, "gone"), ValueError("I/O operation on closed file")])
def test_a_stream_that_is_gone_is_not_written_again(error: Exception) -> None:
    below = Broken(error)
    stream = SteadyStream(below, must_be_written=True)
    assert [stream.write("a"), stream.write("bc"), below.tries] == [1, 2, 1]


def test_only_standard_output_must_be_written() -> None:
    error = OSError(5, "Input/output error")
    with pytest.raises(SelfCleanError, match="standard output cannot be written: Input/output error"):
        SteadyStream(Broken(error), must_be_written=True).write("a")
    assert SteadyStream(Broken(error), must_be_written=False).write("a") == 1
    assert SteadyStream(None, must_be_written=True).write("a") == 1
