"""The data sets: clean pictures with labels, and two kinds of pictures that do not belong to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import _paths  # noqa: F401
import numpy as np
from _fashion import fashion_mnist
from pictures import (
    CLIP_ART,
    Labels,
    Pictures,
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
    """Pictures of one size: (N, H, W) or (N, H, W, 3) uint8."""

    clean: Pictures
    labels: Labels
    scattered: Pictures  # off-topic, no two alike
    clustered: Pictures  # off-topic, all alike


def material(clean: Pictures, labels: Labels, scattered: Pictures, clustered: Pictures, n: int = CLEAN) -> Material:
    """At most n clean pictures, drawn with seed 0, without the near copies that the set has of its own."""
    order = np.random.default_rng(0).permutation(len(clean))
    kept, positions = distinct(clean[order][: n + n // 4])
    return Material(kept[:n], labels[order][positions][:n], scattered, clustered)


def fashion() -> Material:
    pictures, labels = fashion_mnist("t10k")
    return material(pictures, labels, grey(clip_art(FOREIGN, 64, 1), 28), one_ground(texture(FOREIGN, 28, 1)))


def handwritten() -> Material:
    pictures, labels = digits()
    shoes, kinds = fashion_mnist("train")
    small = shoes[kinds == 7][:FOREIGN].reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3).mean((2, 4))
    return material(pictures, labels, off_topic_patches(FOREIGN, 8), small.astype(np.uint8))


def clipart() -> Material:
    pictures, labels = by_folder(CLIP_ART, SUBJECTS, 64)
    clothes, kinds = fashion_mnist("train")
    bags = coloured(clothes[kinds == 8][:FOREIGN], 64)
    return material(pictures, labels, photo_patches(FOREIGN, 64, 2), bags)


def one_ground(pictures: Pictures) -> Pictures:
    """Grey, without negatives."""
    return np.asarray(pictures.mean(-1), np.uint8)


DEVELOPMENT: dict[str, Callable[[], Material]] = {"fashion": fashion, "digits": handwritten, "clipart": clipart}
