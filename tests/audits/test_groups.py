"""Samples of one group are never each other's near duplicates or leakage."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets as huggingface
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import LightningModule, Trainer
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset

from selfclean_hooks import Audit, Limits, Policy, SplitsAudit, Thresholds, audit, audit_splits, clean
from selfclean_hooks.core.groups import same_group, without_group_pairs
from selfclean_hooks.data.dataset_tree import read_groups
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.report.sarif import as_sarif
from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks_lightning import DataAudit

CHOICES: dict[str, Any] = {"backbone": nn.Flatten(), "progress": False, "thresholds": Thresholds(near_duplicates=0.2)}
DROP = Policy("drop", leakage="drop", max_drop_fraction=1.0)


class Scans(Dataset[Any]):
    """(image, label) of patients, some of whom have images that are all but the same."""

    def __init__(self, patients: list[Any], alike: dict[int, int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.images = rng.random((len(patients), 3, 6, 6), np.float32)
        for copy, of in alike.items():
            self.images[copy] = self.images[of] + rng.normal(0, 1e-3, (3, 6, 6))
        self.patients = patients

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], index % 2


PATIENTS = ["a", "a", "b", "b", "c", "c", "d", "d", None, None, "e", "f"]
ALIKE = {1: 0, 4: 2, 9: 8, 11: 10}  # of one patient, of two, of two without one, of two


def pairs_of(found: Any) -> set[tuple[int, int]]:
    rows = found.pairs[found.pairs["is_near_duplicate_issue"]]
    return set(zip(rows["index_1"].tolist(), rows["index_2"].tolist(), strict=True))


def test_near_duplicates_of_one_group_are_none() -> None:
    data = Scans(PATIENTS, ALIKE)
    assert pairs_of(audit(data, **CHOICES)) == {(0, 1), (2, 4), (8, 9), (10, 11)}
    found = audit(data, policy=DROP, group_key="patients", **CHOICES)
    assert pairs_of(found) == {(2, 4), (8, 9), (10, 11)}
    assert set(range(12)) - set(found.clean_indices) == {4, 9, 11}
    assert any(
        "samples of one group are not compared with each other: 6 groups" in n for n in found.provenance["notes"]
    )
    assert found.scores.near_duplicate[0] > 0.2
    assert found.scores.calibration["near_duplicates"].unknown


def test_leakage_within_a_group_is_none() -> None:
    train = Scans(["a", "b", "c", "d", "e", "f"], {})
    test = Scans(["a", "x", "c", "y"], {}, seed=1)
    test.images[0], test.images[1] = train.images[0], train.images[1]  # of the same patient, and of another
    found = audit_splits({"train": train, "test": test}, policy=DROP, group_key="patients", **CHOICES)
    rows = found.audits["train"].leakage
    flagged = rows[rows["is_leakage_issue"]]
    assert flagged[["index_1", "index_2"]].to_numpy().tolist() == [[1, 1]]
    given_groups = {"train": train.patients, "test": test.patients}
    again = audit_splits({"train": train, "test": test}, policy=DROP, group_key=given_groups, **CHOICES)
    assert again.leakage.equals(found.leakage)


def test_a_group_of_all_leaves_nothing_to_compare() -> None:
    data = Scans(["a"] * 12, ALIKE)
    found = audit(data, policy=DROP, group_key="patients", **CHOICES)
    assert len(found.pairs) == 0
    assert len(found.clean_indices) == 12


@given(st.integers(0, 200), st.integers(1, 6), st.sampled_from(["default", "selfclean"]))
def test_scores_are_those_of_pairs_of_two_groups(seed: int, number: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, 4))
    vectors[6:] = vectors[:6] + rng.normal(0, 1e-3, (6, 4))
    groups = [f"g{k}" if k else "" for k in rng.integers(0, number, 12)]
    plain = score(vectors, None, method=method)
    found = without_group_pairs(plain, groups)
    kept = {tuple(p): s for p, s in zip(plain.pair_index.tolist(), plain.pair_score.tolist(), strict=True)}
    kept = {p: s for p, s in kept.items() if not (groups[p[0]] and groups[p[0]] == groups[p[1]])}
    assert dict(zip(map(tuple, found.pair_index.tolist()), found.pair_score.tolist(), strict=True)) == kept
    for i in range(12):
        own = [s for p, s in kept.items() if i in p]
        if own:
            assert found.near_duplicate[i] == min(own)
        else:
            assert found.near_duplicate[i] >= plain.near_duplicate[i]
    assert not same_group(groups, groups, *found.tree_index.T).any()
    assert without_group_pairs(plain, ()) is plain
    assert found.calibration.keys() == plain.calibration.keys()


def test_groups_are_read_wherever_they_are(tmp_path: Any) -> None:
    data = Scans([1, 2, None, float("nan"), "", np.int64(7)], {})
    names = ("1", "2", "", "", "", "7")
    files = [f"{i}/x.png" for i in range(6)]
    assert read_groups(data, files, None) == ()
    assert read_groups(data, files, "patients") == names
    assert read_groups(Subset(data, [5, 0]), files[:2], "patients") == ("7", "1")
    assert read_groups(ConcatDataset([Subset(data, [1]), data]), files + files[:1], "patients") == ("2", *names)
    assert read_groups(data, files, lambda file: file[0]) == tuple("012345")
    assert read_groups(data, files, np.arange(6)) == tuple("012345")
    hub = huggingface.Dataset.from_dict({"x": [0, 1], "who": ["a", None]})
    assert read_groups(hub, ["", ""], "who") == ("a", "")


def test_what_is_no_group_key_is_a_sentence() -> None:
    data = Scans(PATIENTS, {})
    with pytest.raises(DataError, match="group_key='hospital' is no attribute of Scans"):
        audit(data, group_key="hospital", **CHOICES)
    with pytest.raises(DataError, match="one group for each of 12 samples, got 2"):
        audit(data, group_key=["a", "b"], **CHOICES)
    with pytest.raises(DataError, match="12 samples have none, index 0"):
        audit(data, group_key=str.upper, **CHOICES)
    with pytest.raises(SettingError, match="group_key must be the name of a column or an attribute"):
        audit(data, group_key=3, **CHOICES)
    hub = huggingface.Dataset.from_dict({"x": [[0.0] * 4, [1.0] * 4]})
    with pytest.raises(DataError, match="'who' is no column of the data set, got 'x'"):
        audit(hub, group_key="who", **CHOICES)


def test_the_command_groups_files_by_their_names(folder: Any, call: Any, tmp_path_factory: Any) -> None:
    out = tmp_path_factory.mktemp("audit")
    (folder / "dog" / "0.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    (folder / "cat" / "1b.png").write_bytes((folder / "cat" / "1.png").read_bytes())
    backbone = ("--backbone", "tests.sources.detection_backbone:colours")
    assert call("audit", folder, "-o", out, *backbone, "--group-pattern", r"(cat)/1b?\.").status == 0
    listed = (out / "pairs.csv").read_text("utf-8").splitlines()
    assert not [row for row in listed if "1.png" in row and "1b.png" in row]
    assert (out / "clean_files.txt").read_text("utf-8").count("1") >= 2
    for pattern, why in (("cat", "must hold what is alike"), ("(", "is no regular expression")):
        ran = call("audit", folder, "-o", out, *backbone, "--group-pattern", pattern)
        assert ran.status == 2
        assert why in ran.err


def test_groups_are_a_column_of_a_table(folder: Any, call: Any, tmp_path: Any) -> None:
    table = tmp_path / "table.csv"
    rows = [f"{name}/{i}.png,{name},{'x' if i < 2 else i}" for name in ("cat", "dog") for i in range(3)]
    table.write_text("\n".join(["path,label,patient", *rows]))
    for i in (0, 1):
        shutil.copy(folder / "cat" / "0.png", folder / "dog" / f"{i}.png")
    out, backbone = tmp_path / "out", ("--backbone", "tests.sources.detection_backbone:colours", "-q")
    assert call("audit", table, "-o", out, *backbone).status == 0
    assert Audit.load(out).contamination["near_duplicates"] == 2 / 6
    assert call("audit", table, "-o", out, *backbone, "--group-column", "patient").status == 0
    assert Audit.load(out).contamination["near_duplicates"] == 0
    both = call(
        "audit", f"train={table}", f"test={table}", "-o", tmp_path / "2", *backbone, "--group-column", "patient"
    )
    assert both.status == 0
    assert SplitsAudit.load(tmp_path / "2").audits["train"].contamination["group_leakage"] == 1
    assert "no column 'who', got path, label, patient" in call("audit", table, "--group-column", "who").err
    refused = call("audit", table, "--group-column", "patient", "--group-pattern", "(a)")
    assert "groups are by --group-column or by --group-pattern, got both" in refused.err


def write_film(folder: Path, seed: int, frames: int = 8) -> None:
    """A square that moves over a background, a file for each frame."""
    folder.mkdir(parents=True)
    background = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    for number in range(frames):
        frame = Image.fromarray(background).resize((32, 32), Image.Resampling.NEAREST)
        frame.paste((250, 40, 40), (10 + number // 4, 12, 16 + number // 4, 18))
        frame.save(folder / f"{number:03}.png")


def film_of(file: str) -> str:
    return Path(file).parent.name


def test_a_film_is_a_group_of_frames(tmp_path: Any) -> None:
    for number in range(6):
        write_film(tmp_path / "train" / f"film{number}", number)
    shutil.copy(tmp_path / "train" / "film1" / "003.png", tmp_path / "train" / "film2" / "900.png")
    choices: dict[str, Any] = {"backbone": nn.Flatten(), "progress": False}
    data = Frames(tmp_path / "train")
    assert audit(data, **choices).contamination["near_duplicates"] > 0.8  # every frame is the copy of the one before
    found = audit(data, group_key=film_of, **choices)
    surplus = {data.paths[i] for i in found.decisions.surplus.nonzero()[0].tolist()}
    assert {(Path(path).parent.name, Path(path).name) for path in surplus} == {("film2", "900.png")}
    write_film(tmp_path / "test" / "film9", 9)
    shutil.copytree(tmp_path / "train" / "film4", tmp_path / "test" / "film4")
    splits = audit_splits({"train": data, "test": Frames(tmp_path / "test")}, group_key=film_of, **choices)
    leaking = {film_of(data.paths[i]) for i in splits.audits["train"].worst("group_leakage").tolist()}
    assert leaking == {"film4"}


class Frames(FolderDataset):
    """Frames as tensors."""

    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(np.asarray(super().__getitem__(index)[0]).copy()).permute(2, 0, 1)


class Stream(IterableDataset[Any]):
    """Items of `Scans`, one after the other."""

    def __iter__(self) -> Any:
        data = Scans(PATIENTS, ALIKE)
        for index in range(len(data)):
            image, label = data[index]
            yield {"image": image, "label": label, "patient": PATIENTS[index], "id": index}


@pytest.mark.parametrize("key", ["patient", lambda item: item["patient"]])
def test_samples_of_a_stream_have_groups(key: Any) -> None:
    def kept(**options: Any) -> set[int]:
        cleaned = clean(Stream(), policy=DROP, key="id", **options, **CHOICES)
        return {item["id"] for item in cleaned}

    assert set(range(12)) - kept() == {1, 4, 9, 11}
    assert set(range(12)) - kept(group_key=key) == {4, 9, 11}


def test_what_is_no_group_of_a_stream_is_a_sentence() -> None:
    with pytest.raises(
        DataError, match="group_key='who' is no field of an item, got 'image', 'label', 'patient', 'id'"
    ):
        clean(Stream(), group_key="who", **CHOICES)
    with pytest.raises(SettingError, match="field of an item of a stream, or a function of the item"):
        clean(Stream(), group_key=["a"] * 12, **CHOICES)


def test_a_group_in_two_splits_is_leakage_of_its_own_kind(tmp_path: Any) -> None:
    train = Scans(["a", "b", None, "d", "e", "f"], {})
    test = Scans(["a", "x", "d", None], {}, seed=1)
    policy = Policy(group_leakage="drop")
    found = audit_splits({"train": train, "test": test}, policy=policy, group_key="patients", **CHOICES)
    assert found.audits["train"].worst("group_leakage").tolist() == [0, 3]
    assert found.audits["train"].clean_indices.tolist() == [1, 2, 4, 5]
    assert found.audits["test"].worst("group_leakage").tolist() == [0, 2]
    assert found.audits["test"].clean_indices.tolist() == [0, 1, 2, 3]  # dropped in training data alone
    np.testing.assert_array_equal(found.audits["train"].scores.of("group_leakage"), [0, 1, np.nan, 0, 1, 1])
    found.save(tmp_path / "audit")
    again = SplitsAudit.load(tmp_path / "audit").audits["train"]
    assert again.worst("group_leakage").tolist() == [0, 3]
    failures = found.check({"train": Limits(group_leakage=0.1)}).failures
    assert len(failures) == 1
    assert "group_leakage" in failures[0]
    sarif = json.loads(as_sarif(found.audits, found.check({"train": Limits(group_leakage=0.1)})))["runs"][0]
    rules = [rule["id"] for rule in sarif["tool"]["driver"]["rules"]]
    assert {rules[each["ruleIndex"]] for each in sarif["results"]} >= {"group-leakage"}
    assert all(rules[each["ruleIndex"]] == each["ruleId"] for each in sarif["results"])
    without = audit_splits({"train": train, "test": test}, **CHOICES)
    assert "group_leakage" not in without.audits["train"].scores.issues


def test_training_data_is_compared_by_group() -> None:
    options: dict[str, Any] = {"backbone": nn.Flatten(), "output_dir": None, "group_key": "patients"}
    callback = DataAudit(policy=Policy(group_leakage="drop"), held_out={"test": Scans(["a", "x"], {}, 1)}, **options)
    train = Scans(["a", "b", "a", "c", "d", "e", "f", "g"], {})
    Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(Classifier(), DataLoader(train, 4))  # fmt: skip
    assert callback.audit.clean_indices.tolist() == [1, 3, 4, 5, 6, 7]


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(108, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)
