"""Stable identifiers of samples, and how many pixels they have, as `embed` records them."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.data import digests as keys_module
from selfclean_hooks.data.digests import file_key, own_files
from selfclean_hooks.data.images import to_image
from selfclean_hooks.data.reader import pixels as pixels_of
from selfclean_hooks.embedding.embed import embed
from tests.helpers.embedding_data import Items, as_image, mean_colour, pixels

TO_FLOATS = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def embedded(dataset: Any, **settings: Any) -> Embeddings:
    return embed(dataset, mean_colour, progress=False, **settings)


def of_bytes(path: Any) -> str:
    return blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()


@pytest.fixture
def images(tmp_path: Path) -> ImageFolder:
    """Three JPEGs and, at 2, one that is cut short."""
    (tmp_path / "a").mkdir()
    for i, image in enumerate(pixels(4, 16)):
        Image.fromarray(image).save(tmp_path / "a" / f"{i}.jpg")
    (tmp_path / "a" / "2.jpg").write_bytes((tmp_path / "a" / "2.jpg").read_bytes()[:50])
    return ImageFolder(str(tmp_path), TO_FLOATS)


@pytest.mark.parametrize("workers", [0, 2])
def test_files_give_the_key_of_all_samples_readable_or_not(images: ImageFolder, workers: int) -> None:
    found = embedded(images, num_workers=workers)
    assert list(found.errors) == [2]
    assert found.keys == tuple(of_bytes(path) for path, _ in images.samples)
    assert found.digests[2] == ""
    assert not set(found.keys) & set(found.digests)


def test_other_places_orders_and_transforms_leave_the_key(images: ImageFolder, tmp_path: Path) -> None:
    first = embedded(images).keys
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    again = embedded(Subset(ImageFolder(str(moved), v2.Compose([v2.Grayscale(3), TO_FLOATS])), [3, 0, 1]))
    assert again.keys == (first[3], first[0], first[1])


def test_without_files_the_content_is_the_key() -> None:
    found = embedded(Items(broken=(3,)))
    assert found.keys == found.digests
    assert found.keys[3] == ""
    assert len(set(found.keys)) == 12


class Frames(Dataset[Any]):
    """Images with the files that `paths` says."""

    def __init__(self, paths: list[Any]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return pixels()[index]


def test_a_file_of_several_samples_is_the_key_of_none(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"frames")
    (tmp_path / "still.png").write_bytes(b"one")
    found = embedded(Frames([tmp_path / "film.mp4", tmp_path / "still.png", tmp_path / "film.mp4"]))
    assert found.keys == (found.digests[0], of_bytes(tmp_path / "still.png"), found.digests[2])


def test_what_is_no_regular_file_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")  # to open one that nobody writes to would wait for ever
    (tmp_path / "large").write_bytes(b"12345")
    monkeypatch.setattr(keys_module, "LARGEST", 4)
    odd = ["pipe", "large", ".", "missing", "nul\0inside", "x" * 5000, "https://host/a.png"]
    found = embedded(Frames([str(tmp_path / name) for name in odd[:-1]] + odd[-1:]))
    assert found.keys == found.digests


def test_a_file_at_the_limit_and_an_empty_one_have_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LARGEST", 3 * 2**20)
    for size in (0, 1, 2**20, 3 * 2**20):
        (tmp_path / "f").write_bytes(np.random.default_rng(0).bytes(size))
        assert file_key(str(tmp_path / "f")) == of_bytes(tmp_path / "f")


def test_own_files() -> None:
    assert own_files(["a", None, "b", "a", "", ""]) == ["", "", "b", "", "", ""]
    assert own_files([]) == []


# --- pixels ----------------------------------------------------------------------------------------------------------


def test_pixels_are_those_that_are_stored_where_the_encoder_resizes(images: ImageFolder) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    plain = ImageFolder(images.root, TO_FLOATS)
    assert embedded(plain).pixels.tolist() == [64, 64, -1, 64]  # type: ignore[union-attr]
    own = embed(plain, resnet18().eval(), progress=False).pixels
    assert own is not None
    assert own.dtype == np.int64


def test_pixels_of_images_of_several_sizes_and_of_none() -> None:
    sizes = [(3, 4), (5, 6)]
    found = embed(
        [Image.new("RGB", size, colour) for size, colour in zip(sizes, ("red", "blue"), strict=True)],
        lambda b: b.flatten(1)[:, :6],
        batch_size=1,
        progress=False,
    )
    assert found.pixels is not None
    assert found.pixels.tolist() == [12, 30]
    assert embed(["a", "bb"], lambda b: np.array([[len(t), 1.0] for t in b]), progress=False).pixels is None
    assert embedded(Items(make=as_image)).pixels.tolist() == [64] * 12  # type: ignore[union-attr]


SHAPES = [
    (4,),
    (3, 5),
    (3, 4, 5),
    (4, 5, 3),
    (1, 4, 4),
    (3, 4, 3),
    (4, 6, 4),
    (7, 8, 9),
    (2, 3, 4, 5),
    (0, 3),
    (3, 0, 4),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_pixels_agree_with_the_image_shown(make: Any, shape: tuple[int, ...]) -> None:
    shown = to_image(make(shape))
    assert pixels_of(make(shape)) == (-1 if shown is None else shown.width * shown.height)
