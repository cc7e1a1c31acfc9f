"""Copies that were turned, mirrored or framed: their parts against slow twins, and what is flagged of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.detectors.leakage import find_leakage
from selfclean_hooks.detectors.near_duplicates.turned_copies import (
    best_orientation,
    invariant_spectra,
    oriented,
    turned_pairs,
    without_borders,
)
from tests.detectors.near_duplicates.test_certain_copies import SIZE, scenes, small
from tests.detectors.test_leakage import embeddings

Images = NDArray[np.uint8]


def photographs(n: int, seed: int = 0) -> list[Image.Image]:
    """Scenes with the grain and the shades of a camera."""
    rng = np.random.default_rng(seed)
    shade = np.linspace(-40, 40, SIZE)[:, None]
    grain = [
        shade * rng.uniform(-1, 1) + shade.T * rng.uniform(-1, 1) + rng.normal(0, 9, (SIZE, SIZE)) for _ in range(n)
    ]
    every = zip(scenes(n, seed), grain, strict=True)
    return [
        Image.fromarray((np.asarray(image) + over[..., None]).clip(0, 255).astype(np.uint8)) for image, over in every
    ]


TURNS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a quarter": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "on its head": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "three quarters": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
}
FRAMES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a black frame": lambda image: ImageOps.expand(image, 12, (0, 0, 0)).resize(image.size),
    "bars above and below": lambda image: ImageOps.expand(image, (0, 20), (0, 0, 0)).resize(image.size),
    "a white bar": lambda image: ImageOps.expand(image, (24, 0, 0, 0), (255, 255, 255)).resize(image.size),
    "framed and turned": lambda image: ImageOps.expand(image, 10, (90, 20, 20)).resize(image.size).rotate(90),
}


GREY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "by libraries": lambda image: image.convert("L").convert("RGB"),
    "brighter": lambda image: ImageEnhance.Brightness(image.convert("L").convert("RGB")).enhance(1.15),
}


def slow_lines(image: Images, begin: int, end: int, beside: tuple[int, int]) -> float:
    """Lines from `begin` on that are of the colour of the first, and the share of the next that is."""
    left, right = beside
    colour = image[begin, left:right].mean(0)
    lines = 0
    while begin + lines < end and (abs(image[begin + lines, left:right] - colour) <= 10).all():
        lines += 1
    if lines == end - begin:
        return 0
    if lines == 0 or begin + lines + 1 >= end:
        return lines
    between, after = (image[begin + lines + step, left:right].astype(float) for step in (0, 1))
    share = ((between - after) * (colour - after)).sum() / max(1, ((colour - after) ** 2).sum())
    return float(lines + min(max(share, 0), 1))


def slow_without_borders(image: Images, layers: int) -> Images:
    """Line by line, one border behind the other, and the rest to the same size by the formula of a bilinear map."""
    box = [0.0, 0.0, 0.0, 0.0]
    for _ in range(layers):
        begin = [math.ceil(number) for number in box]
        top, bottom, left, right = begin
        edges = (image, image[::-1], image.swapaxes(0, 1), image[:, ::-1].swapaxes(0, 1))
        ends, beside = (
            (32 - bottom, 32 - top, 32 - right, 32 - left),
            [(left, 32 - right)] * 2 + [(top, 32 - bottom)] * 2,
        )
        lines = [slow_lines(*each) for each in zip(edges, begin, ends, beside, strict=True)]
        new = [first + number if number else before for first, number, before in zip(begin, lines, box, strict=True)]
        sizes = [(32 - sum(each[:2]), 32 - sum(each[2:])) for each in (new, box)]
        if new == box or any(now < before / 2 for now, before in zip(*sizes, strict=True)):
            break
        box = new
    if not any(box):
        return image
    above, below, before, after = box
    high, wide = 32 - above - below, 32 - before - after
    out = np.zeros((32, 32, 3))
    for row in range(32):
        for column in range(32):
            y, x = above + (row + 0.5) * high / 32 - 0.5, before + (column + 0.5) * wide / 32 - 0.5
            y, x = min(max(y, 0), 31), min(max(x, 0), 31)
            y0, x0 = min(int(y), 30), min(int(x), 30)
            b, a = y - y0, x - x0
            upper, lower = (image[r, x0] * (1 - a) + image[r, x0 + 1] * a for r in (y0, y0 + 1))
            out[row, column] = upper * (1 - b) + lower * b
    return np.rint(out).astype(np.uint8)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_borders_are_taken_off_as_by_a_loop(layers: int) -> None:
    framed = [frame(image) for image in scenes(5) for frame in FRAMES.values()]
    tiny = small(framed + [FRAMES["a black frame"](image) for image in drawings(5)] + scenes(3, seed=1))
    tiny = np.concatenate([tiny, np.full((1, 32, 32, 3), 9, np.uint8)])
    found = without_borders(tiny, layers).astype(int)
    assert (np.abs(found - np.stack([slow_without_borders(image, layers) for image in tiny])) <= 1).all()
    assert (found[:25] != tiny[:25]).any((1, 2, 3)).all() == (layers > 0)
    assert np.array_equal(found[-1], tiny[-1])


def test_no_quarter_turn_changes_the_spectra() -> None:
    tiny = small(scenes(12))
    plain = invariant_spectra(tiny)
    for turn in range(8):
        np.testing.assert_allclose(invariant_spectra(oriented(tiny, turn)), plain, atol=0.1)
    assert np.abs(plain[1:] - plain[:-1]).max(1).min() > 1


@pytest.mark.parametrize("turn", range(8))
def test_the_orientation_is_that_of_most_correlation_of_all_shifts(turn: int) -> None:
    tiny = small(scenes(6))
    both = np.concatenate([tiny, np.roll(oriented(tiny, turn), (3, -5), (1, 2))])
    orientation, correlation = best_orientation(both, np.stack([np.arange(6), np.arange(6, 12)], 1))
    for i in range(6):
        one, other = (
            image.reshape(16, 2, 16, 2, 3).sum((1, 3), dtype=int) // 4 * 1.0 for image in (both[i], both[6 + i])
        )
        one, other = (grey - grey.mean() for grey in (one.mean(-1), other.mean(-1)))
        best = max(
            (float((one * np.roll(oriented(other[None], o)[0], shift, (0, 1))).sum()), o)
            for o in range(8)
            for shift in np.ndindex(16, 16)
        )
        assert orientation[i] == best[1]
        assert correlation[i] == pytest.approx(best[0] / np.linalg.norm(one) / np.linalg.norm(other), abs=0.01)


def audited(images: list[Image.Image], labels: NDArray[np.int64] | None = None) -> Audit:
    """By features in which a turned image is another one."""
    rows = np.stack([np.asarray(image.resize((6, 6), Image.Resampling.BOX), np.float32).ravel() for image in images])
    return audit_embeddings(rows, labels, images=images)


def found(audit: Audit, n: int, copies: int) -> int:
    """Copies, the last, that are in a set with their original, the first."""
    of = audit.frame.near_duplicate_set.to_numpy()
    return int(np.count_nonzero((of[:copies] == of[n:]) & (of[:copies] >= 0)))


@pytest.mark.parametrize(("kinds", "number"), [(TURNS, 30), (FRAMES, 30), (GREY, 9)], ids=["turned", "framed", "grey"])
def test_copies_that_no_list_of_neighbours_holds_are_flagged(
    kinds: dict[str, Callable[[Image.Image], Image.Image]], number: int
) -> None:
    images, every = photographs(300), list(kinds.values())
    copies = [every[i % len(every)](images[i]) for i in range(number)]
    audit = audited(images + copies)
    assert found(audit, 300, number) >= 0.85 * number
    assert np.count_nonzero(audit.frame.near_duplicate_set.to_numpy()[number:300] >= 0) <= 2


def test_turned_copies_in_another_split_are_flagged() -> None:
    train, val = photographs(240), photographs(60, seed=1)
    val[:20] = [list(TURNS.values())[i % len(TURNS)](image) for i, image in enumerate(train[:20])]
    sides = {}
    for name, images in (("train", train), ("val", val)):
        rows = np.stack(
            [np.asarray(image.resize((6, 6), Image.Resampling.BOX), np.float32).ravel() for image in images]
        )
        sides[name] = embeddings(rows, miniatures=small(images))
    scales = audit_of(sides["train"], AuditSettings()).scores.pair_scales
    leaks = find_leakage(sides, {"train": scales}, 0.01, 0.01, ("train",))["train"]
    assert leaks.scaled_score is not None
    flagged = leaks.scaled_score < leaks.automatic
    pairs = set(zip(leaks.index[flagged].tolist(), leaks.other_index[flagged].tolist(), strict=True))
    assert len({(at, at) for at in range(20)} & pairs) >= 17
    assert len(pairs) <= 21


def test_an_image_of_another_class_is_no_turned_copy() -> None:
    images = photographs(300)
    copies = [TURNS["on its head"](image) for image in images[:20]]
    labels = np.arange(320) % 5
    labels[300:] = labels[:20]
    assert found(audited(images + copies, labels), 300, 20) >= 17
    labels[300:] = (labels[:20] + 1) % 5
    assert found(audited(images + copies, labels), 300, 20) <= 1


def drawings(n: int) -> list[Image.Image]:
    """Of one shade on a white ground."""
    rng, every = np.random.default_rng(0), []
    for _ in range(n):
        pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
        for top, left in rng.integers(8, 60, (4, 2)):
            pixels[top : top + 24, left : left + 12] = 30
        every.append(Image.fromarray(pixels))
    return every


def test_a_drawing_that_is_turned_is_another_drawing() -> None:
    arrows = drawings(60)
    tiny = small(arrows + [TURNS["a quarter"](image) for image in arrows])
    assert not (turned_pairs(tiny).orientation > 0).any()


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_of_next_to_no_images(n: int) -> None:
    tiny = small(scenes(3))[:n]
    found = turned_pairs(tiny)
    assert found.pairs.shape == (len(found.orientation), 2)
    assert turned_pairs(np.concatenate([tiny, small(scenes(1))]), n).pairs.shape[1] == 2
