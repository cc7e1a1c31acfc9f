"""Scores of image quality beside a slow twin, and what must hold of them."""

import math
import statistics
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torch import from_numpy

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.data.images import STATISTICS, image_statistics, sharpness
from selfclean_hooks.detectors.image_quality import FLOOR, POOR, aspect_scores

ASPECTS = BY_NAME["image_quality"].aspects
USUAL = np.array([0.9, 0.8, 0.5, 0.25, np.log(100), 0.0])  # light, shade, sharpness, contrast, side, shape


def scores_slowly(x: list[list[float]]) -> list[list[float]]:
    """x / (x + T), a column at a time."""
    columns = []
    for number, column in enumerate(zip(*x, strict=True)):
        known = [value for value in column if not math.isnan(value)]
        if number < 4:
            logs = [math.log(max(value, FLOOR)) for value in known]
            usual = statistics.median(logs)
        else:
            logs, usual = [-abs(value - statistics.median(known)) for value in known], 0.0
        spread = max(0.1, 1.4826 * statistics.median(abs(value - usual) for value in logs))
        bound = min(POOR[number], math.exp(usual - 4 * spread))
        scores = iter([math.exp(value) / (math.exp(value) + bound) for value in logs])
        columns.append([math.nan if math.isnan(value) else next(scores) for value in column])
    return [list(row) for row in zip(*columns, strict=True)]


@given(st.integers(1, 30), st.integers(0, 10_000), st.floats(0, 0.5))
def test_scores_are_those_of_the_slow_twin(n: int, seed: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.hstack([rng.random((n, 4)) ** rng.integers(1, 6, 4), rng.normal(0, 1, (n, 2))])
    x[rng.random(x.shape) < unknown * (np.arange(n) > 0)[:, None]] = np.nan
    np.testing.assert_allclose(aspect_scores(x), scores_slowly(x.tolist()), atol=1e-9)


@pytest.mark.parametrize("poor", range(STATISTICS))
@pytest.mark.parametrize("n", [3, 50])
def test_one_poor_image_is_flagged_for_what_it_is(poor: int, n: int) -> None:
    x = np.tile(USUAL, (n, 1))
    x[1, poor] = [0.05, 0.02, 0.05, 0.005, np.log(20), np.log(4)][poor]
    flagged = aspect_scores(x) < 0.5
    assert [tuple(place) for place in np.argwhere(flagged).tolist()] == [(1, poor)]


def test_what_all_images_are_is_no_issue() -> None:
    """Dark, blurry, tall or nearly blank, but all of them."""
    for column, value in enumerate([0.05, 0.02, 0.05, 0.005, np.log(9), np.log(5)]):
        x = np.tile(USUAL, (40, 1))
        x[:, column] = value
        assert not (aspect_scores(x) < 0.5).any()


def test_more_than_a_third_of_poor_images_are_found() -> None:
    x = np.tile(USUAL, (30, 1)) + np.random.default_rng(0).normal(0, 0.01, (30, 6))
    x[:12, 2] = 0.05
    assert (aspect_scores(x)[:, 2] < 0.5).tolist() == [True] * 12 + [False] * 18


@given(st.permutations(range(12)), st.integers(0, 100))
def test_order_does_not_matter(order: list[int], seed: int) -> None:
    x = np.random.default_rng(seed).random((12, STATISTICS))
    np.testing.assert_array_equal(aspect_scores(x)[order], aspect_scores(x[order]))


def test_without_an_image_there_is_no_score() -> None:
    x = np.tile(USUAL, (5, 1))
    x[2] = np.nan
    scores = aspect_scores(x)
    assert np.isnan(scores[2]).all()
    assert not np.isnan(np.delete(scores, 2, 0)).any()
    assert np.isnan(aspect_scores(np.full((3, 6), np.nan))).all()


def photo(side: int = 64, seed: int = 0) -> Image.Image:
    """Edges, textures and all shades."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    return Image.blend(coarse, Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)), 0.2)


def sharpness_slowly(grey: np.ndarray) -> float:
    height, width = grey.shape
    lost = edges = 0.0
    for y in range(height):
        for x in range(1, width - 2):
            at = [grey[y, x + step] for step in (-1, 0, 1, 2)]
            before, after = abs(at[2] - at[1]), abs(sum(at[1:]) - sum(at[:3])) / 3
            lost, edges = lost + max(0.0, before - after), edges + before
    if height != width or not np.array_equal(grey, grey.T):
        for x in range(width):
            for y in range(1, height - 2):
                at = [grey[y + step, x] for step in (-1, 0, 1, 2)]
                before, after = abs(at[2] - at[1]), abs(sum(at[1:]) - sum(at[:3])) / 3
                lost, edges = lost + max(0.0, before - after), edges + before
    return lost / edges


@pytest.mark.parametrize("shape", [(9, 7), (4, 12), (16, 16)])
def test_sharpness_is_that_of_the_slow_twin(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).random(shape).astype(np.float32)
    assert sharpness(grey) == pytest.approx(sharpness_slowly(grey), abs=1e-5)


def test_blur_lowers_sharpness_and_nothing_else_much() -> None:
    image = photo(128)
    values = [float(image_statistics(image.filter(ImageFilter.GaussianBlur(r)))[2]) for r in (0, 1, 2, 4)]  # type: ignore[index]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.4 > 0.2 > values[-1]
    assert np.isnan(sharpness(np.zeros((5, 5))))
    assert np.isnan(sharpness(np.ones((2, 9), np.float32)))


def test_statistics_are_those_of_the_pixels() -> None:
    black, white = (image_statistics(Image.new("L", (40, 10), value)) for value in (0, 255))
    assert black is not None
    assert white is not None
    np.testing.assert_allclose(black[[0, 1, 3]], [0, 1, 0])
    np.testing.assert_allclose(white[[0, 1, 3]], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(black[4:], [np.log(20), np.log(4)], rtol=1e-6)
    big = image_statistics(photo().resize((1200, 600)))  # measured smaller, and of the size that it has
    assert big is not None
    np.testing.assert_allclose(big[4:], [np.log(1200 * 600) / 2, np.log(2)], rtol=1e-6)


def test_one_image_in_every_form_has_the_same_statistics() -> None:
    image = photo(32)
    array = np.asarray(image)
    wanted = image_statistics(image)
    for form in (array, array.transpose(2, 0, 1).copy(), from_numpy(array.transpose(2, 0, 1) / np.float32(255))):
        np.testing.assert_allclose(image_statistics(form), wanted, atol=2e-3)  # type: ignore[arg-type]
    assert image_statistics("a text") is None
    assert image_statistics(np.zeros((7, 20, 20))) is None


@pytest.mark.parametrize("kind", ["I;16", "normalised"])
def test_values_without_a_fixed_range_are_neither_dark_nor_bright(kind: str) -> None:
    grey = np.asarray(photo(32).convert("L"))
    value = Image.fromarray(grey.astype(np.uint16) * 9) if kind == "I;16" else grey.astype(np.float32) / 50 - 2
    found = image_statistics(value)
    assert found is not None
    assert np.isnan(found).tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_give_no_range(value: float) -> None:
    image = np.random.default_rng(0).random((9, 9, 3)).astype(np.float32)
    image[0, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, empty = image_statistics(image), image_statistics(np.full((9, 9, 3), value, np.float32))
    assert found is not None
    assert np.isfinite(found).all()  # and so it is one of values in [0, 1]
    assert empty is not None
    assert empty[3] == 0  # blank
