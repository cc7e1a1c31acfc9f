"""Shades of grey and colours of images in miniature: what a copy may have lost, and what a drawing has few of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

SHADES = 64
COLOURLESS = 2.0  # levels between the channels of a pixel, in the mean: a compressed grey image has so many
LEAST_TONES = 2.5  # bits of both images; what is small or of few shades is like much else without its colours
LUMINANCE = (299, 587, 114)  # per mille of red, green and blue (ITU-R BT.601), as libraries turn images grey


def tones(images: NDArray[np.uint8]) -> FloatArray:
    """(N,) bits of the 64 shades of grey in images (N, S, S, 3): 0 of one colour, 6 if all shades are as frequent."""
    shade = (images.mean(-1) / 4).astype(np.int64).reshape(len(images), images.shape[1] * images.shape[2])
    count = np.bincount((shade + SHADES * np.arange(len(images))[:, None]).ravel(), minlength=SHADES * len(images))
    share = count.reshape(-1, SHADES) / max(1, shade.shape[1])
    return np.asarray(-(share * np.log2(np.maximum(share, 1e-12))).sum(1))


def in_grey_alone(miniatures: NDArray[np.uint8], pairs: IntArray) -> BoolArray:
    """(P,) whether the images of pairs (P, 2) of (N, S, S, 3) are to be compared `in_grey`: one has no colours."""
    ends, at = np.unique(pairs, return_inverse=True)
    images, at = miniatures[ends], at.reshape(-1, 2)
    spread = np.maximum.reduce(images, axis=-1) - np.minimum.reduce(images, axis=-1)
    coloured = (spread.mean((1, 2)) > COLOURLESS)[at]
    found = coloured[:, 0] != coloured[:, 1]
    rich = np.zeros(len(ends), np.bool_)
    asked = np.unique(at[found])
    rich[asked] = tones(images[asked]) >= LEAST_TONES
    return np.asarray(found & rich[at].all(1))


def in_grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, S, S, 3) by their luminance in all channels."""
    grey = ((luminance(images) + 500) // 1000).astype(np.uint8)
    return np.repeat(grey[..., None], images.shape[-1], axis=-1)


def luminance(images: NDArray[np.uint8]) -> IntArray:
    """(N, S, S) of images (N, S, S, 3), from 0 to 255,000: whole numbers, so that what is of one colour stays so."""
    red, green, blue = (images[..., channel].astype(np.int64) * share for channel, share in enumerate(LUMINANCE))
    return red + green + blue
