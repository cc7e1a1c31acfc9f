"""How far two images differ in their pixels, once one is aligned with the other.

A network is trained to see through what tells a copy from another image of the same thing; the pixels are not. Two
images are compared at 16 x 16 pixels by 1 - their correlation, which ignores brightness and contrast, and once more at
8 x 8, which small displacements do not touch. One may be shifted, turned, zoomed or mirrored; as the best of many
attempts is better by chance, each kind is handicapped by a factor that leaves unrelated images where they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.near_duplicates.pair_scores import pairs_by_content
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import SharedArray, map_blocks
from selfclean_hooks.utils.torch_settings import on_cpu

SIDE, WINDOW = 16, 14  # of a miniature, and of its middle that may be moved about
SHIFTS = SIDE - WINDOW + 1  # in each direction
ZOOMS, DEGREES = (0.88, 1.0, 1 / 0.88), (-7.0, 0.0, 7.0)
MOVED, SHIFTED, MIRRORED = 1.5, 2.0, 4.0  # handicaps, measured on photographs, drawings and digits
FLAT = 1e-3  # squared contrast that rounding alone gives
LEAST = 1e-6  # residual of equal images
BLOCK, WIDTH = 64, 24  # images that are compared with so many others each at a time
PREPARED = 512  # images whose contrast is measured at a time


def aligned_residuals(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[FloatArray, BoolArray]:
    """How far the images of each pair differ in what cannot be aligned.

    Args:
        miniatures: (N, S, S, 3), S 16 or a multiple.
        pairs: (P, 2) positions.

    Returns:
        (P,) residuals from 1e-6, equal, to 8, about 1 for unrelated images; and (P,) whether one is the mirror image
        of the other. Images without contrast are unlike all others.
    """
    miniatures = reduced(miniatures, SIDE)
    first, second = pairs_by_content(miniatures, pairs)  # which of two is moved must not depend on their order
    plain, mirrored = _residuals(miniatures, first, second)
    return np.minimum(plain, mirrored), mirrored < plain


def _residuals(miniatures: NDArray[np.uint8], moved: IntArray, fixed: IntArray) -> tuple[FloatArray, FloatArray]:
    """(P,) residuals with the image of the one position moved over that of the other: plainly, and mirrored."""
    order = np.argsort(moved, kind="stable")
    start = np.unique(moved[order], return_index=True)[1]
    place = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
    first = (place % WIDTH == 0).nonzero()[0]  # of each row of at most WIDTH pairs with the same image moved
    images = SharedArray(np.ascontiguousarray(miniatures.transpose(0, 3, 1, 2)))
    used, number = np.unique(fixed, return_inverse=True)
    parts = [used[begin : begin + PREPARED] for begin in range(0, len(used), PREPARED)]
    contrasts = [np.empty((0, 3), np.float32), *map_blocks(_Contrasts(images).of, parts)]
    work = _Comparisons(images, moved[order], number[order], place % WIDTH, first, used, np.concatenate(contrasts))
    found = np.empty((2, len(order)))
    if len(order):
        found[:, order] = np.concatenate(map_blocks(work.of, range(0, len(first), BLOCK)), 1)
    return found[0], found[1]


@contextmanager
def _as_usual() -> Iterator[None]:
    """Within the block torch computes as it does by itself, whatever is set for training."""
    with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):
        yield


@dataclass(frozen=True, eq=False)
class _Contrasts:
    """Of images (N, 3, 16, 16)."""

    images: SharedArray

    def of(self, used: IntArray) -> Float32Array:
        """(P, 3) contrasts of those at P positions: of the middle, of the whole, and at 8 x 8."""
        with _as_usual():
            pixels = _pixels(self.images.values[used])
            small = avg_pool2d(pixels, 2)
            found = torch.stack([_centre(_middle(pixels).clone()), _centre(pixels), _centre(small)], 1)
        return np.asarray(found.numpy())


@dataclass(frozen=True, eq=False)
class _Comparisons:
    """P pairs in the order of the image that is moved, in rows of at most WIDTH."""

    images: SharedArray  # (N, 3, 16, 16)
    moved: IntArray  # (P,)
    others: IntArray  # (P,) places in `used`
    column: IntArray  # (P,) place in the row
    first: IntArray  # of each row
    used: IntArray  # (U,) images that others are moved over
    contrasts: Float32Array  # (U, 3) of these

    def of(self, begin: int) -> Float32Array:
        """(2, n) residuals of the pairs of some rows, plainly and mirrored."""
        rows, after = self.first[begin : begin + BLOCK], self.first[begin + BLOCK : begin + BLOCK + 1]
        part = slice(int(rows[0]), int(after[0]) if len(after) else len(self.moved))
        row, column = np.searchsorted(rows, np.arange(part.start, part.stop), "right") - 1, self.column[part]
        others = np.zeros((len(rows), column.max() + 1), np.int64)
        others[row, column] = self.others[part]
        one, with_others = (_pixels(self.images.values[at]) for at in (self.moved[rows], self.used[others]))
        with _as_usual():
            found = _compare(one, with_others, torch.from_numpy(self.contrasts[others]))
        return np.stack([each.numpy()[row, column] for each in found])


def _compare(images: Tensor, others: Tensor, contrasts: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (B, K) of images (B, 3, 16, 16) moved over K others each (B, K, 3, 16, 16), plainly and mirrored.

    All that an image is compared with is a product of the other's pixels, which need no preparation: what it is
    multiplied by has no mean and stands in the place of the pixels it is compared with. `contrasts` (B, K, 3) of the
    others is measured once an image, not once a pair.
    """
    turned = _turned_and_zoomed(images)
    n_shifts, n_moves = SHIFTS**2, SHIFTS**2 + turned.shape[1]
    masks = images.new_zeros(len(images), n_moves + 4, *images.shape[1:])  # moves, whole and half the size, mirrored
    moves, whole, small = _middle(masks[:, :n_moves]), masks[:, n_moves:-2], avg_pool2d(images, 2)
    moves[:, :n_shifts] = images.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1).movedim(1, 3).flatten(1, 2)
    moves[:, n_shifts:] = turned
    whole[:] = torch.stack([images, images.flip(3)], 1)
    halves = torch.stack([small, small.flip(3)], 1)
    own = torch.cat([_centre(moves), _centre(whole), _centre(halves)], 1)
    masks[:, -2:] = halves.repeat_interleave(2, 3).repeat_interleave(2, 4) / 4
    products = torch.bmm(others.flatten(2), masks.flatten(2).transpose(1, 2)) / own[:, None]
    kinds = torch.split(products, [n_moves, 2, 2], 2)
    moved, plain, coarse = (1 - part / contrasts[..., [kind]] for kind, part in enumerate(kinds))
    shifted, zoomed = SHIFTED * moved[..., :n_shifts].amin(2), MOVED * moved[..., n_shifts:].amin(2)
    fine = torch.minimum(torch.minimum(shifted, zoomed), plain[..., 0]).clamp(min=LEAST)
    mirrored = (MIRRORED * plain[..., 1]).clamp(min=LEAST)
    coarse = torch.minimum(coarse[..., 0], MIRRORED * coarse[..., 1]).clamp(min=LEAST)
    return (fine * coarse).sqrt(), (mirrored * coarse).sqrt()


def _turned_and_zoomed(images: Tensor) -> Tensor:
    """(B, 8, 3, 14, 14) middles of the images turned and zoomed in every combination but none."""
    turns = []
    for zoom in ZOOMS:
        for degrees in DEGREES:
            if zoom == 1 and degrees == 0:
                continue
            cosine, sine = (zoom * f(math.radians(degrees)) for f in (math.cos, math.sin))
            turns.append([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
    turn = torch.tensor(turns, dtype=torch.float32)
    grid = _middle(affine_grid(turn, [len(turns), 1, SIDE, SIDE], align_corners=False).movedim(-1, 0)).movedim(0, -1)
    channels = images.view(1, -1, SIDE, SIDE)  # all are moved alike: one grid, below each other
    moved = grid_sample(channels, grid.reshape(1, -1, WINDOW, 2), padding_mode="border", align_corners=False)
    return moved.view(*images.shape[:2], len(turns), WINDOW, WINDOW).transpose(1, 2)


def _middle(images: Tensor) -> Tensor:
    edge = (SIDE - WINDOW) // 2
    return images[..., edge : edge + WINDOW, edge : edge + WINDOW]


def _centre(images: Tensor) -> Tensor:
    """Contrasts (...) of images (..., 3, H, W), which lose the mean of each channel: their length without it."""
    images -= images.mean((-1, -2), keepdim=True)
    lengths: Tensor = torch.linalg.vector_norm(images, dim=(-1, -2, -3))
    return (lengths.square() + FLAT).sqrt()


def _pixels(miniatures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(miniatures).to(torch.float32).div_(255)
