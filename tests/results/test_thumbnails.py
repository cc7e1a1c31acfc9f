"""Thumbnails: of which samples, how small, and without a trace in the user's objects."""

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.previews import image_kind
from selfclean_hooks.results import thumbnails as made_small
from selfclean_hooks.results.findings import select_findings, with_max_items
from selfclean_hooks.results.thumbnails import (
    LOSSLESS,
    SIDE,
    leak_thumbnails,
    thumbnail_of,
    thumbnails,
    with_thumbnails,
)

N = 60


def made() -> Audit:
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    return audit_embeddings(vectors, np.arange(N) % 3)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


class Images:
    """Images of many sizes; some items raise, some are no images; draws from the global generators."""

    def __init__(self) -> None:
        self.images = [Image.new("RGB", (20 + 5 * i, 40), (i, 2 * i, 99)) for i in range(N)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        random.random()
        np.random.rand()  # noqa: NPY002, what a user's data set does
        torch.rand(1)
        if index == 1:
            raise OSError("gone")
        return (None if index == 3 else self.images[index]), index


class Noise(Images):
    """The same sizes, with as many colours as pixels."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.images = [Image.fromarray(rng.integers(0, 256, (40, 20 + 5 * i, 3), np.uint8)) for i in range(N)]


def expected(audit: Audit) -> set[int]:
    """Positions of what is shown and of what stands beside it."""
    found, evidence = select_findings(audit), audit.evidence
    seen = {i for members in found.sets for i in members} | set(audit.scores.pair_index[found.pairs].ravel().tolist())
    seen |= {*found.samples["off_topic"].tolist(), *found.samples["label_errors"].tolist()}
    assert evidence is not None
    for neighbours in (*evidence.off_topic.values(), *(both for pair in evidence.labels.values() for both in pair)):
        seen |= set(neighbours)
    return seen


@pytest.mark.parametrize("max_items", [1, 5, 500])
def test_thumbnails_are_of_what_is_shown_and_of_its_neighbours_each_read_once(max_items: int) -> None:
    audit, data = with_max_items(made(), max_items), Images()
    found = thumbnails(audit, data)
    if max_items == 500:
        assert audit.evidence is not None
        assert set(found) == expected(audit) - {1, 3}
    thumbnails(audit, Counting())
    assert read() == [i for i in with_thumbnails(audit) if i >= PROBED]
    assert [image.size for image in data.images] == [(20 + 5 * i, 40) for i in range(N)]


COUNTED: list[int] = []
PROBED = 16  # the first ones are read to see whether they are random


def read() -> list[int]:
    """What was read, and how often, of the samples that are not probed."""
    return sorted(i for i in COUNTED if i >= PROBED)


class Counting(Images):
    """Tells the reads of copies of itself too."""

    def __init__(self) -> None:
        super().__init__()
        COUNTED.clear()

    def __getitem__(self, index: int) -> Any:
        COUNTED.append(index)
        return super().__getitem__(index)


def test_thumbnails_keep_their_shape_and_are_never_enlarged() -> None:
    found = thumbnails(made(), Images())
    for i, content in found.items():
        width = 20 + 5 * i
        size = (width, 40) if width <= SIDE else (SIDE, round(SIDE * 40 / width))
        assert opened(content).size == size
        assert image_kind(content)


def test_workers_read_the_same() -> None:
    alone = thumbnails(made(), Noise())
    assert thumbnails(made(), Noise(), EmbeddingSettings(num_workers=2, batch_size=7, progress=False)) == alone


def test_what_is_known_is_not_read_again() -> None:
    audit = made()
    known = {i: b"known" for i in with_thumbnails(audit)[::2]}
    found = thumbnails(audit, Counting(), known=known)
    assert read() == [i for i in with_thumbnails(audit)[1::2] if i >= PROBED]
    assert known.items() <= found.items()
    assert list(found) == sorted(found)


def test_thumbnails_leave_random_state_as_it_was() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    thumbnails(made(), Images())
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_unreadable_samples_have_no_thumbnail() -> None:
    audit = made()
    worst = int(np.argsort(audit.scores.off_topic)[0])
    assert worst in thumbnails(audit, Images())
    broken = replace(audit, scores=replace(audit.scores, errors={worst: "OSError"}))
    assert worst not in thumbnails(broken, Images())


def test_the_pairs_between_splits_that_are_shown_have_thumbnails_of_both_ends() -> None:
    most = 10
    audit = with_max_items(replace(made(), evidence=None), most)
    none = np.full(N, np.nan)
    audit = replace(audit, scores=replace(audit.scores, off_topic=none, label=none))
    best = max(set(range(N)) - set(thumbnails(audit, Images())) - {1, 3})  # shown for nothing else
    n = most + 4
    other = np.array([1, 2] * (n // 2))
    index, other_index = np.full(n, best), np.array([5, 0, 1, 3, *range(6, n + 2)])
    leaks = LeakPairs(
        ("train", "val", "test"), (N, N, N), other, index, other_index, np.linspace(0.01, 0.1, n, dtype=np.float32)
    )
    audit = replace(audit, scores=replace(audit.scores, leaks=leaks))
    assert best in thumbnails(audit, Images())
    data = {"val": Images(), "test": Images()}
    found = leak_thumbnails(audit, data)
    seen = {(("val", "test")[o - 1], int(i)) for o, i in zip(other[:most], other_index[:most], strict=True)}
    assert set(found) == seen - {("val", 1), ("test", 3)}  # gone, and no image
    assert found["val", 5] == thumbnail_of(data["val"].images[5])
    assert leak_thumbnails(made(), data) == {}


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "I;16", "I", "F", "YCbCr"]
)
@pytest.mark.parametrize("size", [(3, 2), (60, 100), (300, 200), (3000, 7)])
def test_any_image_becomes_a_small_one(mode: str, size: tuple[int, int]) -> None:
    image = Image.new(mode, size)
    found = opened(thumbnail_of(image))
    assert max(found.size) == min(SIDE, max(size))
    assert min(found.size) >= 1
    assert (image.mode, image.size) == (mode, size)


def photo(width: int, height: int) -> Image.Image:
    """Smooth, with noise: many colours."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 255 / width, y * 255 / height, (x + y) % 256], -1)
    return Image.fromarray((smooth + rng.normal(0, 4, smooth.shape)).clip(0, 255).astype(np.uint8))


def test_photographs_become_jpeg_and_drawings_whatever_is_smaller() -> None:
    content = thumbnail_of(photo(640, 480))
    assert image_kind(content) == "jpeg"
    assert len(content) < 8000
    shrunk = np.asarray(photo(640, 480).resize((160, 120), Image.Resampling.HAMMING), int)
    assert np.abs(np.asarray(opened(content).convert("RGB"), int) - shrunk).mean() < 6
    assert image_kind(thumbnail_of(photo(640, 480).convert("L"))) == "jpeg"
    flat = Image.new("L", (100, 100), 7)
    assert len(thumbnail_of(flat)) < 120


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_images_that_are_small_stay_as_they_are_to_the_pixel(mode: str) -> None:
    image = photo(LOSSLESS, 20).convert(mode)
    if mode == "RGBA":
        image.putpixel((3, 3), (10, 200, 30, 128))
    assert (np.asarray(opened(thumbnail_of(image)).convert(mode)) == np.asarray(image)).all()


def test_transparency_is_kept_where_there_is_some() -> None:
    image = photo(300, 300).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((300, 300)))
    alpha = np.asarray(opened(thumbnail_of(image)).convert("RGBA"))[..., 3]
    assert alpha.min() < 5
    assert alpha.max() > 250
    image.putalpha(255)
    assert opened(thumbnail_of(image)).mode == "RGB"
    palette = Image.new("P", (10, 10))
    palette.info["transparency"] = 0
    assert np.asarray(opened(thumbnail_of(palette)).convert("RGBA"))[..., 3].max() == 0


def test_without_webp_it_is_png(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_small, "has_webp", lambda: False)
    half_clear = photo(300, 200).convert("RGBA")
    half_clear.putalpha(128)
    drawing = Image.linear_gradient("L").quantize(20).resize((100, 100))
    assert {image_kind(thumbnail_of(image)) for image in (half_clear, drawing)} == {"png"}


@pytest.mark.parametrize("side", [50, 400])
@pytest.mark.parametrize("webp", [True, False])
def test_thumbnails_carry_no_metadata(side: int, webp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_small, "has_webp", lambda: webp)
    image = photo(side, side)
    image.info = {"icc_profile": b"profile", "exif": b"Exif\0\0where it was taken", "xmp": b"<x/>", "comment": "mine"}
    content = thumbnail_of(image)
    assert not any(word in content for word in (b"profile", b"where it was", b"<x/>", b"mine"))
    assert not {"icc_profile", "exif", "xmp", "comment"} & set(opened(content).info)
    assert len(image.info) == 4
