"""audit_splits on real images and on invalid splits."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import selfclean_hooks
from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_splits
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.embedding.backbones import resolve as backbones
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from selfclean_hooks.testing import digits
from tests.helpers.embedding_data import Items, Net, as_image, flat

COLUMNS = ["split_1", "index_1", "split_2", "index_2", "distance"]


class Digits:
    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(self.images[index]), int(self.labels[index])


def leaking() -> dict[str, Digits]:
    """Digits in three splits, with `COPIES` between them."""
    images, labels = digits()
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order].copy(), labels[order].copy()
    first = {"train": 0, "val": 300, "test": 510}
    for split, index, other, copy in sorted(COPIES):
        source, to = first[split] + index, first[other] + copy
        images[to], labels[to] = images[source], labels[source]
    parts = {"val": slice(300, 510), "train": slice(300), "test": slice(510, 630)}
    return {name: Digits(images[part], labels[part]) for name, part in parts.items()}


COPIES = {
    *(("train", 100 + i, "val", i) for i in range(10)),
    *(("val", 200 + i, "test", i) for i in range(5)),
    ("train", 0, "test", 50),
}


@pytest.fixture(scope="module")
def found() -> SplitsAudit:
    policy = Policy(leakage="drop", near_duplicates="drop", off_topic="raise")
    return audit_splits(leaking(), flat, policy=policy, progress=False)


def test_planted_copies_between_real_splits_are_all_found(found: SplitsAudit) -> None:
    table = found.leakage
    assert table.columns.tolist() == COLUMNS
    exact = table[table["distance"] == 0]
    assert set(exact[COLUMNS[:4]].itertuples(index=False, name=None)) == COPIES
    assert table["distance"].is_monotonic_increasing
    threshold = found.audits["train"].decisions.thresholds["near_duplicates"]
    assert ((table["distance"] < threshold) | (table["distance"] == 0)).all()
    assert set(found.audits["train"].worst("leakage")) >= {0, *range(100, 110)}


def test_the_split_that_is_trained_on_comes_first_and_holds_the_leaks(found: SplitsAudit) -> None:
    assert list(found.audits) == ["train", "val", "test"]
    leaks = found.audits["train"].scores.leaks
    assert leaks is not None
    assert leaks.splits == ("train", "val", "test")
    assert not found.audits["train"].check(Limits(leakage=0.0))
    unnamed = audit_splits({"b": Items(), "a": Items(5)}, flat, progress=False)
    assert list(unnamed.audits) == ["b", "a"]
    assert unnamed.audits["b"].scores.leaks is not None


def test_every_split_holds_what_it_shares_with_the_others(found: SplitsAudit) -> None:
    for one, audit in found.audits.items():
        leaks = audit.scores.leaks
        assert leaks is not None
        assert leaks.splits[0] == one
        table = audit.leakage
        exact = table[table["distance"] == 0][COLUMNS[:4]].itertuples(index=False, name=None)
        seen = {(*pair[2:], *pair[:2]) if pair[0] != one else pair for pair in COPIES if one in (pair[0], pair[2])}
        assert set(exact) == seen
        thresholds = {audit.decisions.thresholds["leakage"] for audit in found.audits.values()}
        (threshold,) = thresholds
        assert threshold == pytest.approx(found.audits["train"].decisions.thresholds["near_duplicates"], abs=1e-6)


def test_splits_that_are_not_trained_on_are_never_dropped(found: SplitsAudit) -> None:
    policies = [audit.policy for audit in found.audits.values()]
    assert policies[0] == Policy("drop", "raise", leakage="drop")
    assert policies[1:] == [Policy("warn", "raise", leakage="warn")] * 2
    assert len(found.audits["val"].clean_indices) == 210


def test_every_split_is_audited_as_if_alone(found: SplitsAudit) -> None:
    alone = selfclean_hooks.audit(leaking()["val"], flat, progress=False)
    np.testing.assert_array_equal(found.audits["val"].frame["off_topic_score"], alone.frame["off_topic_score"])
    assert alone.thumbnails.items() <= found.audits["val"].thumbnails.items()  # and those of what leaks


def test_both_images_of_a_leak_are_kept_and_shown(found: SplitsAudit, tmp_path: Path) -> None:
    shown = found.audits["train"]
    assert {("val", i) for i in range(10)} | {("test", 50)} <= set(shown.leak_thumbnails)
    own, other = (Image.open(io.BytesIO(png)) for png in (shown.thumbnails[100], shown.leak_thumbnails["val", 0]))
    assert own.tobytes() == other.tobytes()
    shown.save(tmp_path)
    again = Audit.load(tmp_path)
    assert again.leak_thumbnails == shown.leak_thumbnails
    assert again.leakage.equals(shown.leakage)


def test_one_encoder_trained_on_the_training_split_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def remembered(images: Any, *arguments: Any, **settings: Any) -> Any:
        trained.append(len(images))
        return Encoder("own", flat, torch.device("cpu"), "one")

    monkeypatch.setattr(backbones, "train_encoder", remembered)
    found = audit_splits({"val": Items(7), "train": Items(9)}, "self-supervised", progress=False)
    assert trained == [9]
    assert {audit.provenance["encoder"]["fingerprint"] for audit in found.audits.values()} == {"one"}


def test_copies_are_exact_although_batches_differ() -> None:
    found = audit_splits({"train": Items(12), "val": Items(5)}, Net(), batch_size=3, progress=False)
    exact = found.leakage[found.leakage["distance"] == 0]
    assert exact["index_1"].tolist() == exact["index_2"].tolist() == [0, 1, 2, 3, 4]


def test_unreadable_samples_leak_nothing() -> None:
    splits = {"train": Items(12, broken=(2,)), "val": Items(6, broken=(0, 1))}
    found = audit_splits(splits, flat, thresholds=Thresholds(0.0), progress=False)
    assert found.leakage[["index_1", "index_2"]].to_numpy().tolist() == [[3, 3], [4, 4], [5, 5]]


def test_labels_are_given_by_split() -> None:
    given = {"train": ["a", "b"] * 6, "val": ["b"] * 6}
    found = audit_splits({"train": Items(), "val": Items(6)}, flat, labels=given, progress=False)
    assert found.audits["train"].scores.class_names == ("a", "b")
    assert found.audits["val"].frame["given_label"].tolist() == ["b"] * 6


@pytest.mark.parametrize(
    ("splits", "settings", "error", "message"),
    [
        ([Items(), Items()], {}, SettingError, r'at least two data sets by name, as \{"train": .*, got list'),
        ({"train": Items()}, {}, SettingError, "at least two data sets by name, .* got 1 of them"),
        ({"train": Items(), 1: Items()}, {}, SettingError, "got the name 1"),
        ({"train": Items(), "": Items()}, {}, SettingError, "got the name ''"),
        ({"train": Items(), "val": []}, {}, DataError, "split 'val': .* at least 2, got 0"),
        ({"train": Items(), "val": Items(1)}, {}, DataError, "split 'val': .* at least 2, got 1"),
        ({"train": Items(), "val": iter("ab")}, {}, DataError, "split 'val': "),
        ({"train": Items(), "val": Items(3, broken=(0, 1, 2))}, {}, DataError, "split 'val': 3 of 3 samples cannot"),
        ({"train": Items(), "val": Items()}, {"labels": [1, 2]}, SettingError, "labels must be given by .* got list"),
        ({"train": Items(), "val": Items()}, {"labels": {"x": 1}}, SettingError, r"\(train, val\), got \['x'\]"),
        ({"train": Items(), "val": Items()}, {"method": "best"}, SettingError, "method must be one of"),
        ({"train": Items(), "val": Items(size=9)}, {}, DataError, "one encoder: train has 192 features, val has 243"),
        ({"train": Items(), "val": Items(make=lambda image, label: "x")}, {}, BackboneError, "split 'val': "),
    ],
)
def test_what_cannot_be_audited_is_refused(splits: Any, settings: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        audit_splits(splits, flat, progress=False, **settings)


def test_images_are_embedded_by_a_module_too() -> None:
    found = audit_splits({"train": Items(make=as_image), "val": Items(4, make=as_image)}, Net(), progress=False)
    assert len(found.leakage[found.leakage["distance"] == 0]) == 4


# --- policies, limits and labels by split ----------------------------------------------------------------------------


def never(batch: Any) -> Any:
    raise AssertionError("nothing is to be embedded")


def test_policies_by_split() -> None:
    policies = {"train": Policy("drop", leakage="drop"), "val": Policy("raise", off_topic="ignore")}
    found = audit_splits({"train": Items(), "val": Items(3)}, flat, policy=policies, progress=False)
    assert {name: audit.policy for name, audit in found.audits.items()} == policies
    some = audit_splits({"a": Items(), "b": Items(3)}, flat, policy={"a": Policy("drop")}, progress=False)
    assert [audit.policy for audit in some.audits.values()] == [Policy("drop"), Policy()]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            {"val": Policy(label_errors="drop")},
            "the policy of 'val' says 'drop': samples are dropped only from the training split ('train'): "
            "results on the others would no longer be comparable. Choose 'warn' or 'raise'",
        ),
        (
            {"train": Policy("drop"), "test": Policy("drop")},
            "policies must be given by the name of a split (train, val), got 'test'",
        ),
    ],
)
def test_policies_that_make_no_sense_are_refused_before_anything_is_embedded(policy: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        audit_splits({"val": Items(3), "train": Items()}, never, policy=policy, progress=False)
    assert str(caught.value) == message


def test_the_same_measurements_under_other_policies(found: SplitsAudit) -> None:
    train, val, test = found.at(policy=Policy("ignore", leakage="drop")).audits.values()
    assert [audit.policy for audit in (train, val, test)] == [Policy("ignore", leakage="drop")] + [Policy("ignore")] * 2
    one = found.at(policy={"train": Policy(), "val": Policy(leakage="raise")})
    assert one.audits["train"].clean_indices.tolist() == list(range(300))
    assert one.audits["test"].policy == Policy()
    with pytest.raises(SettingError, match="the policy of 'val' says 'drop'"):
        found.at(policy={"val": Policy("drop")})
    looser = found.at(thresholds=Thresholds(near_duplicates=0.0))
    assert set(looser.leakage[COLUMNS[:4]].itertuples(index=False, name=None)) == COPIES
    assert looser.shift.equals(found.shift)


def test_limits_by_split(found: SplitsAudit) -> None:
    assert found.check({"train": Limits(leakage=1.0), "test": Limits(leakage=1.0)})
    failed = found.check({"train": Limits(leakage=1.0), "val": Limits(leakage=0.0)})
    assert [check.split for check in failed.checks if not check.passed] == ["val"]
    assert len(found.check(Limits(leakage=0.0)).failures) == 3
    with pytest.raises(SettingError, match="limits are given for the split 'bogus', and there are only train, val"):
        found.check({"bogus": Limits()})


def test_labels_of_one_split_only() -> None:
    found = audit_splits({"train": Items(), "val": Items(6, lambda image, _: as_image(image, 0)[0])}, flat)
    assert found.audits["train"].scores.given_label.min() == 0
    assert found.audits["val"].scores.not_run["label_errors"]
    assert len(found.leakage) >= 6
    assert found.label_disagreements.empty


def test_classes_that_the_split_trained_on_lacks_are_refused() -> None:
    splits = {"train": Items(), "val": Items(6, lambda image, label: (image, label + 1))}
    splits["val"].make = lambda image, label: (as_image(image, label)[0], label + 1)
    splits["train"].make = as_image
    with pytest.raises(DataError) as caught:
        audit_splits(splits, flat, progress=False)
    assert str(caught.value) == (
        "splits must have the same classes: 'val' has 2, and 'train', the training split, has none of that name (2 "
        "classes). Rename the classes, or audit 'val' by itself"
    )
    given = {"train": ["cat", "dog"] * 6, "val": [f"class {i}" for i in range(10)] * 2 + ["cat"]}
    with pytest.raises(DataError, match=r"'val' has class 0, .*, class 7 and 2 more, and 'train'"):
        audit_splits({"train": Items(), "val": Items(21)}, flat, labels=given, progress=False)
