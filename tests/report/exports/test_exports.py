"""Exports for other tools: their names and shapes, and the values of the audit."""

import csv
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import Audit, SplitsAudit, audit_embeddings
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.formats import ExportFormat
from tests.helpers.applied_data import image
from tests.helpers.image_audit import N, leaking, with_images

DATALAB = {  # documented by cleanlab
    "is_label_issue",
    "label_score",
    "given_label",
    "predicted_label",
    "is_outlier_issue",
    "outlier_score",
    "is_near_duplicate_issue",
    "near_duplicate_score",
    "near_duplicate_sets",
    "distance_to_nearest_neighbor",
}


REVIEW = Review((Mark("label_errors", "relabelled", 30, label="owl"), Mark("off_topic", "confirmed", 3)))


@pytest.fixture(scope="module")
def audit() -> Audit:
    found = replace(with_images(), digests=tuple(f"{i:032x}" for i in range(N)))
    return replace(found, names=tuple(f"photos/{i}.png" for i in range(N))).with_decisions(REVIEW)


@pytest.fixture(scope="module")
def splits(audit: Audit) -> SplitsAudit:
    train = leaking(names=audit.names)
    return SplitsAudit({"train": train, "val": replace(with_images(), names=audit.names)})


@pytest.mark.parametrize("name", [each.value for each in ExportFormat])
def test_every_format_is_written_once(name: str, audit: Audit, splits: SplitsAudit, tmp_path: Path) -> None:
    for which, found in (("one", audit), ("two", splits)):
        written = found.export(name, tmp_path / "new" / which)
        assert set(written) <= set((tmp_path / "new").iterdir())
        assert tmp_path / "new" / which in written
        with pytest.raises(SettingError, match="is there already"):
            found.export(name, tmp_path / "new" / which)
    assert not list((tmp_path / "new").glob(".*"))


def test_what_is_no_format(audit: Audit, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"one of csv, parquet, .* got 'xls'"):
        audit.export("xls", tmp_path / "a.xls")
    with pytest.raises(SettingError, match="FiftyOne shows files"):
        with_images().export("fiftyone", tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_tables_hold_every_sample(audit: Audit, tmp_path: Path) -> None:
    audit.export("csv", tmp_path / "a.csv")
    audit.export("parquet", tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = pd.read_parquet(tmp_path / "a.parquet")
    for i, row in enumerate(rows):
        assert (int(row["index"]), row["sample"]) == (i, f"photos/{i}.png")
        assert row["is_dropped"] == str(i not in audit.clean_indices)
        assert row["new_label"] == ("owl" if i == 30 else "")
        assert float(row["label_score"]) == columns["label_score"][i] == audit.scores.label[i]
        assert row["reason"] == columns["reason"][i] == audit.decisions.reason[i]
    assert len(rows) == len(columns) == N


def test_tables_of_splits_say_which(splits: SplitsAudit, tmp_path: Path) -> None:
    splits.export("csv", tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert frame["split"].tolist() == ["train"] * N + ["val"] * N
    leaks = frame["is_leakage_issue"][:N].to_numpy(bool)
    np.testing.assert_array_equal(leaks, splits.audits["train"].decisions.flags["leakage"])


def test_columns_of_datalab(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    vectors[[7, 9]] = vectors[3]
    audit = audit_embeddings(vectors, np.arange(40) % 2)
    audit.export("cleanlab", tmp_path / "a.csv")
    frame = pd.read_csv(tmp_path / "a.csv")
    assert set(frame) == DATALAB | {"index", "sample"}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    apart = (1 - unit @ unit.T) / 2
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(frame["distance_to_nearest_neighbor"], apart.min(1), atol=1e-6)
    sets = frame["near_duplicate_sets"].map(json.loads)
    for i in range(40):
        mine = audit.decisions.sets[i]
        assert sets[i] == [j for j in range(40) if j != i and mine >= 0 and audit.decisions.sets[j] == mine]
    assert sets[3] == [7, 9]
    np.testing.assert_array_equal(frame["is_outlier_issue"], audit.decisions.flags["off_topic"])


def test_samples_of_fiftyone(audit: Audit, splits: SplitsAudit, tmp_path: Path) -> None:
    audit.export("fiftyone", tmp_path / "one")
    samples = json.loads((tmp_path / "one" / "samples.json").read_text())["samples"]
    assert len(samples) == N
    for i, sample in enumerate(samples):
        assert Path(sample["filepath"]) == Path.cwd() / f"photos/{i}.png"
        assert sample["ground_truth"]["label"] == ("cat", "dog", "owl")[audit.scores.given_label[i]]
        assert sample["off_topic_score"] == audit.scores.off_topic[i]
        counted = [issue for issue in audit.contamination if audit.decisions.contamination_mask(issue)[i]]
        assert set(sample["tags"]) == {*counted, *(["dropped"] if audit.decisions.dropped[i] else [])} | (
            {"relabelled"} if i == 30 else set()
        )
    splits.export("fiftyone", tmp_path / "two")
    both = json.loads((tmp_path / "two" / "samples.json").read_text())["samples"]
    assert ["train" in sample["tags"] for sample in both] == [True] * N + [False] * N


def test_tasks_of_label_studio(splits: SplitsAudit, tmp_path: Path) -> None:
    splits.export("label-studio", tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    controls = {each.get("name"): each for each in ElementTree.parse(tmp_path / "tasks.xml").getroot()}
    flagged = 0
    for audit in splits.audits.values():
        flagged += sum(int(audit.decisions.contamination_mask(i).sum()) for i in audit.contamination if i != "leakage")
        flagged += int(audit.decisions.leaks.sum())
    assert len(tasks) == flagged > 5
    for task in tasks:
        variables = {each.get("value", "").removeprefix("$") for each in controls.values() if each.get("value")}
        assert variables <= set(task["data"])
        for result in task["predictions"][0]["result"]:
            offered = [choice.get("value") for choice in controls[result["from_name"]]]
            assert result["value"]["choices"][0] in offered
        issue, i = (task["data"]["selfclean_hooks"][key] for key in ("issue", "index"))
        assert f"photos/{i}.png" in task["data"]["image"]
        assert ("<img" in task["data"]["beside"]) == (issue in ("near_duplicates", "leakage"))


def test_images_in_memory_are_shown_by_their_thumbnails(tmp_path: Path) -> None:
    with_images().export("label-studio", tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert all(task["data"]["image"].startswith("data:image/png;base64,") for task in tasks)


def test_a_saved_data_set(audit: Audit, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for i in range(3):
        image(tmp_path / f"{i}.png", i)
    odd = os.fsdecode(b"odd\xff.png")  # a name that is no text
    image(tmp_path / odd, 3)
    names = (str(tmp_path / odd), "gone.png", *(str(tmp_path / f"{i % 3}.png") for i in range(N - 2)))
    audit = replace(audit, names=names)
    audit.export("hf", tmp_path / "hf")
    found: Any = datasets.load_from_disk(str(tmp_path / "hf"))
    assert found["reason"][3:] == list(audit.decisions.reason[3:])
    assert (found[0]["image"].size, found[1]["image"], found[4]["image"].size) == ((5, 6), None, (5, 6))
    assert found[4]["given_label"] == "dog"


def test_croissant_describes_the_table(splits: SplitsAudit, tmp_path: Path) -> None:
    splits.export("croissant", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text())
    table = (tmp_path / "a.csv").read_bytes()
    assert found["distribution"][0]["sha256"] == hashlib.sha256(table).hexdigest()
    fields = {field["name"]: field["dataType"] for field in found["recordSet"][0]["field"]}
    assert list(fields) == table.decode().splitlines()[0].split(",")
    kinds = [fields[name] for name in ("split", "index", "is_off_topic_issue", "label_score")]
    assert kinds == ["sc:Text", "sc:Integer", "sc:Boolean", "sc:Float"]
    count = int(splits.audits["train"].decisions.contamination_mask("off_topic").sum())
    part = splits.audits["train"].contamination["off_topic"]
    assert f"train: Off topic: {count} of {N} samples ({part:.2%})." in found["rai:dataLimitations"]
    with pytest.raises(SettingError, match="metadata is JSON"):
        splits.export("croissant", tmp_path / "b.csv")


def test_croissant_is_read_by_its_own_library(audit: Audit, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    audit.export("croissant", tmp_path / "a.json")
    found = mlcroissant.Dataset(str(tmp_path / "a.json"))
    assert not found.metadata.ctx.issues.errors
    assert next(iter(found.metadata.data_limitations)).startswith("Near duplicates: ")
    records = list(found.records("samples"))
    assert [record["samples/index"] for record in records] == list(range(N))
    assert [record["samples/label_score"] for record in records] == audit.scores.label.tolist()
