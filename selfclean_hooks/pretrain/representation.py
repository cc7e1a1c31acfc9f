"""What an audit sees of a trained encoder: learned features beside two that need no training.

No training shows all three issues. Learned features bring together what is of one class, which shows wrong labels; they
forget what tells the odd one out. Orientations of edges and a thumbnail show that, and near copies.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, nn

from selfclean_hooks.pretrain.networks import Network

# weight of each part's cosine distance beside the thumbnail's
EDGES, LEARNED = 1.0, 0.5
DIRECTIONS, CELLS = 8, 7  # of edges, and cells a side
CROP = 0.07  # of each side, for a view of the middle


class Representation(nn.Module):
    """Three parts side by side, each of fixed length: cosine distance is their weighted mean."""

    def __init__(self, network: Network, projection: nn.Module, channels: int) -> None:
        """`projection`: from the features of `network` to what is compared in training."""
        super().__init__()
        self.network, self.projection = network, projection
        self.side = 28 if channels == 1 else 16  # of the thumbnail: about 780 values either way

    def learned(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] to (B, F): of the picture, its middle and the mirror images of both."""
        margin = round(CROP * x.shape[-1])
        middle = x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
        middle = F.interpolate(middle, x.shape[-2:], mode="bilinear", align_corners=False)
        seen = (x, x.flip(-1), middle, middle.flip(-1))
        return torch.stack([F.normalize(self.projection(self.network(view)).float()) for view in seen]).sum(0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) float in [0, 1] to (B, D) float32."""
        parts = [F.normalize(part) for part in (thumbnail(x, self.side), edges(x), self.learned(x))]
        weights = (1.0, EDGES, LEARNED)
        return torch.cat([math.sqrt(weight) * part for weight, part in zip(weights, parts, strict=True)], 1)


def thumbnail(x: Tensor, side: int) -> Tensor:
    """(B, C, S, S) to (B, C side^2): a small copy, less its mean, so that brightness counts for little."""
    small = F.adaptive_avg_pool2d(x, side).flatten(1)
    return small - small.mean(1, keepdim=True)


def edges(x: Tensor) -> Tensor:
    """(B, C, S, S) in [0, 1] to (B, 392): how much of an edge runs in each of 8 directions in each of 7 x 7 cells.

    Histograms of oriented gradients (Dalal and Triggs, 2005) of the mean of the channels, unsigned, at about 28 pixels;
    their square root: a strong edge says little more than a weak one.
    """
    side = 28 if x.shape[1] == 1 else 32
    grey = x.mean(1, keepdim=True)
    if grey.shape[-1] != side:
        grey = F.interpolate(grey, (side, side), mode="bilinear", antialias=True)
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=x.device, dtype=x.dtype) / 8
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(padded, sobel[None, None]), F.conv2d(padded, sobel.T[None, None])
    angle = torch.atan2(down, across) % math.pi
    centres = torch.arange(DIRECTIONS, device=x.device, dtype=x.dtype)[None, :, None, None] * (math.pi / DIRECTIONS)
    away = (angle - centres + math.pi / 2) % math.pi - math.pi / 2
    votes = (1 - away.abs() * (DIRECTIONS / math.pi)).clamp_min(0) * (across**2 + down**2).sqrt()
    return F.adaptive_avg_pool2d(votes, CELLS).sqrt().flatten(1)
