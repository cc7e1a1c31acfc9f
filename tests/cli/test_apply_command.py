"""`apply` and `export` on the command line: one data set, splits, what is printed and what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, Policy, SplitsAudit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.file import write_review
from selfclean_hooks.decisions.review.marks import Mark, Review
from tests.helpers.applied_data import audited, files, images, pixels
from tests.helpers.command_line import Call, refused

NAMES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/3.png", "owl/9.png")
LISTS = {"dropped.csv", "relabelled.csv"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos`, their saved `audit` and the decisions of a reviewer, in which commands are started."""
    monkeypatch.chdir(tmp_path)
    audited(images(Path("photos"), *NAMES)).save("audit")
    marks = (Mark("off_topic", "confirmed", 1), Mark("label_errors", "relabelled", 2, label="owl"))
    write_review(Review(marks), "decisions.json")
    return tmp_path


REVIEWED = ("apply", "audit", "--decisions", "decisions.json", "--to")


def test_a_reviewed_folder(place: Path, call: Call) -> None:
    ran = call(*REVIEWED, "clean", "--dry-run")
    assert (ran.status, (place / "clean").exists()) == (0, False)
    first = "4 samples kept, 1 dropped (off topic 1), 1 relabelled"
    assert ran.out.splitlines() == [first, "nothing written, clean would be new"]
    ran = call(*REVIEWED, "clean")
    assert (ran.status, ran.out.splitlines()) == (0, [first, "written: clean"])
    assert "decisions: 2 marks (1 confirmed, 1 relabelled)" in ran.err
    assert set(files(place / "clean")) == {"cat/1.png", "owl/1.png", "dog/3.png", "owl/9.png"} | LISTS


def test_a_move_and_the_way_back(place: Path, call: Call) -> None:
    before = files(place / "photos")
    assert call(*REVIEWED, "aside", "--mode", "move").status == 0
    assert set(files(place / "photos")) == {"cat/1.png", "owl/1.png", "dog/3.png", "owl/9.png"}
    assert (place / "aside" / "dropped" / "off_topic" / "cat" / "2.png").is_file()
    ran = call("apply", "audit", "--to", "aside", "--undo", "--dry-run")
    assert (ran.status, ran.out) == (0, "nothing moved, 2 files would be moved back\n")
    assert files(place / "photos") != before
    ran = call("apply", "audit", "--to", "aside", "--undo")
    assert (ran.status, ran.out) == (0, "2 files moved back\n")
    assert files(place / "photos") == before
    assert not (place / "aside").exists()
    assert "holds no move" in refused(call("apply", "audit", "--to", "aside", "--undo"))


def test_what_is_refused_is_one_sentence(place: Path, call: Call) -> None:
    assert "photos/clean lies within photos" in refused(call(*REVIEWED, "photos/clean"))
    assert "audit holds other files" in refused(call(*REVIEWED, "audit"))
    (place / "link").symlink_to(place)
    assert "link is a link" in refused(call(*REVIEWED, "link"))
    assert "no: a saved audit is a folder" in refused(call("apply", "none", "--to", "clean")).replace("error", "no")
    (place / "photos").rename(place / "elsewhere")
    assert "say where it lies now with --source" in refused(call(*REVIEWED, "clean"))
    assert call(*REVIEWED, "clean", "--source", "elsewhere").status == 0
    assert "sources must be given by the name of a split" in refused(
        call(*REVIEWED, "other", "--source", "train=elsewhere", "--source", "val=elsewhere")
    )


def test_other_thresholds_and_new_labels_by_the_policy(place: Path, call: Call) -> None:
    """The twin: the same by `Audit.at`."""
    names = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(10)]
    audit = audited(images(place / "more", *names))
    policy = replace(audit.policy, near_duplicates="drop", label_errors="relabel", max_drop_fraction=1.0)
    twin = audit.at(thresholds=replace(audit.thresholds, near_duplicates=0.45, label_errors=1.0), policy=policy)
    twin.at(thresholds=audit.thresholds).save("free")
    at = "near_duplicates=0.45", "label_errors=1.0"
    ran = call("apply", "free", "--to", "clean", "--threshold", at[0], "--threshold", at[1], "--relabel", "--dry-run")
    assert ran.out.splitlines()[0] == twin.apply("clean", dry_run=True).describe()
    assert twin.decisions.dropped.any()


def leaking_splits() -> SplitsAudit:
    """Three training images are in val too, as is known from the audit."""
    train = audited(images(Path("data/train"), *NAMES), split_name="train")
    val = audited(images(Path("data/val"), *NAMES[:3]), drop=[2], split_name="val")
    index, near = np.arange(3), np.zeros(3, np.float32)
    leaks = LeakPairs(("train", "val"), (5, 3), np.ones(3, np.int64), index, index, near, automatic=0.1)
    other = LeakPairs(("val", "train"), (3, 5), np.ones(3, np.int64), index, index, near, automatic=0.1)
    policy = Policy("warn", "warn", "warn", "warn", leakage="drop", max_drop_fraction=0.9)
    train = replace(train, scores=replace(train.scores, leaks=leaks)).at(policy=policy)
    return SplitsAudit({"train": train, "val": replace(val, scores=replace(val.scores, leaks=other))})


def test_splits_without_what_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    leaking_splits().save("audit")
    assert set(files(Path("audit"))) >= {"train/clean_files.txt", "val/clean_files.txt"}
    ran = call("apply", "audit", "--to", "clean")
    assert ran.out.splitlines() == [
        "train: 3 samples kept, 2 dropped (leakage 2), 0 relabelled",  # the last cat stays
        "val: 2 samples kept, 1 dropped (off topic 1), 0 relabelled",
        "written: clean",
    ]
    dropped = pd.read_csv("clean/dropped.csv")
    assert list(zip(dropped["split"], dropped["issue"], strict=True)) == [
        *[("train", "leakage")] * 2,
        ("val", "off_topic"),
    ]
    gone = {name.removeprefix("data/") for name in dropped["sample"]}
    assert set(files(Path("clean"))) == files(Path("data")).keys() - gone | LISTS
    before = files(Path("data"))
    assert call("apply", "audit", "--to", "aside", "--mode", "move").status == 0
    assert Path("aside/dropped/off_topic/val/dog/1.png").is_file()
    assert Audit.undo("aside") == 3
    assert files(Path("data")) == before
    os.rename("data", "moved")
    assert call("apply", "audit", "--to", "again", "--source", "moved").status == 0
    assert files(Path("again")).keys() == files(Path("clean")).keys()


def test_splits_of_one_saved_data_set_stay_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})

    def split(start: int) -> object:
        made = [Image.fromarray(pixels(start + i)) for i in range(4)]
        return datasets.Dataset.from_dict({"image": made, "label": [0, 1, 0, 1]}, features=features)

    datasets.DatasetDict({"train": split(0), "test": split(10)}).save_to_disk("saved")
    audits = {
        "train": audited("saved/train", drop=[1], split_name="train"),
        "test": audited("saved/test", relabel={3: "a"}, split_name="test"),
    }
    leaks = {name: LeakPairs((name,), (4,), *(np.empty(0, np.int64),) * 3, np.empty(0, np.float32)) for name in audits}
    found = {name: replace(a, scores=replace(a.scores, leaks=leaks[name])) for name, a in audits.items()}
    SplitsAudit(found).apply("clean")
    again = datasets.load_from_disk("clean")
    assert again["train"]["label"][:] == [0, 0, 1]
    assert again["test"]["label"][:] == [0, 1, 0, 0]
    assert again["train"].features == features


def test_an_export_and_decisions_that_come_back(place: Path, call: Call) -> None:
    ran = call("export", "audit", "--to", "label-studio", "-o", "tasks.json", "--decisions", "decisions.json")
    assert (ran.status, ran.out.splitlines()) == (0, ["written: tasks.json", "written: tasks.xml"])
    tasks = json.loads(Path("tasks.json").read_text())
    [task] = [each for each in tasks if each["data"]["selfclean_hooks"]["index"] == 1]
    answer = [{"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["confirmed"]}}]
    Path("answers.json").write_text(json.dumps([{**task, "annotations": [{"result": answer}]}]))
    assert call("apply", "audit", "--decisions", "answers.json", "--to", "clean").status == 0
    assert set(files(Path("clean"))) == {name for name in NAMES if name != "cat/2.png"} | LISTS
    assert "tasks.json is there already" in refused(call("export", "audit", "--to", "csv", "-o", "tasks.json"))
