"""The data sets: clean images with labels, and two kinds of images that do not belong to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import _paths  # noqa: F401
import numpy as np
from _fashion import fashion_mnist
from images import (
    CLIP_ART,
    Images,
    Labels,
    by_folder,
    clip_art,
    coloured,
    distinct,
    grey,
    photo_patches,
    texture,
)

from selfclean_hooks.testing import digits, off_topic_patches

CLEAN, FOREIGN = 2000, 600
SUBJECTS = ("animals", "food", "people", "transportation", "recreation", "tools", "plants", "buildings")


@dataclass(frozen=True, eq=False)
class Material:
    """Images of one size: (N, H, W) or (N, H, W, 3) uint8."""

    clean: Images
    labels: Labels
    scattered: Images  # off-topic, no two alike
    clustered: Images  # off-topic, all alike


def material(clean: Images, labels: Labels, scattered: Images, clustered: Images, n: int = CLEAN) -> Material:
    """At most n clean images, drawn with seed 0, without the near copies that the set has of its own."""
    order = np.random.default_rng(0).permutation(len(clean))
    kept, positions = distinct(clean[order][: n + n // 4])
    return Material(kept[:n], labels[order][positions][:n], scattered, clustered)


def fashion() -> Material:
    images, labels = fashion_mnist("t10k")
    return material(images, labels, grey(clip_art(FOREIGN, 64, 1), 28), one_ground(texture(FOREIGN, 28, 1)))


def handwritten() -> Material:
    images, labels = digits()
    shoes, kinds = fashion_mnist("train")
    small = shoes[kinds == 7][:FOREIGN].reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4))
    return material(images, labels, off_topic_patches(FOREIGN, 8), small.astype(np.uint8))


def clipart() -> Material:
    images, labels = by_folder(CLIP_ART, SUBJECTS, 64)
    clothes, kinds = fashion_mnist("train")
    bags = coloured(clothes[kinds == 8][:FOREIGN], 64)
    return material(images, labels, photo_patches(FOREIGN, 64, 2), bags)


def one_ground(images: Images) -> Images:
    """Grey, without negatives."""
    return np.asarray(images.mean(-1), np.uint8)


DEVELOPMENT: dict[str, Callable[[], Material]] = {"fashion": fashion, "digits": handwritten, "clipart": clipart}
