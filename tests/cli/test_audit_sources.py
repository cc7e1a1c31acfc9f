"""What SOURCE... may be: one data set, or splits with names; images, vectors, tables and objects."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks import errors
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli.audit_sources import named_sources, open_sources
from tests.helpers.command_line import Call, contents, refused, two_classes, write_npz
from tests.helpers.image_files import noisy, write

BACKBONE = """
seen = []
def colours(batch):
    seen.append(len(batch))
    return batch.flatten(2)[:, :, ::7].flatten(1)
"""

OWN_ITEMS = """
from tests.helpers.embedding_data import Items, as_image
train, val = Items(make=as_image), Items(3, as_image)
odd = Items(3, lambda image, label: (as_image(image, label)[0], label + 1))
"""


@pytest.fixture
def backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A function in a file of the user's own, which counts what it is fed."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "own_backbone.py").write_text(BACKBONE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "own_backbone", raising=False)
    return "own_backbone:colours"


def fed() -> int:
    return sum(sys.modules["own_backbone"].seen) if "own_backbone" in sys.modules else 0


def images(folder: Path, seeds: range, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """One image per seed, in the class folders in turn."""
    for seed in seeds:
        write(folder / classes[seed % len(classes)] / f"{seed}.png", noisy(seed))
    return folder


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["a/b"], {"": "a/b"}),
        (["module:attribute"], {"": "module:attribute"}),
        (["val=v", "train=t"], {"train": "t", "val": "v"}),
        (["test=x", "val=v", "train=t"], {"train": "t", "test": "x", "val": "v"}),
        (["b=x", "a=y"], {"b": "x", "a": "y"}),  # no train: the first is
        (["Train=x", "a=y"], {"Train": "x", "a": "y"}),
        (["train=a=b", "val=m:f"], {"train": "a=b", "val": "m:f"}),
        (["fold-1.a=x y", "f\xfc_2= z\n"], {"fold-1.a": "x y", "f\xfc_2": " z\n"}),
        (["a=x", "b=x"], {"a": "x", "b": "x"}),
    ],
)
def test_names(texts: list[str], named: dict[str, str]) -> None:
    found = named_sources(texts)
    assert list(found.items()) == list(named.items())


@pytest.mark.parametrize(
    "texts",
    [
        ["train=x"],
        ["train=x", "y"],
        ["x", "y"],
        ["train=x", "train=y"],
        ["train=x", "val=y", "val=z"],
        ["train=x", "=y"],
        ["train=x", "val="],
        ["train=x", "a/b=y"],
    ],
)
def test_names_that_are_missing_doubled_or_alone_are_refused(texts: list[str]) -> None:
    with pytest.raises(errors.SourceError) as caught:
        named_sources(texts)
    assert str(caught.value) == (
        "SOURCE is one data set, or at least two splits, each with a name of its own, as train=DIR val=DIR; got "
        + " ".join(texts)
    )


def test_what_exists_is_a_path_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "size=16.npz", *two_classes(20))
    assert named_sources(["size=16.npz"]) == {"": "size=16.npz"}
    assert call("audit", "size=16.npz", "-o", "out").status == 0
    write_npz(tmp_path / "other.npz", *two_classes(20, 1))
    assert call("audit", "train=size=16.npz", "val=other.npz", "-o", "both").status == 0
    assert list(SplitsAudit.load(Path("both")).audits) == ["train", "val"]
    assert "each with a name of its own" in refused(call("audit", "size=16.npz", "val=other.npz", "-o", "both"))


# --- kinds -----------------------------------------------------------------------------------------------------------


def test_folders_of_images_by_a_backbone_of_the_users_own(tmp_path: Path, backbone: str, call: Call) -> None:
    train, val = images(tmp_path / "t", range(12)), images(tmp_path / "v", range(20, 26), ("dog",))
    write(val / "dog" / "copy.png", noisy(4))  # in train it is a cat
    (val / "dog" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    ran = call("audit", f"val={val}", f"train={train}", "-o", out, "--backbone", backbone, "--no-progress")
    assert ran.status == 0
    assert fed() >= 19
    found = SplitsAudit.load(out)
    assert {name: (len(audit), audit.provenance["dataset"]["name"]) for name, audit in found.audits.items()} == {
        "train": (12, str(train)),
        "val": (8, str(val)),
    }
    (pair,) = found.label_disagreements.itertuples()
    assert (pair.distance, pair.label_1, pair.label_2) == (0, "cat", "dog")  # though dog is class 0 of val
    listed = pd.read_csv(out / "leakage.csv")
    assert listed[["sample_1", "sample_2", "label_1", "label_2"]].to_numpy().tolist() == [
        [str(train / "cat" / "4.png"), str(val / "dog" / "copy.png"), "cat", "dog"]
    ]
    assert found.audits["val"].contamination["unreadable"] == 1 / 8
    assert call("gate", out, "--max-unreadable", "val=count:0").status == 1
    assert call("gate", out, "--max-unreadable", "train=count:0").status == 0


def test_tables_and_folders_may_be_mixed(tmp_path: Path, backbone: str, call: Call) -> None:
    train = images(tmp_path / "t", range(8))
    paths = sorted(images(tmp_path / "v", range(5, 11)).rglob("*.png"))
    frame = pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]})
    frame.to_csv(tmp_path / "v.csv", index=False)
    ran = call("audit", f"train={train}", f"val={tmp_path / 'v.csv'}", "-o", tmp_path / "out", "--backbone", backbone)
    assert ran.status == 0
    found = SplitsAudit.load(tmp_path / "out")
    assert len(found.leakage) == 3
    assert found.label_disagreements.empty


def test_vectors_and_images_are_not_mixed(tmp_path: Path, backbone: str, call: Call) -> None:
    val = write_npz(tmp_path / "v.npz", *two_classes(10))
    splits = f"train={images(tmp_path / 't', range(6))}", f"val={val}"
    message = refused(call("audit", *splits, "-o", tmp_path / "out", "--backbone", backbone))
    assert message == "error: splits must all be embeddings, or none of them: one encoder serves all of them"
    assert fed() == 0


def no_images(path: Path) -> str:
    path.mkdir()
    return str(path)


def empty_table(path: Path) -> str:
    pd.DataFrame({"path": [], "label": []}).to_csv(path.with_suffix(".csv"), index=False)
    return str(path.with_suffix(".csv"))


def empty_array(path: Path) -> str:
    np.savez(path.with_suffix(".npz"), images=np.empty((0, 8, 8, 3), np.uint8))
    return str(path.with_suffix(".npz"))


def nothing(path: Path) -> str:
    (path.parent / "code" / "own_data.py").write_text("data = []\n")
    sys.modules.pop("own_data", None)
    return "own_data:data"


@pytest.mark.parametrize("make", [no_images, empty_table, empty_array, nothing])
def test_an_empty_split_of_any_kind_is_named_before_anything_is_embedded(
    make: Any, tmp_path: Path, backbone: str, call: Call
) -> None:
    train, out = images(tmp_path / "t", range(6)), tmp_path / "out"
    other = images(tmp_path / "o", range(20, 26))
    assert call("audit", f"train={train}", f"val={other}", "-o", out, "--backbone", backbone).status == 0
    before, embedded = contents(out), fed()
    empty = make(tmp_path / "empty")
    message = refused(call("audit", f"train={train}", f"val={empty}", "-o", out, "--backbone", backbone))
    assert message.startswith("error: split 'val': ")
    assert fed() == embedded
    assert contents(out) == before


def test_a_class_that_train_lacks_is_reported_before_anything_is_embedded(
    tmp_path: Path, backbone: str, call: Call
) -> None:
    train = images(tmp_path / "t", range(6))
    val = images(tmp_path / "v", range(20, 28), ("cat", "horse", "dog", "cow"))
    message = refused(call("audit", f"train={train}", f"val={val}", "-o", tmp_path / "out", "--backbone", backbone))
    assert "'val' has cow, horse, and 'train', the training split, has none of that name (2 classes)" in message
    assert fed() == 0
    with pytest.raises(errors.DataError, match="'val' has cow, horse"):
        open_sources({"train": str(train), "val": str(val)})
    assert list(open_sources({"train": str(val), "val": str(train)})) == ["train", "val"]


def test_labels_in_the_items_are_compared_too(tmp_path: Path, backbone: str, call: Call) -> None:
    """They are known only once the items were read; what was saved before stays as it is."""
    (tmp_path / "code" / "own_items.py").write_text(OWN_ITEMS)
    sys.modules.pop("own_items", None)
    out = tmp_path / "out"
    again = "-o", out, "--backbone", "tests.helpers.embedding_data:flat"
    assert call("audit", "train=own_items:train", "val=own_items:val", *again).status == 0
    before = contents(out)
    message = refused(call("audit", "train=own_items:train", "val=own_items:odd", *again, "--no-progress"))
    assert "'val' has 2, and 'train', the training split, has none of that name (2 classes)" in message
    assert contents(out) == before
