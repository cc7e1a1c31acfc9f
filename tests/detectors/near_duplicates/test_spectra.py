"""Images that show the same wherever it lies: found as by a loop over all pairs, and flagged where they are copies."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from selfclean_hooks.audits.audit_dataset import audit_embeddings
from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.data.images import miniature
from selfclean_hooks.detectors.leakage import find_leakage
from selfclean_hooks.detectors.near_duplicates.alignment import displacements
from selfclean_hooks.detectors.near_duplicates.spectra import LISTED, MAX_RATIO, USUAL, similar_spectra
from tests.detectors.test_leakage import embeddings

Images = NDArray[np.uint8]


def drawn(n: int, side: int = 28, seed: int = 0) -> Images:
    """(N, side, side) handwritten digits, each at a place of its own with room around it."""
    digits = load_digits().images[seed * 600 : seed * 600 + n] / 16 * 255
    rng, times = np.random.default_rng(seed), (side - 4) // 8
    images = np.zeros((n, side, side), np.uint8)
    for image, digit in zip(images, digits, strict=True):
        large = np.array(
            Image.fromarray(digit.astype(np.uint8)).resize((8 * times, 8 * times), Image.Resampling.BILINEAR)
        )
        top, left = rng.integers(0, side - 8 * times + 1, 2)
        image[top : top + 8 * times, left : left + 8 * times] = large
    return images


def small(images: Images) -> Images:
    return np.stack([cast(Images, miniature(image)) for image in images])


def slow_pairs(images: Images, others: Images, is_same: bool) -> set[tuple[int, int]]:
    """By a loop over all images, with the whole Fourier transform in doubles."""

    def rows(of: Images) -> NDArray[np.float64]:
        grey = of.reshape(len(of), 16, 2, 16, 2, 3).astype(np.float64).sum((2, 4))
        grey = np.floor((grey + 2) / 4) @ (0.299, 0.587, 0.114)
        return np.array([np.sqrt(np.abs(np.fft.fft2(g - g.mean()))[:, :9]).ravel() for g in grey])

    mean = rows(others).mean(0)
    mine, its = (v - mean for v in (rows(images), rows(others)))
    found = set()
    for at, row in enumerate(mine):
        cosine = its @ row / np.linalg.norm(its, axis=1) / np.linalg.norm(row)
        distance = (1 - cosine) / 2
        if is_same:
            distance[at] = np.inf
        order = np.argsort(distance, kind="stable")[:USUAL]
        for place in order[:LISTED]:
            if distance[place] <= MAX_RATIO**2 * distance[order[-1]] and (images[at] != images[at, 0, 0]).any():
                found.add((at, int(place)))
    return found


def test_pairs_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(3)
    one, other = small(drawn(40)), small(drawn(30, seed=1))
    other[:6] = np.roll(one[:6], (4, -2), (1, 2))
    other[20] = 7  # blank
    one[:, :, :, 0] = rng.integers(0, 40, one.shape[:3])
    assert set(map(tuple, similar_spectra(one).tolist())) == slow_pairs(one, one, True)
    assert set(map(tuple, similar_spectra(one, other).tolist())) == slow_pairs(one, other, False)
    assert set(map(tuple, similar_spectra(other, one).tolist())) == slow_pairs(other, one, False)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9])
def test_few_images(n: int) -> None:
    images = small(drawn(9))[:n]
    pairs = similar_spectra(images)
    assert pairs.shape[1] == 2
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert similar_spectra(small(drawn(1)), images).shape[1] == 2


@pytest.mark.parametrize("moved", [(4, 0), (0, -5), (-3, 4)])
def test_shifted_copies_that_no_list_of_neighbours_holds_are_flagged(moved: tuple[int, int]) -> None:
    images = drawn(260, 32)
    images = np.concatenate([images, np.roll(images[:30], moved, (1, 2))])
    vectors = images.reshape(len(images), 8, 4, 8, 4).mean((2, 4)).reshape(len(images), -1).astype(np.float32)
    audit = audit_embeddings(vectors, images=list(images))
    of = audit.frame.near_duplicate_set.to_numpy()
    assert np.count_nonzero((of[:30] == of[260:]) & (of[:30] >= 0)) >= 25
    assert np.count_nonzero(of[30:260] >= 0) <= 2
    estimate = audit.calibration.set_index("issue").loc["near_duplicates"]
    assert estimate.estimated_low <= 30 <= estimate.estimated_high


def test_shifted_copies_in_another_split_are_flagged() -> None:
    train, val = small(drawn(240, 32)), small(drawn(60, 32, seed=1))
    val[:20] = np.roll(train[:20], (4, -3), (1, 2))
    sides = {}
    for name, images in (("train", train), ("val", val)):
        vectors = images[..., 0].reshape(len(images), 8, 4, 8, 4).mean((2, 4)).reshape(len(images), -1)
        sides[name] = embeddings(vectors.astype(np.float32), miniatures=images)
    scales = audit_of(sides["train"], AuditSettings()).scores.pair_scales
    leaks = find_leakage(sides, {"train": scales}, 0.01, 0.01, ("train",))["train"]
    assert leaks.scaled_score is not None
    found = {
        (own, other)
        for own, other, value in zip(leaks.index, leaks.other_index, leaks.scaled_score, strict=True)
        if value < leaks.automatic
    }
    assert len({(at, at) for at in range(20)} & found) >= 16
    assert len(found) <= 22


@pytest.mark.parametrize("side", [28, 40, 50])
def test_a_small_image_that_is_shifted_by_a_pixel_is_nearly_the_same_in_miniature(side: int) -> None:
    images = drawn(40, side)
    tiny = small(np.concatenate([images, np.roll(images, (1, 2), (1, 2))]))
    apart, _ = displacements(tiny, np.stack([np.arange(40), np.arange(40, 80)], 1))
    assert np.median(apart) < 0.2
