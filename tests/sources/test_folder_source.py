from pathlib import Path

import numpy as np
import pytest

from selfclean_hooks.sources.folder import FolderDataset
from selfclean_hooks.sources.source import open_source
from tests.helpers.image_files import noisy, refused, relative, write


def test_class_folders_give_labels_and_are_searched_in_depth(tmp_path: Path) -> None:
    for name in ("dog/2.png", "cat/deep/er/1.JPG", "cat/0.png"):
        write(tmp_path / name)
    source = open_source(str(tmp_path))
    assert isinstance(source.dataset, FolderDataset)
    assert relative(source.dataset.paths, tmp_path) == ["cat/0.png", "cat/deep/er/1.JPG", "dog/2.png"]
    assert source.class_names == source.dataset.classes == ("cat", "dog")
    assert source.labels == source.dataset.targets == [0, 0, 1]
    assert (source.name, source.vectors, source.notes) == (str(tmp_path), None, ())
    image, label = source.dataset[2]
    assert (label, image.mode) == (1, "RGB")
    np.testing.assert_array_equal(np.asarray(image), np.asarray(noisy()))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    write(tmp_path / "a.png")
    source = open_source(str(tmp_path))
    assert source.dataset is not None
    assert (source.labels, source.class_names, source.notes) == (None, None, ())
    assert not hasattr(source.dataset, "targets")
    assert not hasattr(source.dataset, "classes")
    assert relative(source.dataset.paths, tmp_path) == ["a.png", "b.png"]
    assert [len(item) for item in source.dataset] == [1, 1]


def test_a_mixed_folder_has_no_labels_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "cat" / "a.png")
    write(tmp_path / "b.png")
    source = open_source(str(tmp_path))
    assert source.labels is None
    assert source.notes == ("1 images are beside folders with images: no labels are taken from folder names",)


def test_split_folders_are_pointed_out(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a.png")
    write(tmp_path / "val" / "b.png")
    assert (
        "train, val look like splits, not classes: no labels are taken from their names"
        in open_source(str(tmp_path)).notes[0]
    )


def test_hidden_files_are_left_out_and_others_counted(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/._a.png", ".cache/b.png", "__MACOSX/cat/c.png"):
        write(tmp_path / name)
    for name in ("read.me", "cat/one.txt", "cat/two.txt"):
        (tmp_path / name).write_text("text")
    source = open_source(str(tmp_path))
    assert source.dataset is not None
    assert relative(source.dataset.paths, tmp_path) == ["cat/a.png"]
    assert source.notes == ("3 files that are not images were skipped: .txt (2), .me (1)",)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    assert "found no files" in refused(tmp_path)
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text("text")
    message = refused(tmp_path)
    assert "wanted a folder with images" in message
    assert "found 3 files, none of them an image: .txt (2), .md (1)" in message


@pytest.mark.parametrize(
    "name", ["<script>.png", "two  spaces .png", "line\nbreak.png", "日本 ümlaut 🐈.png", "%s{0}'\".png"]
)
def test_hostile_names_are_only_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a class\n<b>" / name)
    dataset = FolderDataset(tmp_path)
    assert dataset.paths == [str(tmp_path / "a class\n<b>" / name)]
    assert dataset.classes == ("a class\n<b>",)
    assert dataset[0][0].size == (40, 30)


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "x.png").parent
    root = tmp_path / "root"
    image = write(root / "cat" / "a.png")
    (root / "cat" / "b.png").symlink_to(image)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "a_link").symlink_to(root / "cat", target_is_directory=True)
    (root / "dog").symlink_to(elsewhere, target_is_directory=True)
    (root / "cat" / "self.png").symlink_to(root / "cat" / "self.png")
    dataset = FolderDataset(root)
    assert relative(dataset.paths, root) == ["cat/a.png", "cat/b.png", "cat/self.png", "dog/x.png"]
    assert dataset.classes == ("cat", "dog")
    assert dataset.notes == ("2 linked folders were skipped: they lead to folders already listed",)
    assert dataset[1][0].size == (40, 30)
    with pytest.raises(OSError, match=r"self\.png: no such file, or a broken link"):
        dataset[2]
