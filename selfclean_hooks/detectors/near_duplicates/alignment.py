"""By how many pixels two images disagree once one is aligned with the other: less than one everywhere if it is a copy.

A correlation says how much two images differ, not in what: edges that are all half a pixel off weigh as much as a mouth
that smiles in one of them. Here one image is aligned with the other by an affine map (shift, zoom, turn, crop of a
side), from coarse to fine (inverse compositional Gauss-Newton; Baker & Matthews, "Lucas-Kanade 20 years on", 2004).
What is left is divided by the gradient there: how far a pixel would still have to move to explain it. The largest such
displacement is that of the pair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from selfclean_hooks.detectors.near_duplicates.pair_scores import pairs_by_content
from selfclean_hooks.detectors.near_duplicates.shades import in_grey, in_grey_alone
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import SharedArray, map_blocks
from selfclean_hooks.utils.torch_settings import on_cpu

COARSEST = 8  # side of the images that are aligned first
STEPS = {8: 5, 16: 3, 32: 3}  # of Gauss and Newton, by side
LARGEST = 0.3  # change of any entry of the map
LEAST_OVERLAP = 0.6  # of either image, that it shares with the other
NOISE = 0.074  # difference over all channels, in [0, 1], that passes for a pixel where there is no gradient
LEAST_STRUCTURE = 0.06  # of an image's pixels with a gradient: with less, any two could be aligned
BRIGHTEST = 0.98  # beyond it a brighter copy is cut off: how much brighter it would be is not known
LEAST_WITHIN_RANGE = 0.1  # of an image
HOPELESS = 1.0  # pixels at half the side, from which on the full side is not tried
BLOCK = 256  # pairs at a time


def displacements(miniatures: NDArray[np.uint8], pairs: IntArray) -> tuple[FloatArray, FloatArray]:
    """The largest displacement that is left between the images of each pair once they are aligned, and their motion.

    Args:
        miniatures: (N, S, S, 3), S a power of 2 from 16. Where one of two is grey, both are compared in grey.
        pairs: (P, 2) positions.

    Returns:
        (P,) in pixels of the miniatures, from 0; inf where it is large, or where an image is all but empty. Light and
        contrast do not count. And (P,) how far a place was moved for it, as a share of half the side; 0 where it is
        inf. Both are the same for a pair in either order.
    """
    grey = in_grey_alone(miniatures, pairs)
    blocks = [(pairs[start : start + BLOCK], grey[start : start + BLOCK]) for start in range(0, len(pairs), BLOCK)]
    found = np.concatenate([np.empty((0, 2)), *map_blocks(_Displacements(SharedArray(miniatures)).of, blocks)])
    return found[:, 0], found[:, 1]


@dataclass(frozen=True, eq=False)
class _Displacements:
    """Between images in miniature."""

    images: SharedArray

    def of(self, block: tuple[IntArray, BoolArray]) -> Float32Array:
        """(P, 2) of few pairs, and of whether they are compared in grey, whatever is set for training."""
        with torch.no_grad(), on_cpu(), torch.autocast("cpu", enabled=False):
            return np.asarray(_displacements(self.images.values, *block).numpy())


def _displacements(miniatures: NDArray[np.uint8], pairs: IntArray, grey: BoolArray) -> Tensor:
    """(P, 2) of few pairs: those of either image moved; the second is tried where the first comes near."""
    both = [miniatures[ends] for ends in pairs_by_content(miniatures, pairs)]
    for images in both:
        images[grey] = in_grey(images[grey])
    one, other = map(_images, both)
    found = _displacement(one, other)
    near = found[:, 0].isfinite()
    back = _displacement(other[near], one[near])
    found[near] = torch.where(back[:, :1] < found[near, :1], back, found[near])
    return found


def _images(miniatures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(miniatures.transpose(0, 3, 1, 2))).float() / 255


def _displacement(moved: Tensor, fixed: Tensor) -> Tensor:
    """(B, 2) displacements with the images of one tensor (B, 3, S, S) moved over those of the other, and motions."""
    found = torch.tensor([torch.inf, 0.0], dtype=moved.dtype).repeat(len(moved), 1)
    maps = torch.eye(2, 3, dtype=moved.dtype).repeat(len(moved), 1, 1)
    rows = torch.arange(len(moved))
    side = COARSEST
    while len(rows):
        small, target = (_shrunk(part[rows], side) for part in (moved, fixed))
        maps = _aligned(small, target, maps, STEPS.get(side, 3), side == moved.shape[-1])
        if side == moved.shape[-1]:
            motion = (maps - torch.eye(2, 3, dtype=maps.dtype)).abs().flatten(1).amax(1)
            found[rows] = torch.stack([_mismatch(small, target, maps), motion], 1)
            break
        if 2 * side == moved.shape[-1] and side > COARSEST:
            close = _mismatch(small, target, maps) < HOPELESS
            rows, maps = rows[close], maps[close]
        side *= 2
    return found


def _aligned(moved: Tensor, fixed: Tensor, maps: Tensor, steps: int, is_last: bool) -> Tensor:
    """Maps (B, 2, 3), from places in the one to places in the other in [-1, 1], after some steps towards agreement.

    At last only what both share is compared: what the one lost by a shift has a part in the other's light and contrast.
    Before, with maps that are far off, that leads astray.
    """
    side, batch = fixed.shape[-1], len(fixed)
    target = _normalized(fixed, torch.ones_like(fixed[:, :1]))
    gradients, places = _gradients(target), _places(side, fixed.dtype)
    products = (places[:, :, None] * places[:, None]).flatten(1) * (side / 2) ** 2
    both = [(gradients[one] * gradients[other]).sum(1).flatten(1) @ products for one, other in ((0, 0), (0, 1), (1, 1))]
    across, mixed, down = (part.view(batch, 3, 3) for part in both)
    curvature = torch.cat([torch.cat([across, mixed], 2), torch.cat([mixed, down], 2)], 1)
    scale = curvature.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    curvature = curvature + (1e-3 * scale + 1e-3) * torch.eye(6, dtype=fixed.dtype)
    last = torch.tensor([0.0, 0.0, 1.0], dtype=fixed.dtype).expand(batch, 1, 3)
    none = torch.eye(2, 3, dtype=fixed.dtype)
    for _ in range(steps):
        laid, inside = _moved_over(moved, maps)
        expected = _normalized(fixed, inside) if is_last else target
        left = _normalized(laid, inside).sub_(expected).mul_(inside)
        slope = torch.stack([(gradient * left).sum(1).flatten(1) for gradient in gradients], 1) @ places * (side / 2)
        step = torch.linalg.solve(curvature, slope.view(batch, 6, 1)).view(batch, 2, 3)
        back = torch.linalg.inv(torch.cat([none + step, last], 1))
        maps = none + ((torch.cat([maps, last], 1) @ back)[:, :2] - none).clamp(-LARGEST, LARGEST)
    return maps


def _mismatch(moved: Tensor, fixed: Tensor, maps: Tensor) -> Tensor:
    """(B,) the largest displacement within what the maps lay over each other."""
    laid, inside = _moved_over(moved, maps)
    weight = _within_range(laid, fixed, inside)
    weight = weight / weight.sum((-1, -2), keepdim=True).clamp(min=1e-6)
    centred, target = (part - _sums(part, weight, (-1, -2)) for part in (laid, fixed))
    own, both = (_sums(centred * part, weight, (1, 2, 3)) for part in (centred, target))
    centred *= both / (own + 1e-6)
    left = centred - target
    is_open = ((fixed > BRIGHTEST) & (left > 0)) | ((laid > BRIGHTEST) & (left < 0))
    left = _blurred(left.masked_fill_(is_open, 0).mul_(inside))  # resampling blurs the one
    blurred = (_blurred(part.mul_(inside)) for part in (centred, target))
    steepness = torch.stack([sum(g.square_().sum(1) for g in _gradients(part)) for part in blurred])  # type: ignore[misc]
    near = _around(steepness.amax(0), torch.maximum)
    apart = (left.square().sum(1) / (near + NOISE**2)).sqrt() * inside[:, 0]
    is_empty = (steepness > NOISE**2).float().mean((-1, -2)).amin(0) < LEAST_STRUCTURE
    shared = inside.mean((1, 2, 3)) * torch.linalg.det(maps[:, :, :2]).abs().clamp(max=1)
    return apart.flatten(1).amax(1).masked_fill(is_empty | (shared < LEAST_OVERLAP), torch.inf)


def _within_range(laid: Tensor, fixed: Tensor, inside: Tensor) -> Tensor:
    """(B, 3, S, S) 1 where light and contrast can be compared: inside, and as bright as can be in neither image."""
    both = inside * (torch.maximum(laid, fixed) < BRIGHTEST)
    enough = both.mean((1, 2, 3), keepdim=True) > LEAST_WITHIN_RANGE
    return torch.where(enough, both, inside.expand_as(both))


def _moved_over(moved: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) as the maps move them, and (B, 1, S, S) 1 where they cover the others, else 0."""
    side = moved.shape[-1]
    grid = (maps @ _places(side, maps.dtype).T).view(-1, 2, side, side)
    inside = (grid.abs().amax(1, keepdim=True) <= 1 - 1 / side).to(maps.dtype)
    return grid_sample(moved, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False), inside


def _places(side: int, dtype: torch.dtype) -> Tensor:
    """(S * S, 3) x and y of the pixels in [-1, 1], and 1."""
    x = (torch.arange(side, dtype=dtype) + 0.5) / side * 2 - 1
    return torch.stack([x.repeat(side), x.repeat_interleave(side), torch.ones(side * side, dtype=dtype)], 1)


# torch's pooling takes several times as long as sums and maxima of shifted images
def _shrunk(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, S, S) to that side, a power of 2."""
    while images.shape[-1] > side:
        rows = images[..., ::2, :] + images[..., 1::2, :]
        images = (rows[..., ::2] + rows[..., 1::2]) / 4
    return images


def _blurred(images: Tensor) -> Tensor:
    """The mean of the 3 x 3 pixels around each, of which those beyond the edge are 0."""
    return _around(images, torch.add).div_(9)


def _around(images: Tensor, joined: Callable[..., Tensor]) -> Tensor:
    """What the 3 x 3 pixels around each come to, of which those beyond the edge are 0."""
    padded = pad(images, (1, 1, 1, 1))
    rows = joined(padded[..., :-2], padded[..., 1:-1])
    joined(rows, padded[..., 2:], out=rows)
    found = joined(rows[..., :-2, :], rows[..., 1:-1, :])
    return joined(found, rows[..., 2:, :], out=found)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Differences a pixel across and down, each (B, 3, S, S); at an edge those to the pixel within."""
    across, down = torch.empty_like(images), torch.empty_like(images)
    for part, along in ((across, images), (down.mT, images.mT)):
        torch.sub(along[..., 2:], along[..., :-2], out=part[..., 1:-1])
        torch.sub(along[..., 1], along[..., 0], out=part[..., 0])
        torch.sub(along[..., -1], along[..., -2], out=part[..., -1])
    return across.div_(2), down.div_(2)


def _normalized(images: Tensor, inside: Tensor) -> Tensor:
    """Images (B, 3, S, S) of mean 0 in each channel and of contrast 1 in all, as far as they are inside."""
    weight = inside / inside.sum((-1, -2), keepdim=True).clamp(min=1)
    images = images - _sums(images, weight, (-1, -2))
    return images.div_((_sums(images * images, weight, (1, 2, 3)) + 1e-6).sqrt_())


def _sums(values: Tensor, weight: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Weighted sums over some dimensions, which stay."""
    return (values * weight).sum(dims, keepdim=True)
