"""Edges and colours of miniatures against a twin that visits every pixel, and what they add to labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from selfclean_hooks.detectors.image_view import edges_and_colours
from selfclean_hooks.detectors.label_errors.detector import score_labels
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows

Images = NDArray[np.uint8]


def noise(n: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def slow_edges(image: Images) -> NDArray[np.float64]:
    """(128,) by loops: the gradient of the strongest channel, shared between the two directions next to it."""
    value = image.astype(float)
    out = np.zeros((4, 4, 8))
    for y in range(16):
        for x in range(16):
            best = (0.0, 0.0, 0.0)
            for c in range(3):
                gx = value[y, min(x + 1, 15), c] - value[y, max(x - 1, 0), c]
                gy = value[min(y + 1, 15), x, c] - value[max(y - 1, 0), x, c]
                if math.hypot(gx, gy) > best[0]:
                    best = (math.hypot(gx, gy), gx, gy)
            strength, gx, gy = best
            angle = (math.atan2(gy, gx) % math.pi) / math.pi * 8
            low = int(angle) % 8
            out[y // 4, x // 4, low] += strength * (1 - (angle - int(angle)))
            out[y // 4, x // 4, (low + 1) % 8] += strength * (angle - int(angle))
    return np.sqrt(out.ravel() / 16)


def test_edges_and_colours_by_hand() -> None:
    images = noise(7)
    found = edges_and_colours(images)
    edges = np.stack([slow_edges(image) for image in images])
    colours = np.array(
        [
            [image[y : y + 2, x : x + 2].mean((0, 1)) for y in range(0, 16, 2) for x in range(0, 16, 2)]
            for image in images
        ]
    )
    colours = colours.reshape(len(images), -1)
    for part, mine, length in ((found[:, :128], edges, 1.0), (found[:, 128:], colours, 0.5)):
        centred = mine - mine.mean(0)
        assert np.allclose(part, length * centred / np.linalg.norm(centred, axis=1, keepdims=True), atol=2e-4)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_blocks_change_nothing(block: int) -> None:
    images = noise(10, 1)
    assert np.allclose(edges_and_colours(images, block), edges_and_colours(images), atol=1e-6)


@pytest.mark.parametrize("images", [np.zeros((5, 16, 16, 3), np.uint8), np.tile(noise(1), (5, 1, 1, 1))])
def test_images_that_are_all_the_same_tell_nothing(images: Images) -> None:
    found = edges_and_colours(images)
    assert np.isfinite(found).all()
    x, y = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3
    x[np.arange(60), y] += 4
    unit = UnitRows.of(x)
    near = nearest_neighbors(unit, 10)
    lists = near.indices.numpy(), near.distances.numpy()
    same = np.tile(images[:1], (60, 1, 1, 1))
    plain, seen = (score_labels(unit, y, *lists, shown) for shown in (None, same))
    assert np.allclose(plain.score, seen.score, atol=1e-6)


def bars(labels: NDArray[np.int64], seed: int) -> Images:
    """Bright bars, upright or level by the label, anywhere, in noise."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 90, (len(labels), 16, 16, 3))
    for image, label, start in zip(images, labels, rng.integers(1, 12, len(labels)), strict=True):
        if label:
            image[start : start + 3] += 120
        else:
            image[:, start : start + 3] += 120
    return images.astype(np.uint8)


def test_images_find_the_wrong_labels_that_vectors_miss() -> None:
    rng, n = np.random.default_rng(2), 300
    true = np.arange(n) % 2
    wrong = rng.choice(n, 15, replace=False)
    given = true.copy()
    given[wrong] = 1 - true[wrong]
    given[:9] = -1  # without a label
    wrong = wrong[wrong >= 9]
    unit = UnitRows.of(rng.normal(size=(n, 12)).astype(np.float32))  # of no use
    near = nearest_neighbors(unit, 20)
    lists = near.indices.numpy(), near.distances.numpy()
    images = bars(true, 3)
    assert len(wrong) > 10

    def found(shown: Images | None) -> int:
        score = score_labels(unit, given, *lists, shown).score
        worst = np.argsort(np.where(np.isnan(score), 2, score))[: len(wrong)]
        return len(np.intersect1d(worst, wrong))

    assert found(None) < 4
    assert found(images) >= len(wrong) - 1
