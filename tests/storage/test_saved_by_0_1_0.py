"""Folders saved by version 0.1.0, before the package was split into layers: they load and are written as they were."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, SplitsAudit
from selfclean_hooks.cli.outcome import load_audit
from tests.helpers.disk_steps import before_every_step
from tests.helpers.format_data import two

SAVED = Path(__file__).parents[1] / "data" / "saved_0_1_0"
FOLDERS = ("regression", "multilabel", "splits/train", "splits/val")
OF_COMPRESSION = ("scores_blake2b",)  # of compressed bytes: another zlib compresses otherwise
WORDS = ["reason"]  # sentences, which may change


def without_digests(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: without_digests(value) for key, value in content.items() if key not in OF_COMPRESSION}
    return [without_digests(value) for value in content] if isinstance(content, list) else content


def assert_same_file(path: Path, expected: Path) -> None:
    if path.suffix == ".npz":
        with np.load(path) as arrays, np.load(expected) as wanted:
            assert arrays.files == wanted.files
            for name in wanted.files:
                assert arrays[name].dtype == wanted[name].dtype
                np.testing.assert_array_equal(arrays[name], wanted[name], err_msg=name)
    elif path.name in ("manifest.json", "splits.json"):
        content, wanted = json.loads(path.read_text()), json.loads(expected.read_text())
        assert json.dumps(without_digests(content)) == json.dumps(without_digests(wanted))  # in this order
    elif path.name == "samples.csv":
        table, wanted = pd.read_csv(path, dtype=str), pd.read_csv(expected, dtype=str)
        pd.testing.assert_frame_equal(table.drop(columns=WORDS), wanted.drop(columns=WORDS))
    else:
        assert path.read_bytes() == expected.read_bytes(), path.name


def assert_same_folder(folder: Path, expected: Path) -> None:
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wanted = {str(path.relative_to(expected)) for path in expected.rglob("*") if path.is_file()}
    assert {name for name in files if not name.endswith("report.html")} == wanted
    for name in wanted:
        assert_same_file(folder / name, expected / name)


@pytest.mark.parametrize("name", FOLDERS)
def test_an_audit_is_saved_again_as_it_was(name: str, tmp_path: Path) -> None:
    Audit.load(SAVED / name).save(tmp_path)
    assert_same_folder(tmp_path, SAVED / name)


def test_splits_are_saved_again_as_they_were(tmp_path: Path) -> None:
    SplitsAudit.load(SAVED / "splits").save(tmp_path)
    assert_same_folder(tmp_path, SAVED / "splits")


def test_what_was_recorded_is_loaded() -> None:
    """Read off the files by hand: labels by name, a review, leakage, thumbnails and the map."""
    audit = Audit.load(SAVED / "splits" / "train")
    assert audit.contamination["near_duplicates"] == 1 / 14
    assert audit.contamination["leakage"] == 2 / 14
    assert audit.clean_indices.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13]
    assert audit.relabelled == {3: "digit 2"}
    assert audit.frame.loc[13, ["given_label", "predicted_label"]].tolist() == ["digit 0", "digit 2"]
    assert audit.frame.loc[3, "label_score"] == 0.43110095595825093
    assert audit.leakage[["index_1", "split_2", "index_2", "distance"]].values.tolist()[:2] == [
        [6, "val", 4, 0.0],
        [9, "val", 4, 0.0],
    ]
    assert audit.thresholds.label_errors == 0.2  # the reviewer moved it
    assert audit.thumbnails[6].startswith(b"RIFF")  # WebP
    assert audit.evidence is not None
    assert audit.evidence.map is not None
    assert audit.evidence.map.shape == (14, 2)


def test_targets_and_sets_of_labels_are_loaded() -> None:
    targets, sets = (Audit.load(SAVED / name) for name in ("regression", "multilabel"))
    assert targets.worst("label_errors").tolist() == [7]
    assert targets.frame.loc[7, "predicted_label"] == pytest.approx(0.6396252704518182)
    assert sets.worst("label_errors").tolist() == [5, 6]
    assert sets.frame.loc[6, ["given_label", "predicted_label"]].tolist() == ["1, 2", "0, 1, 2"]


@pytest.mark.parametrize("name", ["multilabel", "splits"])
def test_a_kill_in_the_first_save_over_it_leaves_one_of_both(name: str, tmp_path: Path) -> None:
    shutil.copytree(SAVED / name, tmp_path / "work" / "out")

    def held(place: Path) -> list[Any]:
        return [(split, each.provenance, len(each)) for split, each in load_audit(place / "out").audits.items()]

    before = held(tmp_path / "work")
    with before_every_step(tmp_path / "work", tmp_path / "steps") as folders:
        two()["train"].save(tmp_path / "work" / "out")
    after = held(tmp_path / "work")
    found = [held(folder) for folder in folders]
    first = found.index(after)
    assert before != after
    assert found == [before] * first + [after] * (len(found) - first)
    assert 0 < first < len(found)
