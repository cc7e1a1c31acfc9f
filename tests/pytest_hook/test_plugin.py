"""The plugin as pytest and its users meet it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import selfclean_hooks_pytest.plugin
from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.cli.main import main
from selfclean_hooks_pytest.session import RUNNING
from tests.pytest_hook.inner_runs import TEST, cache, change, failure, outcomes, reported, run, write_images

pytest_plugins = ["pytester"]
HEAVY = ("torch", "pandas", "numpy", "selfclean_hooks", "selfclean_hooks_pytest.assertion")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    write_images(pytester.path / "data")
    pytester.makepyfile(test_data=TEST)
    return pytester


def imported_by(code: str) -> set[str]:
    report = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_loading_the_plugin_costs_nothing() -> None:
    assert imported_by("import selfclean_hooks_pytest.plugin") == set()


def test_the_test_above_can_fail() -> None:
    assert imported_by("import numpy, selfclean_hooks") == {"numpy", "selfclean_hooks"}


def test_a_run_without_audits_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = run(pytester)
    assert outcomes(result) == {"passed": 1}
    assert "audits of data" not in result.stdout.str()
    assert not cache(pytester).exists()


def test_a_failure_shows_the_line_of_the_test_and_the_message_alone(project: pytest.Pytester) -> None:
    result = run(project)
    assert outcomes(result) == {"failed": 1}
    report = ".pytest_cache/d/selfclean_hooks/selfclean-reports/test_data.py-test_images-584c5096"
    assert failure(result) == [
        "E       AssertionError: near duplicates 8.33%, limit 1% (12 samples of ImageFolder)",
        "E       ",
        "E       near duplicates: 8.33% (1 of 12 samples; 95% interval 1.49% to 35.39%), limit 1%",
        "E           data/cat/4.bmp (4): near duplicate of 0, data/cat/0.bmp (set 0, 2 copies, distance 0)",
        "E       ",
        f"E       report: {report}/report.html",
        "E       to accept all findings once you have looked at them, for baseline='data-baseline.jsonl':",
        f"E           selfclean-hooks gate {report} --baseline data-baseline.jsonl --update-baseline",
    ]
    assert ">       assert_clean(data, near_duplicates=0.01, backbone=Pixels())" in result.outlines
    assert not re.search(r"assertion\.py|selfclean_hooks.*:\d+", result.stdout.str())
    assert (project.path / report / "report.html").is_file()


def test_wrong_use_shows_the_message_without_our_code(project: pytest.Pytester) -> None:
    change(project, "near_duplicates=", "near_duplicate=")
    result = run(project)
    result.stdout.fnmatch_lines(["E *SettingError: assert_clean knows no 'near_duplicate': did you mean near_*"])
    assert not re.search(r"assertion\.py", result.stdout.str())


def test_what_it_says_accepts_the_findings(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    command = failure(run(project))[-1].removeprefix("E").strip()
    program, *arguments = shlex.split(command)
    assert program == "selfclean-hooks"
    monkeypatch.chdir(project.path)
    assert main(arguments) == 0
    change(project, "near_duplicates=0.01", 'baseline="data-baseline.jsonl"')
    assert outcomes(run(project)) == {"passed": 1}
    dogs = project.path / "data" / "dog"
    (dogs / "new.bmp").write_bytes((dogs / "7.bmp").read_bytes())
    result = run(project)
    assert outcomes(result) == {"failed": 1}
    assert [line for line in failure(result) if "near duplicate of" in line] == [
        "E           data/dog/new.bmp (12): near duplicate of 9, data/dog/7.bmp (set 1, 2 copies, distance 0)"
    ]
    assert failure(result)[-2] == "E       to accept all findings once you have looked at them:"


def test_paths_are_those_of_where_pytest_was_started(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeini("[pytest]")
    change(project, '"data"', repr(str(project.path / "data")))
    monkeypatch.chdir(project.path / "data")
    result = run(project, "..")
    assert f"report: {cache(project)}/selfclean-reports/" in result.stdout.str()


def test_a_report_that_cannot_be_saved_hides_nothing(project: pytest.Pytester) -> None:
    cache(project).mkdir(parents=True)
    cache(project, "selfclean-reports").write_text("in the way")
    result = run(project)
    assert failure(result)[0].endswith("near duplicates 8.33%, limit 1% (12 samples of ImageFolder)")
    assert failure(result)[-1].startswith("E       the report could not be saved: cannot write ")


def test_each_failure_has_a_report_of_its_own(project: pytest.Pytester) -> None:
    twice = (
        "for limit in (0.0, 0.5, 0.0):\n        with pytest.raises(AssertionError) if limit == 0 else open('x', 'w'):\n"
    )
    change(project, "    assert_clean(", f"    {twice}            assert_clean(")
    change(project, "near_duplicates=0.01", "near_duplicates=limit")
    change(project, "import torch\n", "import pytest, torch\n")
    change(project, "def test_", "@pytest.mark.parametrize('name', ['a/b', 'a b'])\ndef test_")
    change(project, "test_images()", "test_images(name)")
    result = run(project)
    assert outcomes(result) == {"passed": 2}
    assert [line.split(" test_data")[0] for line in reported(result)] == ["FAILED", "passed", "FAILED"] * 2
    folders = [line.partition("; report: ")[2] for line in reported(result)]
    assert folders[1] == folders[4] == ""
    assert len({*folders} - {""}) == 4
    assert all((project.path / folder).is_file() for folder in folders if folder)


def test_every_audit_has_a_line_at_the_end(project: pytest.Pytester) -> None:
    change(
        project, "assert_clean(data, near_duplicates=0.01", 'assert_clean({"val": data, "train": data}, report="out"'
    )
    change(project, "backbone", "near_duplicates=1.0, leakage=None, backbone")
    result = run(project)
    measured = "near duplicates 8.33%, off topic 0.00%, label errors 0.00%, leakage 100.00%, unreadable 0.00%"
    assert reported(result) == [
        f"passed test_data.py::test_images: {split}: ImageFolder, 12 samples: {measured}; report: out/report.html"
        for split in ("train", "val")
    ]
    assert len(Audit.load(project.path / "out" / "train")) == 12


def test_workers_of_xdist_hand_their_lines_over(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xdist")
    audit_embeddings(np.eye(6)[[0, 1, 2, 3, 4, 4]]).save(pytester.path / "saved")  # workers need not import torch
    pytester.makepyfile(
        """
        import os, pytest
        from selfclean_hooks import Audit
        from selfclean_hooks_pytest import assert_clean

        @pytest.mark.parametrize("limit", [0.01, 0.5])
        def test_saved(limit):
            os.chdir("/")
            assert_clean(Audit.load("FOLDER"), near_duplicates=limit)
        """.replace("FOLDER", str(pytester.path / "saved"))
    )
    kept = pytester.path / "kept" / "selfclean-audits"
    kept.mkdir(parents=True)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ("-p", "xdist.plugin", "-p", "selfclean_hooks_pytest.plugin")
    result = pytester.runpytest_subprocess(*plugins, "-n1", "--dist=each", "--selfclean-cache=kept", "--cache-clear")
    assert outcomes(result) == {"failed": 1, "passed": 1}
    assert sorted(line.split()[0] for line in reported(result)) == ["FAILED", "passed"]
    assert {path.name for path in (pytester.path / "kept").iterdir()} == {"selfclean-reports"}


def test_the_run_ends_with_pytest(project: pytest.Pytester) -> None:
    before = list(RUNNING)
    run(project)
    assert before == RUNNING


def test_options_are_in_the_help(pytester: pytest.Pytester) -> None:
    text = " ".join(run(pytester, "--help").stdout.str().split())
    assert "--selfclean-cache=DIR Keep audits and the reports of failures here between runs." in text
    assert "--selfclean-no-cache" in text
    assert "selfclean_cache (string):" in text


def test_the_package_is_typed() -> None:
    assert Path(selfclean_hooks_pytest.plugin.__file__).with_name("py.typed").is_file()
