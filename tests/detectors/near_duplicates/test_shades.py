"""Shades and colours of images: by hand, and pairs of which one alone is grey."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.alignment import displacements
from selfclean_hooks.detectors.near_duplicates.shades import in_grey, in_grey_alone, tones
from tests.detectors.near_duplicates.test_certain_copies import scenes, small


def test_tones_by_hand() -> None:
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1, :8] = 255
    images[2] = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert tones(images).tolist() == [0, 1, 6]


def test_luminance_by_hand() -> None:
    colours = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 30]]]], np.uint8)
    expected = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in colours[0, 0].tolist()]
    assert in_grey(colours)[0, 0].tolist() == [[level] * 3 for level in expected]


def grained(n: int) -> NDArray[np.uint8]:
    """Images of many shades."""
    grain = np.random.default_rng(0).normal(0, 12, (n, 32, 32, 1))
    return (small(scenes(n)) + grain).clip(0, 255).astype(np.uint8)


def test_two_are_compared_in_grey_where_one_has_no_colours() -> None:
    images = grained(4)
    every = np.concatenate([images, in_grey(images), np.full((1, 32, 32, 3), 7, np.uint8)])
    pairs = np.array([[0, 4], [5, 1], [0, 1], [4, 5], [0, 8], [2, 6]])
    assert in_grey_alone(every, pairs).tolist() == [True, True, False, False, False, True]  # 8: of one shade
    assert in_grey_alone(every, pairs[:0]).tolist() == []
    apart, _ = displacements(every, pairs)
    both_grey, _ = displacements(in_grey(every), pairs)
    assert np.array_equal(apart[[0, 1, 5]], both_grey[[0, 1, 5]])
    assert (apart[[0, 1, 5]] < 0.1).all()
    assert (apart[[2, 3, 4]] > 1).all()
