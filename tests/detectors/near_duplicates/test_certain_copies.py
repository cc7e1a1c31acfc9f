"""Copies that are certain by their pixels: the alignment against a loop, other values, and data alike by nature."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.data.images import miniature
from selfclean_hooks.detectors.leakage import find_leakage
from selfclean_hooks.detectors.methods import score
from selfclean_hooks.detectors.near_duplicates import alignment, certain_copies
from selfclean_hooks.detectors.near_duplicates.alignment import LEAST_STRUCTURE, displacements
from selfclean_hooks.detectors.near_duplicates.certain_copies import (
    CLOSE,
    FEW,
    FEW_CLOSE,
    FEW_FAR,
    MAX_DISPLACEMENT,
    MAX_GROWTH,
    MAX_SHARE,
    beyond_chance,
    certainty,
)
from tests.detectors.test_leakage import embeddings

SIZE = 96


def scene(rng: np.random.Generator) -> Image.Image:
    """Shapes of several colours on a ground that varies."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    pixels = ndimage.zoom(rng.uniform(60, 200, (3, 3, 3)), (SIZE / 3, SIZE / 3, 1), order=1)
    for _ in range(9):
        (a, b), (wide, high), colour = rng.uniform(0, 1, 2), rng.uniform(0.06, 0.25, 2), rng.uniform(0, 255, 3)
        inside = ((x - a) / wide) ** 2 + ((y - b) / high) ** 2 < 1
        pixels[inside] = colour
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def scenes(n: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [scene(rng) for _ in range(n)]


def small(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([made for image in images if (made := miniature(image)) is not None])


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """A part of the image, as large as the whole again."""
    box = (SIZE * left, SIZE * top, SIZE * (1 - right), SIZE * (1 - bottom))
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "zoom 7%": lambda image: part(image, 0.035, 0.035, 0.035, 0.035),
    "zoom 14%": lambda image: part(image, 0.07, 0.07, 0.07, 0.07),
    "with a border": lambda image: ImageOps.expand(image, 4, (90, 90, 90)).resize(image.size),
    "one side": lambda image: part(image, 0.09, 0, 0, 0),
    "a corner": lambda image: part(image, 0, 0.05, 0.1, 0),
    "3 degrees": lambda image: image.rotate(3, Image.Resampling.BILINEAR),
    "-5 degrees": lambda image: image.rotate(-5, Image.Resampling.BILINEAR),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "cut off": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_off_by_less_than_a_pixel_and_other_images_are_not(kind: str) -> None:
    images = scenes(40)
    tiny = small(images + [COPIES[kind](image) for image in images])
    first = np.arange(40)
    copied, _ = displacements(tiny, np.stack([first, first + 40], 1))
    others, _ = displacements(tiny, np.stack([first, np.roll(first, 1) + 40], 1))
    assert (copied < MAX_DISPLACEMENT).mean() >= 0.85
    assert not (others < MAX_DISPLACEMENT).any()


def test_a_displacement_depends_neither_on_order_nor_on_what_else_is_compared() -> None:
    images = scenes(30)
    tiny = small(images + [COPIES["zoom 14%"](image) for image in images])
    pairs = np.stack([np.arange(30), np.arange(30) + 30], 1)
    found = displacements(tiny, pairs)
    np.testing.assert_array_equal(found, displacements(tiny, pairs[:, ::-1]))
    alone = np.concatenate([displacements(tiny, pair[None]) for pair in pairs], 1)
    np.testing.assert_allclose(alone, found, rtol=0.02, atol=1e-3)


def test_images_with_next_to_nothing_in_them_are_no_copies() -> None:
    tiny = np.full((4, 32, 32, 3), 255, np.uint8)
    tiny[2, 10:13, 10:13], tiny[3, 20:23, 18:21] = 0, 0  # two dots, which can always be aligned
    assert np.isinf(displacements(tiny, np.array([[0, 1], [2, 3]]))[0]).all()


def slow_mismatch(moved: NDArray[np.floating], fixed: NDArray[np.floating], map_: NDArray[np.floating]) -> float:
    """`_mismatch` of images (3, S, S), pixel by pixel."""
    side = moved.shape[-1]
    laid, inside = np.zeros_like(fixed), np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            place = np.array([(column + 0.5) / side * 2 - 1, (row + 0.5) / side * 2 - 1, 1.0])
            x, y = map_ @ place
            inside[row, column] = max(abs(x), abs(y)) <= 1 - 1 / side
            at = [((y + 1) * side - 1) / 2], [((x + 1) * side - 1) / 2]
            laid[:, row, column] = [ndimage.map_coordinates(c, at, order=1, mode="nearest")[0] for c in moved]
    some = (inside > 0) & (laid < alignment.BRIGHTEST) & (fixed < alignment.BRIGHTEST)
    if some.mean() <= alignment.LEAST_WITHIN_RANGE:
        some = np.broadcast_to(inside > 0, fixed.shape)
    a, b = (np.stack([c - c[at].mean() for c, at in zip(image, some, strict=True)]) for image in (laid, fixed))
    gain = sum((x * y)[at].mean() for x, y, at in zip(a, b, some, strict=True))
    a = a * gain / (sum((x * x)[at].mean() for x, at in zip(a, some, strict=True)) + 1e-6)
    blurred = [ndimage.uniform_filter(image * inside, (1, 3, 3), mode="constant") for image in (a, b)]
    left = a - b
    for place in np.ndindex(left.shape):  # where the one is cut off, the other may say how bright it is
        if (fixed[place] > alignment.BRIGHTEST and left[place] > 0) or (
            laid[place] > alignment.BRIGHTEST and left[place] < 0
        ):
            left[place] = 0
    left = ndimage.uniform_filter(left * inside, (1, 3, 3), mode="constant")
    steep = []
    for image in blurred:
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
        across, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
        steep.append(((across / 2) ** 2 + (down / 2) ** 2).sum(0))
    shared = inside.mean() * min(abs(np.linalg.det(map_[:, :2])), 1)
    if shared < alignment.LEAST_OVERLAP or min((g > alignment.NOISE**2).mean() for g in steep) < LEAST_STRUCTURE:
        return float("inf")
    near = ndimage.maximum_filter(np.maximum(*steep), 3, mode="nearest")
    apart = np.sqrt((left**2).sum(0) / (near + alignment.NOISE**2))
    return float((apart * inside).max())


def test_what_is_left_is_that_of_a_loop_over_pixels() -> None:
    images = scenes(4, seed=1)
    bright = ImageEnhance.Brightness(images[0]).enhance(1.8)
    tiny = small([*images, part(images[0], 0.05, 0.02, 0, 0.03), bright]).transpose(0, 3, 1, 2) / 255
    maps = np.array([[[0.95, 0.02, 0.03], [-0.01, 1.05, -0.04]], [[1.0, 0, 0], [0, 1.0, 0]]])
    for first, second in ((0, 4), (4, 0), (1, 2), (3, 3), (0, 5), (5, 1)):
        for map_ in maps:
            one, other = (torch.from_numpy(tiny[[at]]).float() for at in (first, second))
            fast = alignment._mismatch(one, other, torch.from_numpy(map_[None]).float())
            assert float(fast) == pytest.approx(slow_mismatch(tiny[first], tiny[second], map_), rel=1e-3, abs=1e-4)


def test_the_limit_of_chance_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        n, copies, samples = rng.integers(0, 300), rng.integers(0, 30), int(rng.integers(2, 400))
        d = np.concatenate([2 * rng.uniform(0, 1, n) ** (1 / rng.uniform(2, 6)), rng.uniform(0, 0.6, copies)])
        slow = 0.0
        for limit in d:
            half, here, twice = (d <= limit / 2).sum(), (d <= limit).sum(), (d <= 2 * limit).sum()
            free = min(FEW, samples * (FEW_CLOSE if limit <= CLOSE else FEW_FAR))
            if (
                limit <= MAX_DISPLACEMENT
                and twice - here <= MAX_GROWTH * (here - half)
                and twice <= max(MAX_SHARE * len(d), free)
            ):
                slow = max(slow, limit)
        assert beyond_chance(d, len(d), samples) == slow
    by_chance = 2 * np.linspace(0, 1, 500) ** (1 / 4)  # in four dimensions
    assert beyond_chance(by_chance, len(by_chance), 500) == 0
    assert beyond_chance(np.append(by_chance, np.full(40, 0.001)), 2 * len(by_chance), 500) == 0.001


def blind(n: int, copies: int, seed: int = 0) -> NDArray[np.float32]:
    """Vectors in which a copy is a neighbour of its original, no nearer than others are."""
    rng = np.random.default_rng(seed)
    of = np.append(np.arange(n) // 6, np.arange(copies) // 6)
    return np.asarray(rng.normal(size=(n, 24))[of] + 0.4 * rng.normal(size=(n + copies, 24)), np.float32)


@pytest.mark.parametrize("kind", ["zoom 14%", "a corner", "-5 degrees", "cut off"])
def test_what_the_network_takes_for_an_ordinary_neighbour_is_flagged(kind: str) -> None:
    images = scenes(300, seed=2)
    found = score(blind(300, 24), None, miniatures=small(images + [COPIES[kind](image) for image in images[:24]]))
    flagged = found.near_duplicate < found.automatic["near_duplicates"]
    assert flagged[:24].mean() >= 0.75
    assert flagged[24:300].mean() <= 0.02


def test_copies_in_another_split_are_found_as_those_in_one_are() -> None:
    kept, others = scenes(200, seed=5), scenes(60, seed=6)
    copies = [copied(image) for image, copied in zip(kept, COPIES.values(), strict=False)]
    vectors = blind(200, len(copies))
    train = embeddings(vectors[:200], miniatures=small(kept))
    test = embeddings(
        np.concatenate([vectors[200:], blind(60, 0, seed=1)]),
        miniatures=small(copies + others),
    )
    scales = audit_of(train, AuditSettings()).scores.pair_scales
    found = find_leakage({"train": train, "test": test}, {"train": scales}, 0.01, 0.01, ("train",))["train"]
    flagged = found.score < found.automatic
    right = found.index[flagged] == found.other_index[flagged]
    assert right.sum() >= 0.75 * len(copies)
    assert (~right).sum() <= 1


@pytest.mark.parametrize(("others", "moved", "found"), [(0.0, 0.1, 12), (0.0, 0.0, 0), (0.1, 0.1, 0), (0.1, 0.0, 0)])
def test_pairs_that_had_to_be_moved_are_counted_apart(
    others: float, moved: float, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 5,000 drawings of one series ever more differ by more; twelve pairs are certain only if they
    are zoomed and no other is: where images can be aligned by nature, some need no moving."""
    apart = np.append(2 * np.linspace(0.01, 1, 5000) ** (1 / 3), np.linspace(0.4, 0.6, 12))
    n = len(apart)

    def measured(_: NDArray[np.uint8], pairs: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, second = pairs.T
        is_one = second == first + n  # else two ordinary neighbours
        at = np.minimum(first, n - 1)
        return np.where(is_one, apart[at], np.inf), np.where(is_one & (at >= 5000), moved, others)

    monkeypatch.setattr(certain_copies, "displacements", measured)
    pairs, images = np.stack([np.arange(n), np.arange(n) + n], 1), np.zeros((2 * n, 2, 2, 3), np.uint8)
    certain = np.isfinite(certainty(images, pairs, np.zeros(n), lambda ends: np.zeros((len(ends), 1), np.int64), 2 * n))
    assert certain[5000:].sum() == found
    assert not certain[:5000].any()


def test_images_that_are_alike_by_nature_are_no_copies() -> None:
    rng, base = np.random.default_rng(4), scene(np.random.default_rng(4))
    images = []
    for _ in range(200):  # one pattern, bent at random
        bend = ndimage.zoom(rng.normal(0, 3, (2, 4, 4)), (1, SIZE / 4, SIZE / 4), order=1)
        at = np.mgrid[:SIZE, :SIZE] + bend
        channels = [ndimage.map_coordinates(channel, at, order=0, mode="nearest") for channel in np.array(base).T]
        images.append(Image.fromarray(np.stack(channels, -1)))
    found = score(blind(200, 0), None, miniatures=small(images))
    assert (found.near_duplicate < found.automatic["near_duplicates"]).mean() <= 0.01


def drawings(n: int, rng: np.random.Generator) -> list[Image.Image]:
    """Waves and discs by turns, any of which can be aligned with another of its kind."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    made = []
    for at in range(n):
        turn, (a, b), period = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7, 2), rng.uniform(2, 4)
        waves = np.sin(2 * np.pi * period * (x * np.cos(turn) + y * np.sin(turn)))
        disc = np.where((x - a) ** 2 + (y - b) ** 2 < rng.uniform(0.04, 0.1), 1.0, -1.0)
        grey = rng.uniform(70, 180, 3) + 60 * (waves, disc)[at % 2][..., None] * np.array([1, 0.6, 0.3])
        made.append(Image.fromarray((grey + rng.normal(0, 6, grey.shape)).clip(0, 255).astype(np.uint8)))
    return made


def test_few_drawings_that_lie_over_each_other_by_nature_are_no_copies() -> None:
    flagged = samples = 0
    for n in (9, 13, 20):
        for seed in range(3):
            tiny = small(drawings(n, np.random.default_rng(seed)))
            vectors = tiny.reshape(n, 8, 4, 8, 4, 3).mean((2, 4)).reshape(n, -1).astype(np.float32)
            found = score(vectors, None, miniatures=tiny)
            flagged += int((found.near_duplicate < found.automatic["near_duplicates"]).sum())  # both of a pair
            samples += n
    assert flagged <= 0.12 * samples
