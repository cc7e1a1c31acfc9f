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
from selfclean_hooks.detectors.near_duplicates.shades import tones
from selfclean_hooks.detectors.near_duplicates.spectra import SIDE, alike_by
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.torch_settings import on_cpu

ORIENTATIONS = 8  # quarter turns, and those of the mirror image
ONE_COLOUR = 10  # levels of a channel between the pixels of a border, and to its outermost line
LAYERS = 3  # borders around each other
LEAST_CONTENT = 0.5  # of the side: what is framed by more is left as it is
LEAST_CORRELATION = 0.85  # of the images at 16 x 16, shifted against each other
LEAST_TONES = 4.0  # bits; 98% of photographs have more, arrows, hands, signs and letters less: a turned one is another
TRIED = 2  # pairs a sample that are aligned, at most
BLOCK = 1024  # images or pairs at a time


class Attempts(NamedTuple):
    """Pairs that may show the same, and how."""

    pairs: IntArray  # (P, 2) positions
    orientation: IntArray  # (P,) of the second, 0 to 7, in which it is like the first
    layers: IntArray  # (P, 2) borders that are taken off either, at most


def turned_pairs(miniatures: NDArray[np.uint8], among: int | None = None, labels: IntArray | None = None) -> Attempts:
    """Pairs whose images may be the same but for a frame, a quarter turn or a mirror; one may be there in several ways.

    Args:
        miniatures: (N, S, S, 3), S 16 or a multiple.
        among: the images from this position on are compared with those before it; by default all with all.
        labels: (N,) class codes, -1: none. An image of another class that is turned is another one: 6 and 9.
    """
    every, boxes = np.arange(len(miniatures)), borders(miniatures)
    own, others = (every, every) if among is None else (every[among:], every[:among])
    framed = boxes[1].any(1)
    bare, once = (without_borders(miniatures, layers, boxes) for layers in (LAYERS, 1))
    tried = [_tried((bare, own), (bare, others), (LAYERS, LAYERS))]
    for one, other in ((own, others), (others, own))[: 1 if among is None else 2]:  # a frame is around one of them
        tried.append(_tried((once, one[framed[one]]), (miniatures, other), (1, 0)))
    pairs, orientation, layers = (np.concatenate(parts) for parts in zip(*[found for found, _ in tried], strict=True))
    correlation = np.concatenate([correlation for _, correlation in tried])
    likely = (correlation >= LEAST_CORRELATION) & np.where(
        orientation > 0, _may_be_turned(miniatures, pairs, labels), framed[pairs].any(1)
    )
    order = np.argsort(-np.where(likely, correlation, -1), kind="stable")[: min(TRIED * len(miniatures), likely.sum())]
    return Attempts(pairs[order], orientation[order], layers[order])


def _tried(
    one: tuple[NDArray[np.uint8], IntArray], other: tuple[NDArray[np.uint8], IntArray], layers: tuple[int, int]
) -> tuple[Attempts, Float32Array]:
    """Pairs of an image and of the one most like it among others, turned as they may be, and how far they correlate.

    Args:
        one: images (N, S, S, 3), and positions of those that are compared.
        other: images that these are compared with, and positions.
        layers: borders that were taken off the ones and the others.
    """
    (images, rows), (others, columns) = one, other
    alone = rows is columns and images is others
    found = alike_by(invariant_spectra, images[rows], None if alone else others[columns], 1 if alone else 2)
    pairs = np.stack([rows[found[:, 0]], columns[found[:, 1]]], 1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0) if alone else pairs[pairs[:, 0] != pairs[:, 1]]
    both = np.concatenate([images[pairs[:, 0]], others[pairs[:, 1]]])
    orientation, correlation = best_orientation(both, np.arange(len(both)).reshape(2, -1).T)
    return Attempts(pairs, orientation, np.broadcast_to(layers, pairs.shape)), correlation


def _may_be_turned(miniatures: NDArray[np.uint8], pairs: IntArray, labels: IntArray | None) -> BoolArray:
    """(P,) whether the images of a pair, turned, are copies: of one class, and no drawing, whose place is its sense."""
    ends, at = np.unique(pairs, return_inverse=True)
    may_be = (tones(miniatures[ends]) >= LEAST_TONES)[at.reshape(-1, 2)].all(1)
    if labels is not None:
        one, other = labels[pairs].T
        may_be &= (one == other) | (one < 0) | (other < 0)
    return np.asarray(may_be)


def shown(miniatures: NDArray[np.uint8], attempts: Attempts) -> NDArray[np.uint8]:
    """(2 P, S, S, 3) images of P attempts as they are to be aligned: the first ones, and then the second ones."""
    ends = zip(attempts.pairs.T, attempts.layers.T, strict=True)
    one, other = (without_borders(miniatures[at], layers) for at, layers in ends)
    for turn in range(1, ORIENTATIONS):
        at = attempts.orientation == turn
        other[at] = oriented(other[at], turn)
    return np.concatenate([one, other])


def oriented(images: NDArray[Any], turn: int) -> NDArray[Any]:
    """Images (N, S, S, ...) turned by so many quarters, and mirrored from 4 on."""
    turned: NDArray[Any] = np.rot90(images, turn % 4, axes=(1, 2))
    return turned[:, :, ::-1] if turn >= 4 else turned


def without_borders(
    miniatures: NDArray[np.uint8], layers: int | IntArray = LAYERS, boxes: FloatArray | None = None
) -> NDArray[np.uint8]:
    """Images whose borders of one colour are taken off, at the same size; unchanged where there are none.

    Args:
        miniatures: (N, S, S, 3).
        layers: borders at most, of all or (N,) of each.
        boxes: their `borders`, if known.
    """
    side = miniatures.shape[1]
    box = (borders(miniatures) if boxes is None else boxes)[layers, np.arange(len(miniatures))]
    framed = box.any(1).nonzero()[0]
    out: NDArray[np.uint8] = miniatures.copy()
    with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):
        for start in range(0, len(framed), BLOCK):
            at = framed[start : start + BLOCK]
            top, bottom, left, right = box[at].T
            zoom = np.zeros((len(at), 2, 3), np.float32)
            zoom[:, 0, 0], zoom[:, 1, 1] = (side - left - right) / side, (side - top - bottom) / side
            zoom[:, 0, 2], zoom[:, 1, 2] = (left - right) / side, (top - bottom) / side
            images = torch.from_numpy(miniatures[at].transpose(0, 3, 1, 2)).float()
            grid = affine_grid(torch.from_numpy(zoom), list(images.shape), align_corners=False)
            zoomed = grid_sample(images, grid, padding_mode="border", align_corners=False).round()
            out[at] = zoomed.permute(0, 2, 3, 1).to(torch.uint8).numpy()
    return out


def borders(miniatures: NDArray[np.uint8]) -> FloatArray:
    """(4, N, 4) lines of images (N, S, S, 3) that are border above, below, on the left and on the right.

    Of up to 0, 1, 2 and 3 borders, one behind the other: behind a frame lies the ground of a drawing.
    """
    planes = np.ascontiguousarray(miniatures.transpose(0, 3, 1, 2))
    boxes, going = np.zeros((LAYERS + 1, len(planes), 4)), np.arange(len(planes))
    for layer in range(LAYERS):
        boxes[layer + 1], before = boxes[layer], boxes[layer, going]
        begin = np.ceil(before).astype(np.int64)  # behind the line that is border in part
        new = before.copy()
        for edge, turned in enumerate(_from_each_edge(planes[going])):
            beside = begin[:, [2, 3] if edge < 2 else [0, 1]]
            lines = _border(turned, begin[:, edge], begin[:, edge ^ 1], beside)
            new[:, edge] = np.where(lines > 0, begin[:, edge] + lines, before[:, edge])
        content, of = (planes.shape[2] - (each[:, ::2] + each[:, 1::2]) for each in (new, before))
        is_framed = (new != before).any(1) & (content >= LEAST_CONTENT * of).all(1)
        going = going[is_framed]
        boxes[layer + 1, going] = new[is_framed]
    return boxes


def _from_each_edge(planes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Images (N, 3, S, S) with the lines from above, from below, from the left and from the right."""
    across = planes.swapaxes(2, 3)
    return planes, planes[:, :, ::-1], across, across[:, :, ::-1]


def _border(planes: NDArray[np.uint8], begin: IntArray, after: IntArray, beside: IntArray) -> FloatArray:
    """(N,) how many lines of (N, 3, S, S) are of the colour of the first of them; 0 where all are.

    The next line is border in part, where it lies between that colour and the line after it.

    Args:
        planes: images.
        begin: (N,) the first line.
        after: (N,) lines at the other end that are no part of it.
        beside: (N, 2) pixels at either end of each line that are no part of it.
    """
    side = planes.shape[2]
    place, available = np.arange(side), side - begin - after
    lines = np.minimum(begin[:, None] + place, side - 1)
    planes = np.take_along_axis(planes, lines[:, None, :, None], 2)
    counts = ((place >= beside[:, :1]) & (place < side - beside[:, 1:]))[:, None, None]
    first = planes[:, :, :1].astype(np.float32)
    colour = (first * counts).sum(3, keepdims=True) / np.maximum(counts.sum(3, keepdims=True), 1)
    high, low = np.where(counts, planes, 0).max(3), np.where(counts, planes, 255).min(3)
    same = ((high <= colour[..., 0] + ONE_COLOUR) & (low >= colour[..., 0] - ONE_COLOUR)).all(1)
    number = np.where(same.all(1), side, same.argmin(1))
    number = np.where(number < available, number, 0)
    out = number.astype(np.float64)
    framed = ((number > 0) & (number < available - 1)).nonzero()[0]
    between, beyond = (planes[framed, :, number[framed] + step].astype(np.float32) for step in (0, 1))
    to_border = (colour[framed, :, 0] - beyond) * counts[framed, 0]
    part = ((between - beyond) * to_border).sum((1, 2)) / np.maximum((to_border**2).sum((1, 2)), 1)
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
