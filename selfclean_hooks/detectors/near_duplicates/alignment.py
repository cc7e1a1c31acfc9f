"""How far two images differ in their pixels, once one is aligned with the other.

A network is trained to see through what tells a copy from another image of the same thing; the pixels are not. Two
images are compared at 16 x 16 pixels by 1 - their correlation, which ignores brightness and contrast, and once more at
8 x 8, which small displacements do not touch. One may be shifted, turned, zoomed or mirrored; as the best of many
attempts is better by chance, each kind is handicapped by a factor that leaves unrelated images where they are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, pad, unfold

from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

SIDE, WINDOW = 16, 14  # of a miniature, and of its middle that may be moved about
ZOOMS, DEGREES = (0.88, 1.0, 1 / 0.88), (-7.0, 0.0, 7.0)
MOVED, SHIFTED, MIRRORED = 1.5, 2.0, 4.0  # handicaps, measured on photographs, drawings and digits
FLAT = 1e-3  # squared contrast that rounding alone gives
LEAST = 1e-6  # residual of equal images
BLOCK, WIDTH = 128, 24  # images that are compared with so many others each at a time


def aligned_residuals(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[FloatArray, BoolArray]:
    """How far the images of each pair differ in what cannot be aligned.

    Args:
        miniatures: (N, 16, 16, 3).
        pairs: (P, 2) positions.

    Returns:
        (P,) residuals from 1e-6, equal, to 8, about 1 for unrelated images; and (P,) whether one is the mirror image
        of the other. Images without contrast are unlike all others.
    """
    first, second = _by_content(miniatures, pairs)  # which of two is moved must not depend on their order
    with torch.no_grad(), torch.device("cpu"), torch.autocast("cpu", enabled=False):  # whatever is set for training
        plain, mirrored = _residuals(miniatures, first, second)
    return np.minimum(plain, mirrored), mirrored < plain


def _by_content(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[IntArray, IntArray]:
    """Both ends of pairs (P, 2), the darker image first."""
    light = miniatures.reshape(len(miniatures), -1).astype(np.uint32).sum(1)
    swapped = light[pairs[:, 0]] > light[pairs[:, 1]]
    return np.where(swapped, pairs[:, 1], pairs[:, 0]), np.where(swapped, pairs[:, 0], pairs[:, 1])


def _residuals(miniatures: NDArray[np.uint8], moved: IntArray, fixed: IntArray) -> tuple[FloatArray, FloatArray]:
    """(P,) residuals with the image of the one position moved over that of the other: plainly, and mirrored."""
    plain, mirrored = np.empty(len(moved)), np.empty(len(moved))
    order = np.argsort(moved, kind="stable")
    start = np.unique(moved[order], return_index=True)[1]
    place = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
    first = (place % WIDTH == 0).nonzero()[0]  # of each row of at most WIDTH pairs with the same image moved
    for begin in range(0, len(first), BLOCK):
        rows = first[begin : begin + BLOCK]
        end = first[begin + BLOCK] if begin + BLOCK < len(first) else len(order)
        pairs = order[rows[0] : end]
        row, column = np.searchsorted(rows, np.arange(rows[0], end), "right") - 1, place[rows[0] : end] % WIDTH
        others = np.zeros((len(rows), column.max() + 1, *miniatures.shape[1:]), np.uint8)
        others[row, column] = miniatures[fixed[pairs]]
        found = _compare(_pixels(miniatures[moved[order[rows]]]), _pixels(others))
        plain[pairs], mirrored[pairs] = (part.numpy()[row, column] for part in found)
    return plain, mirrored


def _compare(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (B, K) of images (B, 3, 16, 16) moved over K others each (B, K, 3, 16, 16), plainly and mirrored.

    All that an image is compared with is a product of the other's pixels, which need no preparation: what it is
    multiplied by has no mean and stands in the place of the pixels it is compared with.
    """
    small, flipped = avg_pool2d(images, 2), images.flip(3)
    shifts = unfold(images, WINDOW).transpose(1, 2).view(len(images), -1, 3, WINDOW, WINDOW)
    moves = torch.cat([shifts, torch.stack([_middle(each) for each in _turned_and_zoomed(images)], 1)], 1)
    masks = [
        pad(_contrast(moves), [(SIDE - WINDOW) // 2] * 4),
        _contrast(torch.stack([images, flipped], 1)),
        _contrast(torch.stack([small, small.flip(3)], 1)).repeat_interleave(2, 3).repeat_interleave(2, 4) / 4,
    ]
    flat = others.flatten(0, 1)
    lengths = [_length(part).view(others.shape[:2]) for part in (_middle(flat), flat, avg_pool2d(flat, 2))]
    products = torch.bmm(others.flatten(2), torch.cat(masks, 1).flatten(2).transpose(1, 2))
    kinds = [
        part / length[..., None]
        for part, length in zip(torch.split(products, [moves.shape[1], 2, 2], 2), lengths, strict=True)
    ]
    moved, whole, coarse = (1 - kind for kind in kinds)
    n_shifts = shifts.shape[1]
    shifted, turned = SHIFTED * moved[..., :n_shifts].amin(2), MOVED * moved[..., n_shifts:].amin(2)
    fine = torch.minimum(torch.minimum(shifted, turned), whole[..., 0]).clamp(min=LEAST)
    mirrored = (MIRRORED * whole[..., 1]).clamp(min=LEAST)
    coarse = torch.minimum(coarse[..., 0], MIRRORED * coarse[..., 1]).clamp(min=LEAST)
    return (fine * coarse).sqrt(), (mirrored * coarse).sqrt()


def _turned_and_zoomed(images: Tensor) -> list[Tensor]:
    """The images turned and zoomed in every combination but none."""
    moved = []
    for zoom in ZOOMS:
        for degrees in DEGREES:
            if zoom == 1 and degrees == 0:
                continue
            cosine, sine = (zoom * f(math.radians(degrees)) for f in (math.cos, math.sin))
            turn = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=torch.float32)
            grid = affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
            moved.append(grid_sample(images, grid, padding_mode="border", align_corners=False))
    return moved


def _middle(images: Tensor) -> Tensor:
    edge = (SIDE - WINDOW) // 2
    return images[..., edge : edge + WINDOW, edge : edge + WINDOW]


def _contrast(images: Tensor) -> Tensor:
    """(B, A, 3, H, W) without the mean of each channel and of length 1, near 0 where it is flat."""
    values = images - images.mean((-1, -2), keepdim=True)
    return values / (values.square().sum((-1, -2, -3), keepdim=True) + FLAT).sqrt()


def _length(images: Tensor) -> Tensor:
    """(P,) what `_contrast` divides images (P, 3, H, W) by."""
    number = images.shape[-1] * images.shape[-2]
    squares = images.square().sum((-1, -2, -3)) - images.sum((-1, -2)).square().sum(1) / number
    return (squares.clamp_(min=0) + FLAT).sqrt()


def _pixels(miniatures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(miniatures).movedim(-1, -3).to(torch.float32) / 255
