"""Contaminated images with known ground truth, for tests, examples and benchmarks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage

from selfclean_hooks.errors import DataError, SettingError

_LEAST_CONTRAST = 16  # standard deviation in grey levels: patches of plain sky would all look the same

_Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Contaminated:
    """N samples, shuffled, and what was done to them.

    Attributes:
        images: (N, H, W) or (N, H, W, C) uint8.
        labels: (N,) int64, the labels to train on, wrong ones included.
        true_labels: (N,) int64, -1 for an off-topic sample.
        is_off_topic: (N,) bool.
        is_label_error: (N,) bool: the label was flipped. Off-topic samples are not counted here.
        duplicate_pairs: (P, 2) int64, source and copy in ascending order, sorted. No sample is in two pairs.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    true_labels: NDArray[np.int64]
    is_off_topic: NDArray[np.bool_]
    is_label_error: NDArray[np.bool_]
    duplicate_pairs: NDArray[np.int64]


def contaminate(
    images: ArrayLike,
    labels: ArrayLike,
    off_topic_images: ArrayLike,
    *,
    near_duplicates: float = 0.05,
    off_topic: float = 0.05,
    label_errors: float = 0.05,
    seed: int = 0,
) -> Contaminated:
    """Add near duplicates and off-topic samples to clean data and flip labels.

    A copy differs from its source by exactly one small change (shift by a pixel, brightness, noise or blur) and keeps
    its label. A flipped label is drawn from the other classes, and never on a sample that was copied. Off-topic samples
    get labels at random. The arrays given are not changed.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8, taken to be clean.
        labels: (N,) whole numbers.
        off_topic_images: (M, H, W) or (M, H, W, C) uint8, from which off-topic samples are drawn without repeats.
        near_duplicates: Copies to add, as a fraction of N, in [0, 1].
        off_topic: Off-topic samples to add, as a fraction of N.
        label_errors: Labels to flip, as a fraction of N. Together with near_duplicates at most 1.
        seed: The same seed gives the same data.

    Raises:
        DataError: The arrays do not fit together, or hold too few samples.
        SettingError: A fraction is outside its range.
    """
    clean, truth, pool = _checked(images, labels, off_topic_images)
    copies, unrelated, flips = (
        _count(fraction, len(clean), name)
        for name, fraction in (
            ("near_duplicates", near_duplicates),
            ("off_topic", off_topic),
            ("label_errors", label_errors),
        )
    )
    _check_supply(len(clean), np.unique(truth), len(pool), copies, unrelated, flips)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(clean))
    sources, flipped = chosen[:copies], chosen[copies : copies + flips]
    given = truth.copy()
    given[flipped] = _other_classes(truth[flipped], np.unique(truth), rng)
    copied = [_small_change(clean[source], rng) for source in sources]
    unrelated_images = pool[rng.choice(len(pool), unrelated, replace=False)]
    unrelated_labels = rng.choice(np.unique(truth), unrelated)
    return _shuffled(
        np.concatenate([clean, np.array(copied, np.uint8).reshape(-1, *clean.shape[1:]), unrelated_images]),
        np.concatenate([given, truth[sources], unrelated_labels]),
        np.concatenate([truth, truth[sources], np.full(unrelated, -1)]),
        flipped,
        np.stack([sources, len(clean) + np.arange(copies)], axis=1),
        rng,
    )


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The handwritten digits that ship with scikit-learn: (1797, 8, 8) uint8 in [0, 255] and (1797,) labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.round(data.images * (255 / 16)).astype(np.uint8), data.target.astype(np.int64)


def off_topic_patches(n: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """Grey patches of the two photographs that ship with scikit-learn; none overlap, and plain areas are left out.

    Args:
        n: How many. There are about 2,600 of size 8, 290 of size 28 and 66 of size 64.
        size: Height and width in pixels.
        seed: The same seed gives the same patches.

    Returns:
        (n, size, size) uint8.

    Raises:
        SettingError: The photographs do not hold n such patches.
    """
    from sklearn.datasets import load_sample_images

    if n < 0 or size < 1:
        raise SettingError(f"off_topic_patches wants n >= 0 and size >= 1, got n={n}, size={size}")
    patches = np.concatenate([_grid(photograph, size) for photograph in load_sample_images().images])
    patches = patches[patches.std(axis=(1, 2)) >= _LEAST_CONTRAST]
    if n > len(patches):
        raise SettingError(f"the photographs hold {len(patches)} patches of size {size}, got n={n}: ask for fewer")
    chosen: NDArray[np.uint8] = patches[np.random.default_rng(seed).choice(len(patches), n, replace=False)]
    return chosen


def write_image_folder(contaminated: Contaminated, folder: str | os.PathLike[str]) -> None:
    """Write class folders of PNG files, ``<label>/<position:06d>.png``.

    Args:
        contaminated: What to write; the labels are those given, wrong ones included.
        folder: A new or empty folder.

    Raises:
        SettingError: The folder is not empty.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise SettingError(f"write_image_folder wants a new or empty folder, got {root}: empty it or name another")
    for label in np.unique(contaminated.labels):
        (root / str(label)).mkdir()
    for position, (pixels, label) in enumerate(zip(contaminated.images, contaminated.labels, strict=True)):
        plain = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
        Image.fromarray(plain).save(root / str(label) / f"{position:06d}.png")


def _checked(
    images: ArrayLike, labels: ArrayLike, off_topic_images: ArrayLike
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
    clean, truth, pool = np.asarray(images), np.asarray(labels), np.asarray(off_topic_images)
    if clean.dtype != np.uint8 or clean.ndim not in (3, 4) or clean.shape[3:] not in ((), (1,), (3,), (4,)):
        wanted = "(N, H, W) or (N, H, W, C) uint8 with C = 1, 3 or 4"
        raise DataError(f"images must be {wanted}, got {clean.shape} {clean.dtype}")
    if truth.shape != (len(clean),) or truth.dtype.kind not in "iu" or (truth < 0).any():
        raise DataError(f"labels must be ({len(clean)},) whole numbers from 0, got {truth.shape} {truth.dtype}")
    if pool.dtype != np.uint8 or pool.shape[1:] != clean.shape[1:]:
        raise DataError(f"off_topic_images must be {('M', *clean.shape[1:])} uint8, got {pool.shape} {pool.dtype}")
    return clean, truth.astype(np.int64), pool


def _count(fraction: float, of: int, name: str) -> int:
    if not 0 <= fraction <= 1:
        raise SettingError(f"{name} is a fraction of the clean samples in [0, 1], got {fraction}")
    return round(fraction * of)


def _check_supply(n: int, classes: NDArray[np.int64], pool: int, copies: int, unrelated: int, flips: int) -> None:
    if copies + flips > n:
        raise DataError(
            f"{copies} copies and {flips} label errors need as many different samples, got {n}: ask for less"
        )
    if unrelated > pool:
        raise DataError(
            f"{unrelated} off-topic samples are wanted, off_topic_images holds {pool}: give more or ask for less"
        )
    if flips and len(classes) < 2:
        raise DataError(f"label errors need two classes, got {len(classes)}: pass label_errors=0")


def _other_classes(
    labels: NDArray[np.int64], classes: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each label moved on by 1 to K - 1 places: uniform over the other K - 1 classes."""
    steps = rng.integers(1, max(len(classes), 2), len(labels))
    moved: NDArray[np.int64] = classes[(np.searchsorted(classes, labels) + steps) % len(classes)]
    return moved


def _small_change(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    change = _CHANGES[rng.integers(len(_CHANGES))]
    return np.clip(np.round(change(image.astype(np.float32), rng)), 0, 255).astype(np.uint8)


def _shift(pixels: _Pixels, rng: np.random.Generator) -> _Pixels:
    """By one pixel up, down, left or right; the edge row or column is repeated."""
    axis, step = int(rng.integers(2)), int(rng.choice((-1, 1)))
    keep = np.clip(np.arange(pixels.shape[axis]) + step, 0, pixels.shape[axis] - 1)
    shifted: _Pixels = pixels.take(keep, axis=axis)
    return shifted


def _brightness(pixels: _Pixels, rng: np.random.Generator) -> _Pixels:
    changed: _Pixels = pixels * np.float32(rng.choice((0.85, 1.15)))
    return changed


def _noise(pixels: _Pixels, rng: np.random.Generator) -> _Pixels:
    return pixels + rng.normal(0, 6, pixels.shape).astype(np.float32)


def _blur(pixels: _Pixels, rng: np.random.Generator) -> _Pixels:
    blurred: _Pixels = ndimage.gaussian_filter(pixels, sigma=float(rng.uniform(0.4, 0.7)), axes=(0, 1))
    return blurred


_CHANGES: tuple[Callable[[_Pixels, np.random.Generator], _Pixels], ...] = (_shift, _brightness, _noise, _blur)


def _shuffled(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    true_labels: NDArray[np.int64],
    flipped: NDArray[np.int64],
    pairs: NDArray[np.int64],
    rng: np.random.Generator,
) -> Contaminated:
    order = rng.permutation(len(images))
    place = np.argsort(order)  # where each sample went
    is_label_error = np.zeros(len(images), bool)
    is_label_error[place[flipped]] = True
    moved = np.sort(place[pairs], axis=1)
    true_labels = true_labels[order]
    moved = moved[np.argsort(moved[:, 0])]
    return Contaminated(images[order], labels[order], true_labels, true_labels == -1, is_label_error, moved)


def _grid(photograph: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    grey = np.asarray(Image.fromarray(photograph).convert("L"))
    rows, columns = grey.shape[0] // size, grey.shape[1] // size
    blocks = grey[: rows * size, : columns * size].reshape(rows, size, columns, size)
    patches: NDArray[np.uint8] = blocks.swapaxes(1, 2).reshape(-1, size, size)
    return patches
