"""Images that stand encoded, as a path, or several times in an item."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.data.image_files import decode_image, read_image
from selfclean_hooks.data.images import to_image
from selfclean_hooks.data.items import count_views, split
from selfclean_hooks.data.reader import SampleReader
from selfclean_hooks.embedding.embed import embed
from selfclean_hooks.errors import DataError
from tests.helpers.image_files import noisy, write


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def corner(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image)[:2, :2].astype(np.float32))


def means(batch: Any) -> Any:
    return batch.mean((2, 3))


@pytest.mark.parametrize(
    "kind", ["bytes", "bytearray", "text", "path", "struct", "struct with a path", "pair", "tensors"]
)
def test_an_encoder_of_images_is_fed_the_image(kind: str, tmp_path: Path) -> None:
    image, file = noisy(4), write(tmp_path / "x.png", noisy(4))
    tensor = torch.from_numpy(np.asarray(image).copy())
    value = {
        "bytes": png(image),
        "bytearray": bytearray(png(image)),
        "text": str(file),
        "path": file,
        "struct": {"bytes": png(image), "path": None},
        "struct with a path": {"bytes": None, "path": str(file)},
        "pair": (image, noisy(5)),
        "tensors": [tensor, tensor + 1],
    }[kind]
    reader = SampleReader([(value, 1)], corner)
    sample, content = reader[0]
    assert (sample.error, sample.label) == ("", 1)
    assert torch.equal(content, corner(image))
    shown = to_image(split((value, 1)).value)
    assert shown is not None
    assert np.array_equal(np.asarray(shown), np.asarray(image))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"no image", "8 bytes cannot be read as an image"),
        ("gone.png", "gone.png: no such file"),
        (Path("gone.jpg"), "gone.jpg: no such file"),
        ({"bytes": None, "path": None}, "neither the bytes nor the path"),
        ("a word", "this backbone embeds images, got str"),
        (Path("a.txt"), "this backbone embeds images, got PosixPath"),
    ],
)
def test_what_cannot_be_read_is_an_unreadable_sample(value: Any, why: str) -> None:
    sample, content = SampleReader([(value, 1)], corner)[0]
    assert why in sample.error
    assert content is None


def test_a_function_gets_text_as_text() -> None:
    assert SampleReader([("x.png", 1)], None)[0][1] == "x.png"
    assert SampleReader([(b"abc", 1)], None)[0][1] == b"abc"


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "text", "struct", "path"])
@pytest.mark.parametrize("backbone", ["function", "module"])
def test_a_backbone_of_the_users_own_gets_images_decoded_too(kind: str, backbone: str, tmp_path: Path) -> None:
    images = [noisy(seed) for seed in range(4)]
    files = [write(tmp_path / f"{at}.png", image) for at, image in enumerate(images)]
    held: Any = {
        "bytes": list(map(png, images)),
        "bytearray": [bytearray(png(image)) for image in images],
        "text": list(map(str, files)),
        "struct": [{"bytes": png(image), "path": None} for image in images],
        "path": files,
    }[kind]
    own = means if backbone == "function" else torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    found = embed([(value, at % 2) for at, value in enumerate(held)], own, progress=False)
    assert np.allclose(found.vectors, np.stack([np.asarray(image).mean((0, 1)) / 255 for image in images]), atol=1e-6)
    assert found.miniatures is not None


def test_what_is_damaged_among_encoded_images_is_an_unreadable_sample() -> None:
    held = [b"", png(noisy(1)), png(noisy(2)), png(noisy(3))[:60], png(noisy(4))]
    found = embed([(value, 0) for value in held], means, progress=False)
    assert sorted(found.errors) == [0, 3]


def test_images_in_a_table_have_the_size_and_turn_of_files(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    file = write(tmp_path / "x.jpg", noisy(1, (50, 20)), exif=exif)
    assert decode_image(file.read_bytes()).size == read_image(str(file)).size == (20, 50)
    assert decode_image({"bytes": None, "path": "x.jpg"}, str(tmp_path)).size == (20, 50)


def test_several_views_are_said() -> None:
    pairs = [((noisy(i), noisy(i + 50)), i % 2) for i in range(8)]
    found = audit(pairs, means, progress=False)
    assert "items hold 2 images each: the first is audited" in found.provenance["notes"]
    alone = audit([(first, label) for (first, _), label in pairs], means, progress=False)
    assert np.array_equal(found.scores.pair_distance, alone.scores.pair_distance)
    assert not any("images each" in note for note in alone.provenance["notes"])
    tensors = [torch.zeros(3, 4, 4)] * 3
    assert (count_views((tensors, 1)), count_views((tensors, 1), of_arrays=True), count_views((noisy(), noisy()))) == (
        1,
        3,
        2,
    )


def test_hugging_face_images_that_are_not_decoded() -> None:
    datasets = pytest.importorskip("datasets")
    names = datasets.ClassLabel(names=["fern", "moss"])
    features = datasets.Features({"image": datasets.Image(), "label": names})
    data = datasets.Dataset.from_dict({"image": [noisy(i) for i in range(6)], "label": [0, 1] * 3}, features=features)
    found = audit(data.cast_column("image", datasets.Image(decode=False)), means, progress=False)
    assert (found.scores.class_names, len(found.thumbnails)) == (("fern", "moss"), 6)
    with pytest.raises(DataError, match=r"pass one of its values \(a, b\), or all of them to audit_splits"):
        audit(datasets.DatasetDict(a=data, b=data), means, progress=False)
