"""Copies of a image: one operation, or a chain of small ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Raster = NDArray[np.uint8]
Pixels = NDArray[np.float32]
CHAIN = 8  # steps


def one_operation(image: Raster, rng: np.random.Generator) -> Raster:
    """Rotation by up to 10 degrees, a crop of 85 to 100%, brightness, blur or noise."""
    return _changed(image, 1.0, rng)


def chain(image: Raster, rng: np.random.Generator) -> list[Raster]:
    """CHAIN images, each a third of an operation away from the one before."""
    made = [image]
    for _ in range(CHAIN):
        made.append(_changed(made[-1], 1 / 3, rng))
    return made[1:]


def _changed(image: Raster, strength: float, rng: np.random.Generator) -> Raster:
    """One operation, drawn again where it leaves the image as it is."""
    for _ in range(20):
        operation = OPERATIONS[rng.integers(len(OPERATIONS))]
        pixels = operation(image.astype(np.float32), strength, rng)
        changed = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        if (changed != image).any():
            break
    return changed


def _rotation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    angle = rng.uniform(2, 10) * strength * rng.choice((-1, 1))
    rotated: Pixels = ndimage.rotate(pixels, angle, axes=(0, 1), reshape=False, order=1, mode="nearest")
    return rotated


def _crop(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A part of the image, as large as the whole again."""
    part = 1 - rng.uniform(0.02, 0.15) * strength
    starts = [(side - 1) * rng.uniform(0, 1 - part) for side in pixels.shape[:2]]
    axes = [start + np.arange(side) * part for start, side in zip(starts, pixels.shape[:2], strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    cropped = [ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in np.moveaxis(planes, -1, 0)]
    return np.asarray(np.stack(cropped, -1).reshape(pixels.shape), np.float32)


def _brightness(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    factor = 1 + rng.uniform(0.08, 0.3) * strength * rng.choice((-1, 1))
    return np.asarray(pixels * factor, np.float32)


def _blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    sigma = max(0.35, rng.uniform(0.5, 1.0) * strength * pixels.shape[0] / 28)
    blurred: Pixels = ndimage.gaussian_filter(pixels, sigma, axes=(0, 1))
    return blurred


def _noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    return pixels + rng.normal(0, rng.uniform(4, 12) * strength, pixels.shape).astype(np.float32)


OPERATIONS: tuple[Callable[[Pixels, float, np.random.Generator], Pixels], ...] = (
    _rotation,
    _crop,
    _brightness,
    _blur,
    _noise,
)
