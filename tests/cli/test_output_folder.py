"""The folder of --output: refused before any work where something would be lost, and not read as a part of the data."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks.cli import main as cli
from selfclean_hooks.storage import commit
from tests.helpers.command_line import Call, contents, refused
from tests.helpers.forked import forked

BACKBONE = "tests.helpers.embedding_data:mean_colour"
NAMES = ("splits.json", "manifest.json", "samples.csv", "leakage.csv", "relabelled.csv", "report.html", "scores.npz")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(16):
        path = tmp_path / "images" / ("even", "odd")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (9, 9, 3), np.uint8)).save(path)
    return tmp_path / "images"


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_users_are_left_before_anything_is_read(name: str, tmp_path: Path, call: Call) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    said = refused(call("audit", tmp_path / "nowhere", "-o", tmp_path / "out"))
    assert f"must be empty or hold a saved audit; it holds {name}, which no audit wrote" in said
    assert "Give another folder" in said
    assert (tmp_path / "out" / name).read_text() == "mine"
    said = refused(call("demo", "-o", tmp_path / "out"))
    assert f"it holds {name}, which no audit wrote" in said


def test_of_splits_too(tmp_path: Path, call: Call) -> None:
    (tmp_path / "out" / "val").mkdir(parents=True)
    (tmp_path / "out" / "val" / "pairs.csv").write_text("mine")
    said = refused(call("audit", "train=nowhere", "val=nowhere", "-o", tmp_path / "out"))
    assert "it holds val/pairs.csv, which no audit wrote" in said


def test_the_folder_beside_which_is_not_to_be_trusted(saved: Path, source: Path, call: Call) -> None:
    beside = saved.with_name("saved.refused")
    beside.mkdir()
    (beside / "samples.csv").write_text("mine")
    before = contents(saved.parent)
    assert "saved.refused must be empty" in refused(call("audit", source, "-o", saved))
    assert contents(saved.parent) == before


def test_a_folder_within_the_source_is_not_read(images: Path, call: Call) -> None:
    run = ("audit", images, "-o", images / "audit", "--backbone", BACKBONE, "--no-progress")
    assert call(*run).status == 0
    first = contents(images / "audit")["samples.csv"]
    shutil.copy(images / "odd" / "1.png", images / "audit" / "overview.png")
    again = call(*run)
    assert again.status == 0
    assert "16 samples" in again.out
    assert "skipped" not in again.err
    assert contents(images / "audit")["samples.csv"] == first
    assert (images / "audit" / "overview.png").exists()


def test_a_part_of_the_source_is_not_left_out_unseen(images: Path, call: Call) -> None:
    said = refused(call("audit", images, "-o", images / "odd", "--backbone", BACKBONE, "--no-progress"))
    assert "must not be a part of what is audited" in said
    assert not (images / "odd" / "manifest.json").exists()


def test_the_source_itself_holds_the_audit_beside_the_images(images: Path, call: Call) -> None:
    run = ("audit", images, "-o", images, "--backbone", BACKBONE, "--no-progress")
    assert [call(*run).status, call(*run).status] == [0, 0]
    assert "16 samples" in call("gate", images).out


def test_files_that_are_no_encoder_and_no_metrics_are_not_replaced(images: Path, tmp_path: Path, call: Call) -> None:
    image = images / "odd" / "1.png"
    before = contents(images)
    said = refused(call("pretrain", images, "-o", image))
    assert said.startswith("error: --output must be a new file, or an encoder to replace")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "metrics.csv").write_text("day,rain\n1,2\n")
    said = refused(call("pretrain", images, "-o", tmp_path / "new", "--log", tmp_path / "log"))
    assert "metrics.csv is of something else" in said
    assert contents(images) == before


def terminated(step: str, *arguments: str) -> NoReturn:
    """The command, which a signal ends right after a step of saving."""
    own = getattr(commit, step)

    def killed(*of_step: Any) -> None:
        setattr(commit, step, own)
        own(*of_step)
        os.kill(os.getpid(), signal.SIGTERM)

    setattr(commit, step, killed)
    sys.exit(cli.main(list(arguments)))


@pytest.mark.parametrize("name", ["\ud800x", "a\0b"])
def test_a_source_that_no_file_can_be_is_a_sentence(name: str, tmp_path: Path, call: Call) -> None:
    status, _, err = call("audit", name, "-o", str(tmp_path / "out"))
    assert status == 2
    assert "check the spelling" in err
    assert "unexpected" not in err


@pytest.mark.parametrize("step", ["_stage", "_move"])
def test_a_terminated_audit_leaves_nothing_behind(
    step: str, saved: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(saved)
    monkeypatch.setenv("COLUMNS", "300")
    command = ["audit", str(source), "-o", str(saved), "--no-progress", "--threshold", "near_duplicates=none"]
    done = forked(lambda: terminated(step, *command))
    assert done.status == 128 + signal.SIGTERM
    says = "earlier audits in the folder are unchanged" if step == "_stage" else f"the new audit is saved in {saved}"
    assert done.err.strip() == f"error: terminated before the end: {says}"
    assert (contents(saved) == before) is (step == "_stage")
    assert not [path for path in saved.iterdir() if path.name.startswith(".")]
