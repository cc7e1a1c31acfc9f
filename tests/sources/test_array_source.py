import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import audit_embeddings
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.sources.array import ArrayDataset
from selfclean_hooks.sources.source import open_source
from tests.helpers.image_files import refused


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 1), (5, 8, 6, 3), (5, 8, 6, 4)])
def test_npz_images_of_any_kind_of_number(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images.flat[:2] = 0, 255
    for given in (images, (images / 255).astype(np.float32), images.astype(np.float64)):
        np.savez(tmp_path / "x.npz", images=given, labels=np.array([4, 2, 4, 2, 0]))
        source = open_source(str(tmp_path / "x.npz"))
        assert isinstance(source.dataset, ArrayDataset)
        assert source.labels == source.dataset.targets == [4, 2, 4, 2, 0]
        assert (source.class_names, len(source.dataset)) == (None, 5)
        image, label = source.dataset[1]
        assert label == 2
        np.testing.assert_array_equal(np.asarray(image), images[1].squeeze())


def test_npz_embeddings_alone_and_beside_images(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 3))
    np.savez(tmp_path / "x.npz", embeddings=vectors, labels=np.array(["dog", "cat", "dog", "10"]))
    source = open_source(str(tmp_path / "x.npz"))
    assert source.dataset is None
    assert source.vectors is not None
    assert source.vectors.dtype == np.float32
    np.testing.assert_allclose(source.vectors, vectors, rtol=1e-6)
    assert (source.labels, source.class_names) == ([2, 1, 2, 0], ("10", "cat", "dog"))
    np.savez(tmp_path / "y.npz", embeddings=vectors, images=np.zeros((4, 5, 5), np.uint8))
    both = open_source(str(tmp_path / "y.npz"))
    assert both.dataset is not None
    assert both.vectors is not None
    assert len(both.dataset[0]) == 1
    np.savez(tmp_path / "z.npz", embeddings=vectors, images=np.zeros((3, 5, 5), np.uint8))
    assert "3 images but 4 embeddings" in refused(tmp_path / "z.npz")


def test_npz_that_cannot_be_used(tmp_path: Path) -> None:
    file, images = tmp_path / "x.npz", np.zeros((4, 5, 5), np.uint8)

    def message(**arrays: Any) -> str:
        np.savez(file, **arrays)
        return refused(file)

    assert "got x, y: save it under" in message(x=images, y=images)
    assert "images.transpose(0, 2, 3, 1)" in message(images=np.zeros((4, 3, 32, 32), np.uint8))
    assert "got (4, 5)" in message(images=np.zeros((4, 5), np.uint8))
    assert "got (0, 5, 5)" in message(images=images[:0])
    assert "got int64: scale to 0..255" in message(images=images.astype(np.int64))
    assert "got [-1, 0]: undo the normalisation" in message(images=images - 1.0)
    assert "embeddings must be (N, D) numbers, got (4,)" in message(embeddings=np.zeros(4))
    assert "got (4, 1, 1)" in message(images=images, labels=np.zeros((4, 1, 1), int))
    assert "no Python objects" in message(images=images, labels=np.array(["a", None, "b", "c"], object))
    assert "labels must be finite" in message(images=images, labels=np.array([1, np.inf, 1, 0]))
    for content in (b"", b"nonsense", pickle.dumps([1])):
        file.write_bytes(content)
        assert "no archive of arrays, or cut short" in refused(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY damaged")
    assert "cannot be read as .npz" in refused(file)


def test_an_item_that_is_not_finite_is_unreadable_and_the_others_are_read() -> None:
    images = np.ones((3, 4, 4), np.float32)
    images[1, 2, 2] = np.nan
    dataset = ArrayDataset(images)
    assert dataset[0][0].getextrema() == (255, 255)
    with pytest.raises(ValueError, match="image 1 holds values that are not finite"):
        dataset[1]


def test_labels_that_are_whole_floats_are_numbers_and_words_are_names() -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    assert ArrayDataset(images, [2.0, 0.0, 2.0]).targets == [2, 0, 2]
    named = ArrayDataset(images, ["dog", "cat", "dog"])
    assert (named.targets, named.classes) == ([1, 0, 1], ("cat", "dog"))


def test_a_record_that_is_no_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=np.ones((3, 2)))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as file:
        file.writestr("labels", b"no array")
    assert "labels is no array: save it again with numpy.savez" in refused(tmp_path / "x.npz")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0x7FFFFFFF])
def test_text_of_characters_that_do_not_exist(order: str, code: int, tmp_path: Path) -> None:
    codes = np.array([ord("a"), code, ord("c"), ord("d"), ord("e")], f"{order}u4")
    np.savez(tmp_path / "x.npz", embeddings=np.eye(5, dtype=np.float32), labels=codes.view(f"{order}U1"))
    assert "characters that do not exist" in refused(str(tmp_path / "x.npz"))
    codes[1] = 0x10FFFF  # the last that does
    np.savez(tmp_path / "x.npz", embeddings=np.eye(5, dtype=np.float32), labels=codes.view(f"{order}U1"))
    assert open_source(str(tmp_path / "x.npz")).labels is not None


def test_npy_embeddings_are_mapped_and_their_labels_lie_beside_them(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.save(tmp_path / "mine.npy", vectors)
    alone = open_source(str(tmp_path / "mine.npy"))
    assert alone.labels is None
    np.save(tmp_path / "mine.labels.npy", np.array(["cat", "dog"] * 15))
    source = open_source(str(tmp_path / "mine.npy"))
    assert source.vectors is not None
    assert isinstance(source.vectors.base, np.memmap)
    np.testing.assert_array_equal(source.vectors, vectors)
    assert (source.labels, source.class_names) == ([0, 1] * 15, ("cat", "dog"))
    mapped = audit_embeddings(tmp_path / "mine.npy", source.labels, device="cpu")
    assert mapped.frame.equals(audit_embeddings(vectors, source.labels, device="cpu").frame)


def test_npy_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.npy"
    file.write_bytes(b"no array")
    with pytest.raises(SourceError, match=r"mine.npy: cannot be read as .npy: .*; save one array of numbers"):
        open_source(str(file))
    with pytest.raises(DataError, match=r"mine.npy: cannot be read as .npy"):
        audit_embeddings(str(file))
    np.save(file, np.ones(5))
    with pytest.raises(SourceError, match=r"embeddings must be \(N, D\) numbers, got \(5,\)"):
        open_source(str(file))
    np.save(file, np.ones((5, 2), np.float32))
    np.save(tmp_path / "mine.labels.npy", np.arange(4))
    with pytest.raises(SourceError, match=r"mine\.npy: "):
        open_source(str(file))
