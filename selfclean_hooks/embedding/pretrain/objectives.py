"""What a network is trained for, on random views of images made a batch at a time on the device.

Images one by one would take most of the time.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, nn

from selfclean_hooks.embedding.pretrain.losses import (
    DinoHead,
    DinoLoss,
    Projection,
    barlow_twins_loss,
    simclr_loss,
    vicreg_loss,
)
from selfclean_hooks.embedding.pretrain.networks import Network
from selfclean_hooks.errors import SettingError, needs

DINO_OUTPUTS = 1024
DINO_MOMENTUM = 0.99  # of the teacher, at the start; 1 in the end
MASKED = 0.6  # share of the patches that MAE hides: small images have few
DECODER_WIDTH, DECODER_DEPTH = 96, 2


class Objective(nn.Module, ABC):
    """Training of a network, and of a projection of its features, in which images are compared."""

    def __init__(self, network: Network, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.projection = network, projection or nn.Identity()

    @abstractmethod
    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of (B, C, S, S) images in [0, 1]; random numbers come from `generator`, which is on the CPU."""

    def after_step(self, progress: float) -> None:
        """Called after each step with the share of the training that is done."""


class TwoViews(Objective):
    """Two views of an image are alike, those of different images are not."""

    def __init__(self, network: Network, projection: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__(network, projection)
        self.loss = loss

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective."""
        return self.loss(*self.projection(self.network(_two_views(images, generator))).chunk(2))


class Dino(Objective):
    """A student predicts from one view what a slow average of itself makes of the other (Caron et al., 2021)."""

    def __init__(self, network: Network, gather: bool) -> None:
        super().__init__(network)
        self.head, self.loss = DinoHead(network.dim, DINO_OUTPUTS), DinoLoss(DINO_OUTPUTS, gather)
        self.teacher = copy.deepcopy(nn.Sequential(network, self.head)).requires_grad_(False)

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective."""
        both = _two_views(images, generator)
        with torch.no_grad():
            wanted = self.teacher(both)
        predicted = self.head(self.network(both))
        loss: Tensor = self.loss(torch.stack(wanted.chunk(2)), torch.stack(predicted.chunk(2)))
        return loss

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher a little towards the student, ever less."""
        share = (1 - DINO_MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        student = [*self.network.parameters(), *self.head.parameters()]
        for slow, fast in zip(self.teacher.parameters(), student, strict=True):
            slow.lerp_(fast, share)


class Mae(Objective):
    """Hidden patches are predicted from those that are shown (masked autoencoder, He et al., 2022)."""

    def __init__(self, network: Network) -> None:
        with needs("timm", "the objective mae"):
            from timm.models.vision_transformer import Block, VisionTransformer

        super().__init__(network)
        vit = network.trunk
        if not isinstance(vit, VisionTransformer):
            raise SettingError(
                "the objective mae hides patches, so its encoder must be a ViT (small-vit, or one of timm's), got "
                f"{type(vit).__name__}"
            )
        self.patch: int = vit.patch_embed.patch_size[0]
        self.count, self.skipped = vit.patch_embed.num_patches, vit.num_prefix_tokens
        self.widen = nn.Linear(network.dim, DECODER_WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(1, self.count, DECODER_WIDTH))
        self.hidden = nn.Parameter(0.02 * torch.randn(1, 1, DECODER_WIDTH))
        blocks = [Block(DECODER_WIDTH, 4) for _ in range(DECODER_DEPTH)]
        channels = network.mean.shape[1]
        self.decoder = nn.Sequential(
            *blocks, nn.LayerNorm(DECODER_WIDTH), nn.Linear(DECODER_WIDTH, channels * self.patch**2)
        )

    def forward(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective. The loss is the mean squared error of the hidden patches, each normalized."""
        n, kept = len(images), max(1, round(self.count * (1 - MASKED)))
        order = torch.rand(n, self.count, generator=generator).argsort(1).to(images.device)
        shown, hidden = order[:, :kept], order[:, kept:]
        x = self.network.normalized(view(images, generator))
        codes = self.encode(x, shown)
        rows = torch.arange(n, device=order.device)[:, None]
        tokens = self.hidden.repeat(n, self.count, 1).to(codes.dtype)
        tokens[rows, shown] = self.widen(codes)
        predicted = self.decoder(tokens + self.place)[rows, hidden]
        wanted = patches_of(x, self.patch)[rows, hidden]
        spread, mean = torch.std_mean(wanted, -1, keepdim=True)
        loss: Tensor = ((predicted - (wanted - mean) / (spread + 0.1)) ** 2).mean()
        return loss

    def encode(self, x: Tensor, shown: Tensor) -> Tensor:
        """(B, K, dim) codes of the patches at (B, K); the ViT does not see the others of (B, C, S, S)."""
        prefix = torch.arange(self.skipped, device=x.device).expand(len(x), -1)
        kept = torch.cat([prefix, shown + self.skipped], 1)[:, :, None]

        def choose(_: nn.Module, tokens: tuple[Tensor, ...]) -> Tensor:
            return tokens[0].gather(1, kept.expand(-1, -1, tokens[0].shape[2]))

        vit: Any = self.network.trunk
        hook = vit.norm_pre.register_forward_pre_hook(choose)  # the last step before the blocks: positions are added
        try:
            codes: Tensor = vit.forward_features(x)[:, self.skipped :]
        finally:
            hook.remove()
        return codes


def patches_of(x: Tensor, side: int) -> Tensor:
    """(B, C, S, S) to (B, (S / side)^2, side^2 C), row by row."""
    n, channels, size, _ = x.shape
    parts = x.reshape(n, channels, size // side, side, size // side, side)  # rows, side, columns, side
    return parts.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, side * side * channels)


def _two_views(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.cat([view(images, generator), view(images, generator)])


def projection_of(objective: str, dim: int) -> nn.Module:
    """Of `dim` features to what is compared; DINO's head gives shares of prototypes, so its features count."""
    if objective == "barlow-twins":
        return Projection(dim, 512, 512, 512)
    return Projection(dim, 256, 256) if objective in ("vicreg", "simclr") else nn.Identity()


def objective_of(name: str, network: Network, gather: bool) -> Objective:
    """The training by its name; `gather`: other processes hold more of the batch.

    Raises:
        SettingError: the network is not of the kind that the objective needs.
    """
    if name == "dino":
        return Dino(network, gather)
    if name == "mae":
        return Mae(network)
    losses = {"vicreg": vicreg_loss, "simclr": simclr_loss, "barlow-twins": barlow_twins_loss}
    return TwoViews(network, projection_of(name, network.dim), partial(losses[name], gather=gather))


LEARNING_RATES = {"vicreg": 2e-3, "simclr": 4e-3, "barlow-twins": 2e-3, "dino": 1e-3, "mae": 1e-3}

CROP = 0.7  # smallest share of the area that a view shows


def view(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image in its own random crop, tilt, mirroring, contrast, brightness, tint and noise.

    Mild on purpose: what a view hides, the features forget, and near duplicates and off-topic samples are found by it.

    Args:
        x: (B, C, S, S) in [0, 1].
        generator: of the draws, on the CPU: the same on every device.

    Returns:
        (B, C, S, S), a little outside of [0, 1] too.
    """

    def draw(low: float, high: float, *shape: int) -> torch.Tensor:
        return (torch.rand(len(x), *shape, generator=generator) * (high - low) + low).to(x.device)

    zoom, tilt, stretch = draw(CROP, 1).sqrt(), draw(-0.1, 0.1), draw(-0.08, 0.08).exp()
    mirror = (1 - 2 * torch.randint(2, (len(x),), generator=generator)).to(x.device)
    across = torch.stack([zoom * stretch * tilt.cos() * mirror, -zoom * tilt.sin(), draw(-1, 1) * (1 - zoom)], 1)
    down = torch.stack([zoom * tilt.sin() * mirror, zoom / stretch * tilt.cos(), draw(-1, 1) * (1 - zoom)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(x.shape), align_corners=False)
    seen = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    middle = seen.mean((1, 2, 3), keepdim=True)
    seen = (middle + (seen - middle) * draw(0.84, 1.16, 1, 1, 1)) * draw(0.88, 1.12, 1, 1, 1)
    if x.shape[1] > 1:
        seen = seen * draw(0.92, 1.08, x.shape[1], 1, 1)
    return seen + torch.randn(seen.shape, generator=generator).to(x.device) * draw(0, 0.02, 1, 1, 1)
