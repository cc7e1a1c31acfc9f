"""A single folder that holds splits, containers, strays and what systems leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfclean_hooks import SplitsAudit
from selfclean_hooks.cli import main as cli
from selfclean_hooks.cli.audit_sources import named_sources
from selfclean_hooks.sources.source import open_source
from tests.helpers.image_files import noisy, refused, relative, write

CODE = "def colours(batch):\n    return batch.flatten(2)[:, :, ::7].flatten(1)\n"


def images(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        write(root / name, noisy(seed))
    return root


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("Train/a/0.png", "VALID/a/1.png"), {"Train": "Train", "VALID": "VALID"}),
        (("dev/0.png", "train/1.png", "test/2.png"), {"train": "train", "dev": "dev", "test": "test"}),
        (("images/val/0.png", "images/train/x/1.png"), {"train": "images/train", "val": "images/val"}),
        (("training_set/a/0.png", "test_set/a/1.png"), {"training_set": "training_set", "test_set": "test_set"}),
        (("train2017/0.png", "val2017/1.png"), {"train2017": "train2017", "val2017": "val2017"}),
        (("train/0.png", "test/1.png", "unlabeled/2.png"), {"train": "train", "test": "test"}),
        (("testing/0.png", "validation/1.png", "a.png"), {"testing": "testing", "validation": "validation"}),
        (("train/0.png", "car/1.png"), {"": ""}),
        (("test_tube/0.png", "train_station/1.png"), {"": ""}),
        (("cat/train/0.png", "cat/test/1.png", "dog/train/2.png"), {"": ""}),
        (("train/0.png", "train/a/1.png"), {"": ""}),
    ],
)
def test_which_folders_are_splits(tmp_path: Path, names: tuple[str, ...], splits: dict[str, str]) -> None:
    root = images(tmp_path / "d", *names)
    found = named_sources([str(root)])
    assert found == {name: str(root / below) if below else str(root) for name, below in splits.items()}
    assert list(found) == list(splits)


def test_a_saved_data_set_of_several_splits_is_audited_as_splits(tmp_path: Path) -> None:
    import datasets

    saved = datasets.Dataset.from_dict({"x": [1, 2]})
    for name, splits in {"many": ("test", "train", "extra"), "untrained": ("a", "b"), "alone": ("train",)}.items():
        datasets.DatasetDict({split: saved for split in splits}).save_to_disk(str(tmp_path / name))
    many = tmp_path / "many"
    expected = {name: str(many / name) for name in ("train", "test", "extra")}
    assert named_sources([str(many)]) == expected
    assert next(iter(named_sources([str(many)]))) == "train"
    for name in ("untrained", "alone"):
        assert named_sources([str(tmp_path / name)]) == {"": str(tmp_path / name)}
    (many / "dataset_dict.json").write_text('{"splits": [["train"], 3]}')
    assert named_sources([str(many)]) == {"": str(many)}


def test_splits_in_a_folder_are_audited_with_their_leakage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = images(tmp_path / "d", *(f"train/{'ox' if i % 2 else 'yak'}/{i}.png" for i in range(12)))
    for i in range(3):
        write(root / "validation" / ("ox" if i % 2 else "yak") / f"{i}.png", noisy(i))
    (tmp_path / "painted.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["audit", "d", "-o", "out", "--backbone", "painted:colours", "--no-progress", "--max-leakage", "0"]
    assert cli.main(arguments) == 1
    assert "d holds splits: train=d/train validation=d/validation" in capsys.readouterr().err
    audit = SplitsAudit.load(tmp_path / "out")
    assert len(audit.leaking) == 3
    assert audit.audits["train"].scores.class_names == ("ox", "yak")


@pytest.mark.parametrize(
    ("names", "classes", "targets"),
    [
        (("images/ox/0.png", "images/yak/1.png"), ("ox", "yak"), [0, 1]),
        (("data/v2/images/ox/0.png", "data/v2/images/yak/1.png"), ("ox", "yak"), [0, 1]),
        (("ox/0.png", "yak/1.png", "logo.png", "yak/2.png"), ("ox", "yak"), [-1, 0, 1, 1]),
        (("images/ox/0.png", "images/yak/1.png", "logo.png", "images/z.png"), None, None),
        (("images/ox/0.png", "images/yak/1.png", "images/yak/2.png", "images/z.png"), ("ox", "yak"), [0, 1, 1, -1]),
        (("train/ox/0.png", "train/yak/1.png"), ("ox", "yak"), [0, 1]),
        (("images/0.png", "images/1.png"), None, None),
        (("images/0.png", "masks/0.png"), None, None),
        (("ox/0.png", "ox/deep/1.png"), ("ox",), [0, 0]),
    ],
)
def test_where_the_classes_are(
    tmp_path: Path, names: tuple[str, ...], classes: tuple[str, ...] | None, targets: list[int] | None
) -> None:
    source = open_source(str(images(tmp_path, *names)))
    assert source.dataset is not None
    assert (source.class_names, source.labels) == (classes, targets)
    assert len(source.dataset) == len(names)
    strays = (targets or []).count(-1)
    assert (f"{strays} images beside the class folders carry no label" in source.notes) == bool(strays)


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    junk = ("@eaDir", "$RECYCLE.BIN", "lost+found", ".thumbnails", ".ipynb_checkpoints", "__MACOSX", ".AppleDouble")
    images(tmp_path, "ox/0.png", "yak/1.png", *(f"{name}/2.png" for name in junk), "ox/@eaDir/0.png", "ox/._0.png")
    for name in ("Thumbs.db", "desktop.ini", "ox/Thumbs.db"):
        (tmp_path / name).write_bytes(b"\0")
    source = open_source(str(tmp_path))
    assert source.dataset is not None
    assert relative(source.dataset.paths, tmp_path) == ["ox/0.png", "yak/1.png"]
    assert (source.class_names, source.notes) == (("ox", "yak"), ())


def test_annotations_of_yolo_are_no_classes(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "labels").mkdir()
    for name in "ab":
        (tmp_path / "labels" / f"{name}.txt").write_text("0 .5 .5 .1 .1\n")
    source = open_source(str(tmp_path))
    assert source.labels is None
    assert "2 files in `labels` are annotations of single images, not classes: they are not read" in source.notes


@pytest.mark.parametrize("ending", ["HEIC", "heif"])
def test_files_that_a_package_would_read_name_it(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfclean_hooks.sources.folder.image_suffixes", lambda: frozenset({".png"}))
    (tmp_path / f"IMG_1.{ending}").write_bytes(b"\0\0\0\x18ftypheic")
    assert refused(tmp_path).endswith(f".{ending.lower()} (1); install what reads them: pip install pillow-heif")
    images(tmp_path, "a.png")
    assert (
        open_source(str(tmp_path))
        .notes[0]
        .endswith("were skipped: ." + ending.lower() + " (1); install what reads them: pip install pillow-heif")
    )
