"""Pairs of images that show the same once a frame is taken off, or one is turned by a quarter or mirrored.

Neither a network's neighbour lists nor those of the pixels hold a copy that was turned upright, or put into a frame. So
images are compared without the borders of one colour, by spectra that no quarter turn changes, and the orientation in
which they agree most is looked for. What is found here is only worth being aligned (`certain_copies`), as it is shown
by `shown`: the borders taken off, and the one turned like the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import affine_grid, grid_sample

from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.near_duplicates.spectra import SIDE, alike_by
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.torch_settings import on_cpu

ORIENTATIONS = 8  # quarter turns, and those of the mirror image
ONE_COLOUR = 10  # levels of a channel between the pixels of a border, and to its outermost line
LAYERS = 3  # borders around each other
LEAST_CONTENT = 0.5  # of the side: what is framed by more is left as it is
LEAST_CORRELATION = 0.85  # of the images at 16 x 16, shifted against each other
SHADES = 64
LEAST_TONES = 4.0  # bits; 98% of photographs have more, arrows, hands, signs and letters less: a turned one is another
BLOCK = 1024  # images or pairs at a time


class Attempts(NamedTuple):
    """Pairs that may show the same, and how."""

    pairs: IntArray  # (P, 2) positions
    orientation: IntArray  # (P,) of the second, 0 to 7, in which it is like the first


def turned_pairs(miniatures: NDArray[np.uint8], among: int | None = None, labels: IntArray | None = None) -> Attempts:
    """Pairs whose images may be the same but for a frame, a quarter turn or a mirror.

    Args:
        miniatures: (N, S, S, 3), S 16 or a multiple.
        among: the images from this position on are compared with those before it; by default all with all.
        labels: (N,) class codes, -1: none. An image of another class that is turned is another one: 6 and 9.
    """
    content = without_borders(miniatures)
    if among is None:
        pairs = alike_by(invariant_spectra, content, None, 1)
    else:
        pairs = np.add(alike_by(invariant_spectra, content[among:], content[:among], 1), (among, 0))
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    orientation, correlation = best_orientation(content, pairs)
    framed = (content != miniatures).any((1, 2, 3))
    likely = (correlation >= LEAST_CORRELATION) & np.where(
        orientation > 0, _may_be_turned(miniatures, pairs, labels), framed[pairs].any(1)
    )
    order = np.argsort(-np.where(likely, correlation, -1), kind="stable")[: min(len(miniatures), likely.sum())]
    return Attempts(pairs[order], orientation[order])


def _may_be_turned(miniatures: NDArray[np.uint8], pairs: IntArray, labels: IntArray | None) -> BoolArray:
    """(P,) whether the images of a pair, turned, are copies: of one class, and no drawing, whose place is its sense."""
    ends, at = np.unique(pairs, return_inverse=True)
    may_be = (tones(miniatures[ends]) >= LEAST_TONES)[at.reshape(-1, 2)].all(1)
    if labels is not None:
        one, other = labels[pairs].T
        may_be &= (one == other) | (one < 0) | (other < 0)
    return np.asarray(may_be)


def tones(images: NDArray[np.uint8]) -> FloatArray:
    """(N,) bits of the 64 shades of grey in images (N, S, S, 3): 0 of one colour, 6 if all shades are as frequent."""
    shade = (images.mean(-1) / 4).astype(np.int64).reshape(len(images), images.shape[1] * images.shape[2])
    count = np.bincount((shade + SHADES * np.arange(len(images))[:, None]).ravel(), minlength=SHADES * len(images))
    share = count.reshape(-1, SHADES) / max(1, shade.shape[1])
    return np.asarray(-(share * np.log2(np.maximum(share, 1e-12))).sum(1))


def shown(miniatures: NDArray[np.uint8], attempts: Attempts) -> NDArray[np.uint8]:
    """(2 P, S, S, 3) images of P attempts as they are to be aligned: the first ones, and then the second ones."""
    one, other = (without_borders(miniatures[ends]) for ends in attempts.pairs.T)
    for turn in range(1, ORIENTATIONS):
        at = attempts.orientation == turn
        other[at] = oriented(other[at], turn)
    return np.concatenate([one, other])


def oriented(images: NDArray[Any], turn: int) -> NDArray[Any]:
    """Images (N, S, S, ...) turned by so many quarters, and mirrored from 4 on."""
    turned: NDArray[Any] = np.rot90(images, turn % 4, axes=(1, 2))
    return turned[:, :, ::-1] if turn >= 4 else turned


def without_borders(miniatures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images (N, S, S, 3) whose borders of one colour are cut off, at the same size; unchanged where there are none.

    Again and again: behind a frame and its edge lies the ground of a drawing.
    """
    out, framed = _without_border(miniatures)
    for _ in range(LAYERS - 1):
        out[framed], again = _without_border(out[framed])
        framed = framed[again]
    return out


def _without_border(miniatures: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], IntArray]:
    """Images without the outermost border of each, and positions of those that had one."""
    side = miniatures.shape[1]
    planes = np.ascontiguousarray(miniatures.transpose(0, 3, 1, 2))
    top, bottom = _border(planes), _border(planes[:, :, ::-1])
    left, right = _border(planes.swapaxes(2, 3)), _border(planes.swapaxes(2, 3)[:, :, ::-1])
    height, width = side - top - bottom, side - left - right
    has_border = (np.minimum(height, width) < side) & (np.minimum(height, width) >= LEAST_CONTENT * side)
    framed, out = has_border.nonzero()[0], miniatures.copy()
    with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):
        for start in range(0, len(framed), BLOCK):
            at = framed[start : start + BLOCK]
            zoom = np.zeros((len(at), 2, 3), np.float32)
            zoom[:, 0, 0], zoom[:, 1, 1] = width[at] / side, height[at] / side
            zoom[:, 0, 2], zoom[:, 1, 2] = (left - right)[at] / side, (top - bottom)[at] / side
            images = torch.from_numpy(miniatures[at].transpose(0, 3, 1, 2)).float()
            grid = affine_grid(torch.from_numpy(zoom), list(images.shape), align_corners=False)
            zoomed = grid_sample(images, grid, padding_mode="border", align_corners=False).round()
            out[at] = zoomed.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    return out, framed


def _border(planes: NDArray[np.uint8]) -> FloatArray:
    """(N,) how many of the first lines of (N, 3, S, S) are of the colour of the first; 0 where all are.

    The next line is border in part, where it lies between that colour and the line after it.
    """
    colour = planes[:, :, :1].mean(3, keepdims=True, dtype=np.float32)
    high, low = planes.max(3, keepdims=True), planes.min(3, keepdims=True)
    same = ((high <= colour + ONE_COLOUR) & (low >= colour - ONE_COLOUR)).all(1)[:, :, 0]
    number = np.where(same.all(1), 0, same.argmin(1))
    framed = ((number > 0) & (number < planes.shape[2] - 1)).nonzero()[0]
    between, after = (planes[framed, :, number[framed] + step].astype(np.float32) for step in (0, 1))
    to_border = colour[framed, :, 0] - after
    part = ((between - after) * to_border).sum((1, 2)) / np.maximum((to_border**2).sum((1, 2)), 1)
    out = number.astype(np.float64)
    out[framed] += part.clip(0, 1)
    return out


def invariant_spectra(miniatures: NDArray[np.uint8]) -> Float32Array:
    """(N, 180) square roots of the magnitudes of the Fourier transform, in grey at 16 x 16, ordered among those that
    quarter turns and mirrors exchange."""
    grey = reduced(miniatures, SIDE).mean(-1, dtype=np.float32)
    magnitude = np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True)))
    u, v = np.tril_indices(SIDE // 2 + 1)
    exchanged = np.stack([magnitude[:, a, b] for a, b in ((u, v), (v, u), (u, -v), (v, -u))], 2)
    return np.asarray(np.sqrt(np.sort(exchanged, 2)).reshape(len(grey), -1), np.float32)


def best_orientation(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[IntArray, Float32Array]:
    """In which orientation the second of each pair (P, 2) is most like the first, shifted as it may be.

    Returns:
        (P,) 0 to 7, and (P,) correlation there, at most 1.
    """
    grey = reduced(miniatures, SIDE).mean(-1, dtype=np.float32)
    grey -= grey.mean((1, 2), keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=(1, 2), keepdims=True), 1e-6)
    best, correlation = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), BLOCK):
        part = slice(start, start + BLOCK)
        one = np.fft.rfft2(grey[pairs[part, 0]])
        for turn in range(ORIENTATIONS):
            other = np.fft.rfft2(oriented(grey[pairs[part, 1]], turn))
            found = np.fft.irfft2(one * other.conj(), s=(SIDE, SIDE)).max((1, 2)).astype(np.float32)
            better = found > correlation[part] + 1e-6
            best[part] = np.where(better, turn, best[part])
            correlation[part] = np.where(better, found, correlation[part])
    return best, correlation
