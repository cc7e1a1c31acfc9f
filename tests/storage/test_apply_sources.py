"""The source that was audited, when the audit is applied: changed, elsewhere, made by code, nowhere."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import SplitsAudit
from selfclean_hooks.errors import SettingError, SourceError
from tests.helpers.applied_data import audited, data, image, images

NAMES = ("cat/1.png", "cat/2.png", "cat/deep/1.png", "dog/1.png", "dog/3.png", "owl/9.png")


def _add(source: Path) -> None:
    image(source / "cat" / "new.png", 77)


def _remove(source: Path) -> None:
    (source / "cat" / "2.png").unlink()


def _change(source: Path) -> None:
    image(source / "cat" / "2.png", 77)


def _move_away(source: Path) -> None:
    source.rename(source.with_name("moved"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_add, r"1 files are new, cat/new.png\. Audit it again"),
        (_remove, r"1 files are missing, cat/2.png\. Audit it again"),
        (_change, r"another content of 1 samples, .*cat/2.png\. Audit it again"),
        (_move_away, r"is not here, .*--source"),
    ],
)
def test_a_source_that_changed_is_refused(change: Any, why: str, tmp_path: Path) -> None:
    source = images(tmp_path / "photos", *NAMES)
    audit = audited(source, drop=[0])
    change(source)
    with pytest.raises(SourceError, match=why):
        audit.apply(tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_a_source_that_lies_elsewhere_now(tmp_path: Path) -> None:
    audit = audited(images(tmp_path / "photos", *NAMES), drop=[0])
    _move_away(tmp_path / "photos")
    audit.apply(tmp_path / "clean", source=tmp_path / "moved")
    assert len(data(tmp_path / "clean")) == len(NAMES) - 1


def test_samples_in_memory_that_code_made(tmp_path: Path) -> None:
    made = replace(audited(images(tmp_path / "raw", *NAMES)), names=None, provenance={"dataset": {"name": "MyData"}})
    with pytest.raises(SourceError, match="the samples of MyData are no files of their own: train on"):
        made.apply(tmp_path / "clean")


def test_data_sets_made_by_code_go_to_class_folders(tmp_path: Path) -> None:
    root = images(tmp_path / "raw", "1.png", "2.png", "sub/3.png", "4.png")
    made = audited(root)
    codes = np.array([0, 1, 0, 1])
    scores = replace(made.scores, given_label=codes, class_names=("cat", "dog"))
    audit = replace(made, scores=scores, provenance={"dataset": {"name": "MyDataset"}})
    audit.apply(tmp_path / "clean")
    names = [Path(name).relative_to(root) for name in made.names or ()]
    classes = ["cat", "dog", "cat", "dog"]
    expected = {f"{c}/{name.as_posix().removeprefix('sub/')}" for c, name in zip(classes, names, strict=True)}
    assert set(data(tmp_path / "clean")) == expected
    with pytest.raises(SettingError, match="link or copy"):
        audit.apply(tmp_path / "moved", "move")


def test_errors_name_the_split(tmp_path: Path) -> None:
    audits = {name: audited(images(tmp_path / name, *NAMES), split_name=name) for name in ("train", "val")}
    _add(tmp_path / "val")
    with pytest.raises(SourceError, match=r"split 'val': .* changed since the audit: 1 files are new"):
        SplitsAudit(audits).apply(tmp_path / "clean")


def test_a_source_that_is_nowhere(tmp_path: Path) -> None:
    made = replace(audited(images(tmp_path / "raw", *NAMES)), names=None)
    for name, why in (("no/such folder", "is not here: start in the folder"), ("no_such_module:data", "but it failed")):
        with pytest.raises(SourceError, match=f"{name}.* {why}"):
            replace(made, provenance={"dataset": {"name": name}}).apply(tmp_path / "clean")
