"""Words, codes and missing values as labels: what is read as none, what is said about it."""

from __future__ import annotations

import pathlib
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import audit, audit_embeddings, audit_splits
from selfclean_hooks.core.labels import read_labels
from selfclean_hooks.errors import DataError


class Shape(Enum):
    round = "o"
    square = "q"


class Stage(IntEnum):
    early = 4
    late = 9


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        ([3, None, 3, 5, 5], [3, -1, 3, 5, 5], None),
        ([3, -100, 3, 5, 5], [3, -1, 3, 5, 5], None),
        ([3.0, float("nan"), 3.0, 5.0, 5.0], [3, -1, 3, 5, 5], None),
        (["oak", None, "oak", "elm", "elm"], [1, -1, 1, 0, 0], ("elm", "oak")),
        (["oak", float("nan"), "oak", "elm", "elm"], [1, -1, 1, 0, 0], ("elm", "oak")),
        (["oak", -1, "oak", "elm", "elm"], [1, -1, 1, 0, 0], ("elm", "oak")),
        (["oak", " ", "oak ", "\telm", "elm"], [1, -1, 1, 0, 0], ("elm", "oak")),
        (["oak", "<NA>", "oak", "elm", "elm"], [1, -1, 1, 0, 0], ("elm", "oak")),
        (["none", "none", "NA", "NA", "none"], [1, 1, 0, 0, 1], ("NA", "none")),
        (pd.Series(["oak", pd.NA, "oak", "elm", "elm"]), [1, -1, 1, 0, 0], ("elm", "oak")),
        (pd.array([3, None, 3, 5, 5], dtype="Int64"), [3, -1, 3, 5, 5], None),
        (np.ma.masked_array([3, 9, 3, 5, 5], np.array([0, 1, 0, 0, 0], bool)), [3, -1, 3, 5, 5], None),
        (np.array([b"oak", b"elm", b"oak", b"elm", b"oak"]), [1, 0, 1, 0, 1], ("elm", "oak")),
        ([Shape.round, Shape.square] * 2 + [None], [0, 1, 0, 1, -1], ("round", "square")),
        ([Stage.early, Stage.late] * 2 + [Stage.late], [4, 9, 4, 9, 9], None),
        ([Decimal(2), Decimal("NaN"), Decimal(2), Fraction(6, 2), 3], [2, -1, 2, 3, 3], None),
        ([pathlib.PurePosixPath("x/y"), "x/y", "z", "z", "z"], [0, 0, 1, 1, 1], ("x/y", "z")),
        ([True, False, True, False, True], [1, 0, 1, 0, 1], None),
        ([10**30, 5, 10**30, 5, 5], [0, 1, 0, 1, 1], (str(10**30), "5")),
        ([-3, 20, -1, 5, -3], [0, 2, -1, 1, 0], ("-3", "5", "20")),
        (np.array([2**64 - 1, 7, 7, 2**64 - 1, 7], np.uint64), [0, 1, 1, 0, 1], (str(2**64 - 1), "7")),
    ],
)
def test_missing_labels_and_odd_types(labels: Any, codes: list[int], names: tuple[str, ...] | None) -> None:
    read = read_labels(labels, 5)
    assert read.values is not None
    assert (read.values.tolist(), read.class_names) == (codes, names)
    assert any("samples carry no label" in note for note in read.notes) == (-1 in codes)


@pytest.mark.parametrize("labels", [[-1] * 4, [-100, -1] * 2, [None] * 4, ["", "nan", "None", " "], [float("nan")] * 4])
def test_labels_that_are_all_missing_are_none(labels: list[Any]) -> None:
    read = read_labels(labels, 4)
    assert read.values is None
    assert read.why_none == "there are no labels: none of the 4 samples carries one"


@pytest.mark.parametrize("labels", [[object()] * 3, [b"\xff", b"a", b"a"], [{"a": 1}] * 3, [1, "a", "b"]])
def test_what_is_no_label_is_refused_in_a_sentence(labels: list[Any]) -> None:
    with pytest.raises(DataError, match="label"):
        read_labels(labels, 3)


def test_words_are_described_with_counts() -> None:
    words = ["rose"] * 4 + ["rose "] * 2 + ["Rose"] * 3 + ["nan"] * 2 + ["red_rose", "Red Rose", "red_rose"]
    assert read_labels(words, len(words)).notes == (
        'blanks at the ends of 2 labels were removed: "rose " (2)',
        '2 labels are read as missing: "nan" (2)',
        'classes whose names differ only in case or spelling stay apart: "Rose" (3) beside "rose" (6); '
        '"Red Rose" (1) beside "red_rose" (2). Rename them if they are one',
        "2 of 14 samples carry no label, index 9, 10",
    )
    assert read_labels(["a", "b", "a", "b"], 4).notes == ()


def test_codes_that_stand_for_none_are_said() -> None:
    assert read_labels([0, 1, -100, 0, 1], 5).notes == (
        "the label -100 of 1 samples is read as missing",
        "1 of 5 samples carry no label, index 2",
    )


@pytest.mark.parametrize("labels", [[f"case-{i}" for i in range(40)], range(40), [*range(37), 0, 1, 2]])
def test_identifiers_are_no_classes(labels: Any) -> None:
    x = np.random.default_rng(0).normal(size=(40, 8))
    found = audit_embeddings(x, list(labels))
    assert "the labels look like identifiers and not like classes" in found.scores.not_run["label_errors"]
    assert not found.frame["is_label_issue"].any()
    rare = audit_embeddings(x, [*range(18), *([99] * 22)])
    assert "label_errors" not in rare.scores.not_run


def flat(batch: Any) -> Any:
    return batch.flatten(1)


def pixels(n: int) -> list[Any]:
    rng = np.random.default_rng(3)
    return [
        (rng.integers(0, 99, (6, 6, 3)) + 150 * (i % 2) * np.eye(3, dtype=int)[0]).astype(np.uint8) for i in range(n)
    ]


def test_some_missing_labels_in_items_leave_the_others_checked() -> None:
    names = ["maple", "birch"]
    items: list[Any] = [(image, None if i % 8 == 3 else names[i % 2]) for i, image in enumerate(pixels(48))]
    items[10] = (items[10][0], "birch")
    found = audit(items, flat, progress=False)
    assert found.frame["is_label_issue"].to_numpy().nonzero()[0].tolist() == [10]
    assert np.isnan(found.scores.label[3::8]).all()
    assert "6 of 48 samples carry no label, index 3, 11, 19, 27, 35, 43" in found.provenance["notes"]


def test_a_test_split_without_labels_is_audited() -> None:
    images = pixels(40)
    labelled = [(image, i % 2) for i, image in enumerate(images)]
    found = audit_splits({"train": labelled, "test": [(image, -1) for image in images[30:]]}, flat, progress=False)
    assert "there are no labels" in found.audits["test"].scores.not_run["label_errors"]
    assert "label_errors" not in found.audits["train"].scores.not_run
    assert len(found.leaking) == 10
