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
from selfclean_hooks.leaks import Leaks
from selfclean_hooks.thumbnails import PAIRS, SAMPLES, SIDE, leak_thumbnails, png, thumbnails

N = 60


def made() -> Audit:
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    return audit_embeddings(vectors, np.arange(N) % 3)


class Pictures:
    """Pictures of many sizes; some items raise, some are no pictures; draws from the global generators."""

    def __init__(self) -> None:
        self.images = [Image.new("RGB", (20 + 5 * i, 40), (i, 2 * i, 99)) for i in range(N)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        random.random()
        np.random.rand()  # noqa: NPY002, what a user's data set does
        torch.rand(1)
        if index == 1:
            raise OSError("gone")
        return (None if index == 3 else self.images[index]), index


def test_thumbnails_are_small_pictures_of_the_worst_and_the_nearest() -> None:
    audit, data = made(), Pictures()
    found = thumbnails(audit, data)
    s = audit.scores
    worst = {*np.argsort(s.off_topic)[:SAMPLES], *np.argsort(s.label)[:SAMPLES], *s.pair_index[:PAIRS].ravel()}
    assert set(found) == {int(i) for i in worst} - {1, 3}
    sizes = {i: Image.open(io.BytesIO(content)).size for i, content in found.items()}
    assert all(max(size) <= SIDE for size in sizes.values())
    assert all(Image.open(io.BytesIO(content)).format == "PNG" for content in found.values())
    i = max(found)
    assert sizes[i] == (SIDE, round(SIDE * 40 / (20 + 5 * i)))
    assert [image.size for image in data.images] == [(20 + 5 * i, 40) for i in range(N)]


def test_thumbnails_leave_random_state_as_it_was() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]  # noqa: NPY002
    thumbnails(made(), Pictures())
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


def test_unreadable_samples_have_no_thumbnail() -> None:
    audit = made()
    worst = int(np.argsort(audit.scores.off_topic)[0])
    assert worst in thumbnails(audit, Pictures())
    broken = replace(audit, scores=replace(audit.scores, errors={worst: "OSError"}))
    assert worst not in thumbnails(broken, Pictures())


def test_the_nearest_pairs_between_splits_have_thumbnails_of_both_ends() -> None:
    audit = made()
    none = np.full(N, np.nan)
    audit = replace(audit, scores=replace(audit.scores, off_topic=none, label=none))
    best = max(set(range(N)) - set(thumbnails(audit, Pictures())) - {1, 3})  # shown for nothing else
    n = PAIRS + 2
    other = np.array([1, 2] * (n // 2))
    index, other_index = np.full(n, best), np.array([5, 0, 1, 3, *range(6, n + 2)])
    leaks = Leaks(
        ("train", "val", "test"), (N, N, N), other, index, other_index, np.linspace(0, 0.1, n, dtype=np.float32)
    )
    audit = replace(audit, scores=replace(audit.scores, leaks=leaks))
    assert best in thumbnails(audit, Pictures())
    data = {"val": Pictures(), "test": Pictures()}
    found = leak_thumbnails(audit, data)
    shown = {(("val", "test")[o - 1], int(i)) for o, i in zip(other[:PAIRS], other_index[:PAIRS], strict=True)}
    assert set(found) == shown - {("val", 1), ("test", 3)}  # gone, and no picture
    assert found["val", 5] == png(data["val"].images[5])
    assert leak_thumbnails(made(), data) == {}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
@pytest.mark.parametrize("size", [(3, 2), (60, 100), (3000, 7)])
def test_any_picture_becomes_a_small_png(mode: str, size: tuple[int, int]) -> None:
    image = Image.new(mode, size)
    found = Image.open(io.BytesIO(png(image)))
    assert max(found.size) <= SIDE
    assert min(found.size) >= 1
    assert (image.mode, image.size) == (mode, size)


def test_thumbnails_carry_no_metadata() -> None:
    image = Image.new("RGB", (50, 50))
    image.info = {"icc_profile": b"profile", "exif": b"Exif\0\0where it was taken", "comment": "mine"}
    found = Image.open(io.BytesIO(png(image)))
    found.load()
    assert found.info == {}
    assert len(image.info) == 3
