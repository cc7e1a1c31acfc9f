"""Audits of splits as a folder: what is written, what is read, and what is neither."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks import Audit, Policy, audit_embeddings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.errors import AuditFileError, PolicyError
from selfclean_hooks.testing import digits
from tests.helpers.command_line import Call, contents, refused, write_splits
from tests.helpers.format_data import two

ROW = {"split_1": "train", "split_2": "val", "distance": 0.5, "expected": 0.25, "p_value": 0.125}
NAMES = [
    "CON",
    "aux",
    "com1",
    "a/b",
    "../up",
    "..",
    ".",
    "a\\b",
    "a:b",
    "nul\0l",
    "line\nbreak",
    "x" * 300,
    "\u5b57" * 200,
    "\ud800",
    "Train",
    "splits.json",
    "report.html",
    "-o",
    " ",
    "=",
]


def splits(other: str = "val") -> SplitsAudit:
    row = {**ROW, "split_2": other, "components": 3, "explained": 1.0}
    return SplitsAudit(two(other=other), (row,))


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    found = splits()
    found.save(tmp_path / "made" / "here")
    again = SplitsAudit.load(tmp_path / "made" / "here")
    assert list(again.audits) == ["train", "val"]
    assert again.shift.equals(found.shift)
    assert again.leakage.equals(found.leakage)
    assert again.label_disagreements.equals(found.label_disagreements)
    for name, audit in found.audits.items():
        assert again.audits[name].frame.equals(audit.frame)
        assert again.audits[name].policy == audit.policy
    again.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "made" / "here")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_that_file_systems_dislike(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "below" / "audit"
    splits(name).save(folder)
    assert list(SplitsAudit.load(folder).audits) == ["train", name]
    assert [path.name for path in tmp_path.rglob("*") if path.parent in (tmp_path, folder.parent)] == ["below", "audit"]
    places = [entry["folder"] for entry in json.loads((folder / "splits.json").read_text())["splits"]]
    assert {path.name for path in folder.iterdir() if path.is_dir()} == set(places)
    assert len({place.lower() for place in places}) == 2
    for place in places:
        assert place.isascii()
        assert 0 < len(place) < 200
        assert place.upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}
        assert not set(place) & set('/\\:*?"<>|.\0\n ')


def test_names_that_differ_only_in_what_is_left_out_do_not_meet(tmp_path: Path) -> None:
    names = ["a b", "a_b", "A/B", "a.b", "x" * 300, "x" * 301]
    audit = splits().audits["val"]
    SplitsAudit({name: audit for name in names}).save(tmp_path)
    assert list(SplitsAudit.load(tmp_path).audits) == names
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == len(names)


# --- over one another ------------------------------------------------------------------------------------------------


def test_one_audit_over_those_of_splits_and_back(tmp_path: Path, call: Call) -> None:
    single, found = splits().audits["val"], splits()
    found.save(tmp_path)
    single.save(tmp_path)
    assert len(Audit.load(tmp_path)) == 10
    with pytest.raises(AuditFileError, match=r"cannot read .*splits\.json"):
        SplitsAudit.load(tmp_path)
    assert "train: " not in call("gate", tmp_path).out
    found.save(tmp_path)
    assert list(SplitsAudit.load(tmp_path).audits) == ["train", "val"]
    with pytest.raises(AuditFileError, match=r"holds an audit of several splits: read it with SplitsAudit\.load"):
        Audit.load(tmp_path)
    top = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert top == {"leakage.csv", "report.html", "splits.json"}
    assert "train: 10 samples" in call("gate", tmp_path).out


def test_fewer_splits_over_more(tmp_path: Path) -> None:
    audit = splits().audits["val"]
    SplitsAudit({"a": audit, "b": audit, "c": audit}).save(tmp_path)
    SplitsAudit({"a": audit, "b": audit}).save(tmp_path)
    assert list(SplitsAudit.load(tmp_path).audits) == ["a", "b"]


def test_a_policy_that_drops_too_much_leaves_out_the_clean_indices_of_that_split(tmp_path: Path) -> None:
    vectors = digits()[0][:40].reshape(40, -1) / 16.0
    audit = audit_embeddings(vectors, progress=False, policy=Policy(off_topic="drop", max_drop_fraction=0.0))
    strict = audit.at(thresholds=type(audit.thresholds)(off_topic=1.0))
    SplitsAudit({"train": audit.at(policy=Policy()), "val": audit.at(policy=Policy())}).save(tmp_path)
    with pytest.raises(PolicyError, match=r"^split 'train': the policy would drop"):
        SplitsAudit({"train": strict, "val": audit.at(policy=Policy())}).save(tmp_path)
    assert list(SplitsAudit.load(tmp_path).audits) == ["train", "val"]
    assert [path.parent.name for path in tmp_path.rglob("clean_indices.txt")] == ["val"]


# --- damage ----------------------------------------------------------------------------------------------------------


def index(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "splits.json").read_text())
        (folder / "splits.json").write_text(json.dumps(change(content) or content))

    return damage


def rename(name: str) -> Callable[[Path], None]:
    return index(lambda content: content["splits"][1].update(name=name))


def of_another_save(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    splits().audits["train"].save(folder / "val")


def truncate(folder: Path) -> None:
    path = folder / "splits.json"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    splits().save(folder)
    return folder


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "truncated": truncate,
    "empty": lambda folder: (folder / "splits.json").write_text(""),
    "binary": lambda folder: (folder / "splits.json").write_bytes(b"\xff\x00"),
    "no object": index(lambda content: [content]),
    "no splits": index(lambda content: content.pop("splits") and None),
    "no split": index(lambda content: content.update(splits=[])),
    "splits of another kind": index(lambda content: content.update(splits={"train": 1})),
    "no shift": index(lambda content: content.pop("shift") and None),
    "shift of another kind": index(lambda content: content.update(shift=[1])),
    "no folder": index(lambda content: content["splits"][0].pop("folder") and None),
    "folder of another kind": index(lambda content: content["splits"][0].update(folder=7)),
    "another digest": index(lambda content: content["splits"][0].update(scores_blake2b="0" * 32)),
    "another save": of_another_save,
    "a split is gone": lambda folder: shutil.rmtree(folder / "val"),
    "a truncated split": lambda folder: (folder / "val" / "scores.npz").write_bytes(b"PK"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_reported(damage: str, whole: Path, tmp_path: Path, call: Call) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    DAMAGE[damage](tmp_path)
    before = contents(tmp_path)
    with pytest.raises(AuditFileError) as caught:
        SplitsAudit.load(tmp_path)
    message = " ".join(str(caught.value).split())
    assert str(tmp_path) in message
    for command in ("gate", "report"):
        assert refused(call(command, tmp_path)) == f"error: {message}"
    assert contents(tmp_path) == before


def test_another_version_is_reported(tmp_path: Path) -> None:
    splits().save(tmp_path)
    index(lambda content: content.update(format=2))(tmp_path)
    with pytest.raises(AuditFileError) as caught:
        SplitsAudit.load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'splits.json'} must have format 1, got 2: load it with the version of selfclean-hooks that "
        "wrote it, or run the audit again with this one"
    )


@pytest.mark.parametrize("place", ["../other", "/{}/other", "..", ".", "val/../../other", "val\n", "", "a b"])
def test_nothing_is_read_outside_of_the_folder(place: str, tmp_path: Path) -> None:
    splits().save(tmp_path / "audit")
    splits().audits["val"].save(tmp_path / "other")
    splits().audits["val"].save(tmp_path / "audit" / "a b")
    there = place.format(tmp_path)
    index(lambda content: content["splits"][1].update(folder=there))(tmp_path / "audit")
    with pytest.raises(AuditFileError, match=r"splits\.json must be as Audit.save wrote it"):
        SplitsAudit.load(tmp_path / "audit")


def test_a_name_that_is_there_twice_or_says_nothing_is_reported(tmp_path: Path) -> None:
    for name in ("train", ""):
        splits().save(tmp_path)
        rename(name)(tmp_path)
        with pytest.raises(AuditFileError, match=r"splits\.json must be as Audit.save wrote it"):
            SplitsAudit.load(tmp_path)


def test_no_folder_and_another_folder(tmp_path: Path, call: Call) -> None:
    write_splits(tmp_path)
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(AuditFileError, match=r"a saved audit is a folder with"):
            SplitsAudit.load(folder)
        assert "a saved audit is a folder with" in refused(call("gate", folder))


def test_a_folder_that_cannot_be_written_keeps_its_audit(tmp_path: Path) -> None:
    found = splits()
    found.save(tmp_path)
    before = contents(tmp_path / "train")
    shutil.rmtree(tmp_path / "val")
    (tmp_path / "val").write_text("in the way")
    with pytest.raises(AuditFileError, match=r"cannot write .*val"):
        found.save(tmp_path)
    assert contents(tmp_path / "train") == before
    assert (tmp_path / "val").read_text() == "in the way"
