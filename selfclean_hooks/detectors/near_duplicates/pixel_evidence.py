"""How far two images differ in their pixels, once one is aligned with the other.

A network is trained to see through what tells a copy from another image of the same thing; the pixels are not. Two
images are compared at 16 x 16 pixels by 1 - their correlation, which ignores brightness and contrast, and once more at
8 x 8, which small displacements do not touch. One may be shifted, turned, zoomed or mirrored; as the best of many
attempts is better by chance, each kind is handicapped by a factor that leaves unrelated images where they are.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample

from selfclean_hooks.detectors.image_view import reduced
from selfclean_hooks.detectors.near_duplicates.certain_copies import certainty
from selfclean_hooks.detectors.near_duplicates.pair_scores import listed_pairs, pair_scale, pairs_by_content
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray
from selfclean_hooks.utils.torch_settings import on_cpu

SIDE, WINDOW = 16, 14  # of a miniature, and of its middle that may be moved about
SHIFTS = SIDE - WINDOW + 1  # in each direction
ZOOMS, DEGREES = (0.88, 1.0, 1 / 0.88), (-7.0, 0.0, 7.0)
MOVED, SHIFTED, MIRRORED = 1.5, 2.0, 4.0  # handicaps, measured on photographs, drawings and digits
FLAT = 1e-3  # squared contrast that rounding alone gives
LEAST = 1e-6  # residual of equal images
BLOCK, WIDTH = 64, 24  # images that are compared with so many others each at a time
PREPARED = 512  # images whose contrast is measured at a time
SCALE_RANK = 12  # the neighbour by its residual that is an ordinary one, in pixels
LOCAL_SHARE = 0.25  # of the local scale, the rest is the data set's: what is local shows in the pixels
ALIKE = 0.35  # likeness up to which pixels agree that two are copies,
SAME = 0.1  # and up to which they are, whatever the network says: re-encoded ones are at .02 to .06
UNRELATED = 2000  # pairs that are sampled for it. Their median may be that of copies where one image is most of the
ABOVE_MEDIAN = 1.4  # data; their 90% quantile is not, and so many medians in all sets of images


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
    with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):  # whatever is set for training
        plain, mirrored = _residuals(miniatures, first, second)
    return np.minimum(plain, mirrored), mirrored < plain


def _residuals(miniatures: NDArray[np.uint8], moved: IntArray, fixed: IntArray) -> tuple[FloatArray, FloatArray]:
    """(P,) residuals with the image of the one position moved over that of the other: plainly, and mirrored."""
    plain, mirrored = np.empty(len(moved)), np.empty(len(moved))
    order = np.argsort(moved, kind="stable")
    start = np.unique(moved[order], return_index=True)[1]
    place = np.arange(len(order)) - np.repeat(start, np.diff(np.append(start, len(order))))
    first = (place % WIDTH == 0).nonzero()[0]  # of each row of at most WIDTH pairs with the same image moved
    images = torch.from_numpy(np.ascontiguousarray(miniatures.transpose(0, 3, 1, 2)))
    used, number = np.unique(fixed, return_inverse=True)
    contrasts = _contrasts(images, used)
    for begin in range(0, len(first), BLOCK):
        rows = first[begin : begin + BLOCK]
        end = first[begin + BLOCK] if begin + BLOCK < len(first) else len(order)
        pairs = order[rows[0] : end]
        row, column = np.searchsorted(rows, np.arange(rows[0], end), "right") - 1, place[rows[0] : end] % WIDTH
        others = np.zeros((len(rows), column.max() + 1), np.int64)
        others[row, column] = number[pairs]
        found = _compare(_pixels(images[moved[order[rows]]]), _pixels(images[used[others]]), contrasts[others])
        plain[pairs], mirrored[pairs] = (part.numpy()[row, column] for part in found)
    return plain, mirrored


def _contrasts(images: Tensor, used: IntArray) -> Tensor:
    """(P, 3) contrasts of the images (N, 3, 16, 16) at P positions: of the middle, of the whole, and at 8 x 8."""
    found = []
    for begin in range(0, len(used), PREPARED):
        pixels = _pixels(images[used[begin : begin + PREPARED]])
        small = avg_pool2d(pixels, 2)
        found.append(torch.stack([_centre(_middle(pixels).clone()), _centre(pixels), _centre(small)], 1))
    return torch.cat(found) if found else torch.empty(0, 3)


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


def _pixels(miniatures: Tensor) -> Tensor:
    return miniatures.to(torch.float32) / 255


class PixelEvidence:
    """The images of N samples in miniature, what pairs of them differ in, and how much ordinary neighbours do.

    Attributes:
        scale: (N,) residual of ordinary neighbours.
        copies: (C,) keys of the pairs that are certain copies, ascending.
    """

    def __init__(self, miniatures: NDArray[np.uint8]) -> None:
        """See `aligned_residuals`."""
        self.miniatures, self.scale = miniatures, np.ones(len(miniatures))
        self._small = reduced(miniatures, SIDE)
        self.copies, self._certainty = np.empty(0, np.int64), np.empty(0)  # keys of pairs, ascending
        self._known, self._residual = np.empty(0, np.int64), np.empty(0)
        self._mirrored = np.empty(0, bool)

    def residuals(self, pairs: IntArray) -> tuple[FloatArray, BoolArray]:
        """`aligned_residuals` of pairs (P, 2); each pair is compared once."""
        n, key = len(self.miniatures), self._key(pairs)
        new = np.setdiff1d(key, self._known)
        if len(new):
            residual, mirrored = aligned_residuals(self._small, np.stack([new // n, new % n], 1))
            order = np.argsort(known := np.append(self._known, new), kind="stable")
            self._known, self._residual = known[order], np.append(self._residual, residual)[order]
            self._mirrored = np.append(self._mirrored, mirrored)[order]
        at = np.searchsorted(self._known, key)
        return self._residual[at], self._mirrored[at]

    def _key(self, pairs: IntArray) -> IntArray:
        return np.asarray(pairs.min(1) * len(self.miniatures) + pairs.max(1))

    def find_copies(self, pairs: IntArray, originals: IntArray, near: IntArray, group: IntArray) -> None:
        """Find which of the pairs (P, 2), each of them once, are certain copies; see `certainty`."""
        residual, mirrored = self.residuals(pairs)
        found = certainty(self.miniatures, pairs, np.where(mirrored, np.inf, residual), originals, near, group)
        key, certain = self._key(pairs), np.isfinite(found)
        order = np.argsort(key[certain])
        self.copies, self._certainty = key[certain][order], found[certain][order]

    def with_copies(self, score: NDArray[np.floating], pairs: IntArray, least: float, most: float) -> FloatArray:
        """The scores (P,) of pairs (P, 2), of certain copies at most from `least` to `most`, the least certain one."""
        found, key = np.array(score, np.float64), self._key(pairs)
        at = np.isin(key, self.copies).nonzero()[0]
        certainty = self._certainty[np.searchsorted(self.copies, key[at])]
        found[at] = np.minimum(found[at], least + (most - least) * certainty)
        return found

    def measure_scale(self, originals: IntArray, near: IntArray, group: IntArray) -> None:
        """Set the scale to what is seen among the nearest neighbours that are no copies.

        Args:
            originals: (G,) positions, ascending.
            near: (G, k) positions of the nearest neighbours of each in the network.
            group: (N,) the original that stands for each sample.
        """
        if near.shape[1]:
            residual = np.sort(self.residuals(listed_pairs(originals, near))[0].reshape(near.shape), 1)
            self.scale = residual[np.searchsorted(originals, group), min(SCALE_RANK, near.shape[1]) - 1]

    def likeness(self, pairs: IntArray) -> FloatArray:
        """(P,) how far the images of each pair (P, 2) are from the same: 0 if they are, about 1 if unrelated."""
        return np.sqrt(self.residuals(pairs)[0] / self._unrelated)

    @cached_property
    def _unrelated(self) -> float:
        draw = np.random.default_rng(0).integers(len(self.miniatures), size=(UNRELATED, 2))
        return float(np.quantile(self.residuals(draw[draw[:, 0] != draw[:, 1]])[0], 0.9)) / ABOVE_MEDIAN

    def combine(self, score: NDArray[np.floating], pairs: IntArray) -> tuple[FloatArray, BoolArray]:
        """The scores (P,) of pairs (P, 2) with the pixels as well, and whether one is the mirror image of the other.

        The distance over the local scale is the geometric mean of those in the network and in the pixels. Where these
        are the same it is what little they differ in, if that is less.
        """
        residual, mirrored = self.residuals(pairs)
        combined, likeness = combined_score(score, residual, pair_scale(self.scale, pairs)), self.likeness(pairs)
        same = np.where(likeness <= SAME, likeness / (1 + likeness), np.inf)
        return np.minimum(combined, same), mirrored & (score > 0)


def combined_score(score: NDArray[np.floating], residual: FloatArray, scale: FloatArray) -> FloatArray:
    """(P,) scores in [0, 1] of the network's (P,) and residuals (P,) with those of ordinary neighbours (P,)."""
    s = np.asarray(score, np.float64)
    ratio = np.sqrt(s / np.maximum(1 - s, 1e-12) * np.sqrt(residual / scale))
    return np.asarray(ratio / (1 + ratio))


def blended_scale(scale: FloatArray, originals: IntArray) -> FloatArray:
    """(N,) local scales drawn towards their median, that of one sample a group."""
    return np.asarray(scale**LOCAL_SHARE * np.median(scale[originals]) ** (1 - LOCAL_SHARE))
