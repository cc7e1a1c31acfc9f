"""Labels that are classes, numbers or several a sample: from any source to the flags and the saved audit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from selfclean_hooks import Audit, audit, audit_embeddings, audit_splits
from selfclean_hooks.cli import main as cli
from selfclean_hooks.core.labels import as_labels, read_labels
from selfclean_hooks.core.scores import label_texts, predicted_texts
from selfclean_hooks.errors import DataError

Floats = NDArray[np.float64]


def clouds(n: int = 400, seed: int = 0) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Vectors (N, 24), a number that they tell, and three labels each that they tell too."""
    rng = np.random.default_rng(seed)
    held = rng.random((n, 3)) < 0.5
    held[:2] = True
    x = rng.normal(size=(n, 24)) + 6 * held @ rng.normal(size=(3, 24))
    return x, x @ rng.normal(size=24) / 5, held


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([2, 0, 1], [2, 0, 1]),
        ([2.0, 0.0, 1.0], [2, 0, 1]),
        ([2.0, float("nan"), 1.0], [2, -1, 1]),
        ([0.5, 2.0, 1.0], [0.5, 2.0, 1.0]),
        (torch.tensor([[0.5], [2.0], [1.0]]), [0.5, 2.0, 1.0]),
        ([[0, 1], [1, 1], [0, 0]], [[False, True], [True, True], [False, False]]),
        (np.eye(3)[[2, 0, 1]], [2, 0, 1]),
        ([[0, None], [1, float("nan")], [1, 1]], [[0, -1], [1, -1], [1, 1]]),
        (np.array([[0, -1], [1, -100], [1, 0]]), [[0, -1], [1, -1], [1, 0]]),
        ([[1, 0, 1], None, [0, 0, 1]], [[1, 0, 1], [-1, -1, -1], [0, 0, 1]]),
        (torch.tensor([[0.0, 1.0], [float("nan"), float("nan")], [1.0, 0.0]]), [1, -1, 0]),
        ([[1, -1], [-1, -1], [1, 1]], [[True, False], [False, False], [True, True]]),
        (pd.DataFrame({"a": [1, pd.NA, 0], "b": [0, 1, 1]}), [[1, 0], [-1, 1], [0, 1]]),
        (pd.Series([[1, 1], [0, 1], None]), [[1, 1], [0, 1], [-1, -1]]),
        (["b", "a", "b"], [1, 0, 1]),
    ],
)
def test_kinds_of_labels(labels: Any, expected: list[Any]) -> None:
    found, names = as_labels(labels, 3)
    assert found is not None
    assert found.tolist() == expected
    assert names == (("a", "b") if isinstance(labels, list) and isinstance(labels[0], str) else None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, float("inf"), 1.0], "must be finite, got inf at index 1"),
        ([[0, 2], [1, 1], [0, 0]], "must be zeros and ones.*got 2 at index 0, column 1"),
        ([["b", 0], ["a", 1], ["b", 0]], "must be zeros and ones.*got 'b' at index 0, column 0"),
        (np.zeros((3, 2, 2)), r"got \(3, 2, 2\)"),
        (np.zeros((3, 0)), r"got \(3, 0\)"),
        ([1, 2], r"got \(2,\)"),
        ([1, "a", None], "all integers or all words"),
    ],
)
def test_labels_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_labels(labels, 3)


def test_wrong_regression_targets_are_found_reported_and_saved(tmp_path: Path) -> None:
    x, t, _ = clouds()
    wrong = t.copy()
    wrong[:10] += 8 * t.std()
    assert audit_embeddings(x, t).contamination["label_errors"] < 0.01
    found = audit_embeddings(x, wrong)
    flags = found.decisions.flags["label_errors"]
    assert flags[:10].all()
    assert flags[10:].mean() < 0.04
    assert np.allclose(found.frame["given_label"], wrong)
    nearer = np.abs(found.frame["predicted_label"].to_numpy()[:10] - t[:10]) < np.abs(wrong[:10] - t[:10]) / 2
    assert nearer.all()
    assert found.decisions.reason[3].startswith(f"target {wrong[3]:.4g}, predicted ")
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    assert again.frame.equals(found.frame)
    assert predicted_texts(again.scores) == predicted_texts(found.scores)


def test_numbers_that_are_missing_are_not_scored() -> None:
    x, t, _ = clouds()
    t[5:9] = np.nan
    scores = audit_embeddings(x, t).scores
    assert np.isnan(scores.label[5:9]).all()
    assert not np.isnan(np.delete(scores.label, range(5, 9))).any()
    assert label_texts(scores)[5] == ""


def test_missing_and_extra_labels_are_found_reported_and_saved(tmp_path: Path) -> None:
    x, _, held = clouds()
    given = held.copy()
    given[:12, 1] ^= True
    found = audit_embeddings(x, given).described("mine", ("cat", "dog", "sky"))
    flags = found.decisions.flags["label_errors"]
    assert flags[:12].mean() > 0.8
    assert flags[12:].mean() < 0.02
    at = int(flags.argmax())
    assert ("label dog seems " + ("missing" if held[at, 1] else "wrong")) in found.decisions.reason[at]
    frame = found.frame
    names = np.array(["cat", "dog", "sky"])
    assert frame["given_label"][at] == (", ".join(names[given[at]]) or "none")
    assert frame["predicted_label"][at] == (", ".join(names[held[at]]) or "none")
    found.save(tmp_path)
    assert Audit.load(tmp_path).frame.equals(frame)


def test_the_method_of_the_paper_says_that_it_knows_classes_only() -> None:
    x, t, held = clouds(60)
    for labels, kind in ((t, "regression targets"), (held, "several per sample")):
        found = audit_embeddings(x, labels, method="selfclean")
        assert kind in found.scores.not_run["label_errors"]
        assert np.isnan(found.scores.label).all()


@pytest.mark.parametrize("labels", [np.full(60, 0.5), np.ones((60, 3)), np.full(60, np.nan)])
def test_labels_that_are_all_alike_are_no_labels(labels: Any) -> None:
    assert "label_errors" in audit_embeddings(clouds(60)[0], labels).scores.not_run


class Photos:
    """Small images whose brightness is the target, or that say which of two marks they bear; the fifth is broken."""

    def __init__(self, several: bool) -> None:
        self.several, rng = several, np.random.default_rng(0)
        self.images = rng.integers(0, 40, (60, 3, 16, 16)).astype(np.uint8)
        self.marks = rng.random((60, 2)) < 0.5
        self.images[self.marks[:, 0], :, :6] = 250
        self.images[self.marks[:, 1], :, 10:] = 200

    def __len__(self) -> int:
        return 60

    def __getitem__(self, i: int) -> tuple[torch.Tensor, Any]:
        if i == 5:
            raise OSError("broken")
        image = torch.from_numpy(self.images[i])
        return image, torch.tensor(self.marks[i]) if self.several else float(self.images[i].mean())


@pytest.mark.parametrize(("several", "workers"), [(False, 0), (True, 0), (True, 1)])
def test_labels_in_the_items(several: bool, workers: int, tmp_path: Path) -> None:
    photos = Photos(several)
    found = audit(photos, lambda batch: batch.flatten(1), num_workers=workers, progress=False)
    texts = label_texts(found.scores)
    assert texts[5] == ""
    expected = ", ".join(str(c) for c in photos.marks[7].nonzero()[0]) or "none"
    assert texts[7] == (expected if several else f"{photos.images[7].mean():.6g}")
    assert not np.isnan(np.delete(found.scores.label, 5)).any()
    found.save(tmp_path)
    assert label_texts(Audit.load(tmp_path).scores) == texts


def test_splits_with_numbers() -> None:
    flat = {name: audit_data for name, audit_data in (("train", Photos(False)), ("val", Photos(False)))}
    found = audit_splits(flat, lambda batch: batch.flatten(1), progress=False)
    assert not np.isnan(np.delete(found.audits["val"].scores.label, 5)).any()
    assert found.audits["train"].scores.targets is not None


def test_numbers_from_a_file_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, t, held = clouds(100)
    for name, labels in (("numbers", t), ("several", held)):
        np.savez(tmp_path / f"{name}.npz", embeddings=x.astype(np.float32), labels=labels)
        out = tmp_path / f"{name}-audit"
        assert cli.main(["audit", str(tmp_path / f"{name}.npz"), "-o", str(out), "--max-label-errors", "50%"]) == 0
        scores = Audit.load(out).scores
        assert scores.targets is not None
        assert np.allclose(scores.targets, labels)
    assert "label_errors" in capsys.readouterr().out.replace(" errors", "_errors")


def test_labels_known_in_part_are_judged_noted_and_saved(tmp_path: Path) -> None:
    x, _, held = clouds(300)
    given = held.astype(float)
    given[4, 1] = 1 - given[4, 1]
    given[np.random.default_rng(3).random(given.shape) < 0.2] = np.nan
    given[4], given[9] = (given[4, 0], 1 - held[4, 1], np.nan), np.nan
    done = audit_embeddings(x, given)
    assert "label_errors" not in done.scores.not_run
    assert done.worst("label_errors")[0] == 4
    notes = "; ".join(done.provenance["notes"])
    assert f"{np.isnan(given).all(1).sum()} of 300 samples carry no label, index 9" in notes
    assert (
        f"{((np.isnan(given).any(1)) & ~np.isnan(given).all(1)).sum()} of 300 samples are judged by the labels" in notes
    )
    assert label_texts(done.scores)[4].endswith(" (1 unknown)")
    assert label_texts(done.scores)[9] == ""
    done.save(tmp_path / "out")
    again = Audit.load(tmp_path / "out")
    assert label_texts(again.scores) == label_texts(done.scores)
    assert np.array_equal(again.scores.label, done.scores.label, equal_nan=True)


def test_items_with_unknown_entries_are_judged() -> None:
    x, _, held = clouds(120)
    labels: list[Any] = held.astype(int).tolist()
    labels[3] = [1, None, 0]
    labels[5] = None
    labels[6][0] = 7
    done = audit([*zip(x.astype(np.float32), labels, strict=True)], lambda batch: batch, progress=False, ignore_label=7)
    assert "label_errors" not in done.scores.not_run
    assert np.isnan(done.scores.label).nonzero()[0].tolist() == [5]
    assert label_texts(done.scores)[3] == "0 (1 unknown)"
    assert [text.endswith("unknown)") for text in label_texts(done.scores)].count(True) == 2


@pytest.mark.parametrize(
    ("values", "apart"),
    [
        ([0, 1, 2, 255], 255),
        ([0, 1, 2, 3, 999], 999),
        ([*range(150), 255], 255),
        ([*range(1000), 65535], 65535),
        ([-9, 1, 2, 3], -9),
        ([0, 1, 2, 3], None),
        ([*range(256)], None),
        ([0, 1, 2, 4], None),
        ([1990, 2000, 2015, 2016], None),
        ([3, 7, 20, 255], None),
        (["0", "1", "2", "255"], 255),
        ([np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(2**64 - 1)], 2**64 - 1),
        (["cat", "dog", "owl", "255"], None),
    ],
)
def test_a_class_apart_from_the_others_is_named_and_stays_a_class(values: list[Any], apart: int | None) -> None:
    read = read_labels(values * 5, 5 * len(values))
    notes = [note for note in read.notes if "stands apart" in note]
    assert len(notes) == (apart is not None)
    assert all(f"the class {apart} of 5 samples" in note and f"ignore_label={apart}" in note for note in notes)
    assert read.values is not None
    assert len(np.unique(read.values)) == len(values)


@pytest.mark.parametrize(("word", "named"), [("Unknown", True), ("n/a", True), ("?", True), ("night", False)])
def test_a_class_whose_name_says_that_there_is_no_label_is_named_and_stays_a_class(word: str, named: bool) -> None:
    read = read_labels(["oak", word, "elm", "oak", word, "elm"], 6)
    assert read.class_names == tuple(sorted(["elm", "oak", word]))
    assert len(read.notes) == named
    assert all(f'"{word}" of 2 samples' in note and f'ignore_label="{word}"' in note for note in read.notes)


def test_the_label_to_be_ignored_is_so_in_labels_that_are_passed_too() -> None:
    x, _, _ = clouds(60)
    labels = np.arange(60) % 3
    labels[[5, 30]] = 255
    items = [*x.astype(np.float32)]
    loud = audit(items, lambda batch: batch, progress=False, labels=labels)
    assert any("the class 255 of 2 samples" in note for note in loud.provenance["notes"])
    done = audit(items, lambda batch: batch, progress=False, labels=labels, ignore_label=255)
    assert np.isnan(done.scores.label).nonzero()[0].tolist() == [5, 30]
    assert not any("255" in note for note in done.provenance["notes"])
