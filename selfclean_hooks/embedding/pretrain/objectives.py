"""Random views of pictures, a batch at a time on the device: pictures one by one would take most of the time."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, nn

from selfclean_hooks.embedding.pretrain.networks import Network
from selfclean_hooks.errors import SettingError

TEMPERATURE = 0.1  # of SimCLR
DINO_OUTPUTS = 1024
DINO_MOMENTUM = 0.99  # of the teacher, at the start; 1 in the end
MASKED = 0.6  # share of the patches that MAE hides: small pictures have few
DECODER_WIDTH, DECODER_DEPTH = 96, 2


class Objective(nn.Module):
    """Training of a network, and of a projection of its features, in which pictures are compared."""

    def __init__(self, network: Network, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.projection = network, projection or nn.Identity()

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of (B, C, S, S) pictures in [0, 1]; random draws are of `generator`, which is on the CPU."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after each step with the share of the training that is done."""


class TwoViews(Objective):
    """Two views of a picture are alike, those of different pictures are not."""

    def __init__(self, network: Network, projection: nn.Module, loss: nn.Module) -> None:
        super().__init__(network, projection)
        self.loss = loss

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective."""
        first, second = self.projection(self.network(_two_views(pictures, generator))).chunk(2)
        loss: Tensor = self.loss(first, second)
        return loss


class Dino(Objective):
    """A student tells from one view what a slow average of itself makes of the other (Caron et al., 2021)."""

    def __init__(self, network: Network) -> None:
        from lightly.loss import DINOLoss

        super().__init__(network)
        self.head, self.loss = self._new_head(), DINOLoss(DINO_OUTPUTS)
        head = self._new_head()
        head.load_state_dict(self.head.state_dict())
        self.teacher = nn.Sequential(copy.deepcopy(network), head).requires_grad_(False)

    def _new_head(self) -> Any:
        from lightly.models.modules.heads import DINOProjectionHead

        with warnings.catch_warnings():  # lightly's head uses a function that torch would rather have replaced
            warnings.simplefilter("ignore", FutureWarning)
            return DINOProjectionHead(self.network.dim, 512, 128, DINO_OUTPUTS, batch_norm=True)

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective."""
        both = _two_views(pictures, generator)
        with torch.no_grad():
            taught = self.teacher(both)
        loss: Tensor = self.loss(list(taught.chunk(2)), list(self.head(self.network(both)).chunk(2)))
        return loss

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher a little towards the student, ever less."""
        share = (1 - DINO_MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        student = [*self.network.parameters(), *self.head.parameters()]
        for slow, fast in zip(self.teacher.parameters(), student, strict=True):
            slow.lerp_(fast, share)


class Mae(Objective):
    """Hidden patches are to be told from those that are shown (masked autoencoder, He et al., 2022)."""

    def __init__(self, network: Network) -> None:
        from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
        from timm.models.vision_transformer import Block, VisionTransformer

        super().__init__(network)
        vit = network.trunk
        if not isinstance(vit, VisionTransformer):
            raise SettingError(
                "the objective mae hides patches, so its encoder must be a ViT (small-vit, or one of timm's), got "
                f"{type(vit).__name__}"
            )
        self.encoder = MaskedVisionTransformerTIMM(vit, None, "skip", pos_embed_initialization="skip")
        self.patch: int = vit.patch_embed.patch_size[0]
        count, skipped = vit.patch_embed.num_patches, vit.num_prefix_tokens
        self.count, self.skipped = count, skipped
        self.widen = nn.Linear(network.dim, DECODER_WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(1, count, DECODER_WIDTH))
        self.hidden = nn.Parameter(0.02 * torch.randn(1, 1, DECODER_WIDTH))
        blocks = [Block(DECODER_WIDTH, 4) for _ in range(DECODER_DEPTH)]
        channels = network.mean.shape[1]
        self.decoder = nn.Sequential(
            *blocks, nn.LayerNorm(DECODER_WIDTH), nn.Linear(DECODER_WIDTH, channels * self.patch**2)
        )

    def forward(self, pictures: Tensor, generator: torch.Generator) -> Tensor:
        """See Objective. The loss is the mean squared error of the hidden patches, each normalised."""
        from lightly.models.utils import patchify

        n, kept = len(pictures), max(1, round(self.count * (1 - MASKED)))
        order = torch.rand(n, self.count, generator=generator).argsort(1).to(pictures.device)
        shown, hidden = order[:, :kept], order[:, kept:]
        prefix = torch.arange(self.skipped, device=order.device).expand(n, -1)
        x = self.network.normalised(view(pictures, generator))
        codes = self.encoder.encode(x, idx_keep=torch.cat([prefix, shown + self.skipped], 1))[:, self.skipped :]
        rows = torch.arange(n, device=order.device)[:, None]
        tokens = self.hidden.repeat(n, self.count, 1).to(codes.dtype)
        tokens[rows, shown] = self.widen(codes)
        told = self.decoder(tokens + self.place)[rows, hidden]
        wanted = patchify(x, self.patch)[rows, hidden]
        spread, mean = torch.std_mean(wanted, -1, keepdim=True)
        loss: Tensor = ((told - (wanted - mean) / (spread + 0.1)) ** 2).mean()
        return loss


def _two_views(pictures: Tensor, generator: torch.Generator) -> Tensor:
    return torch.cat([view(pictures, generator), view(pictures, generator)])


def projection_of(objective: str, dim: int) -> Any:
    """Of `dim` features to what is compared; DINO's head gives shares of prototypes, so its features count."""
    from lightly.models.modules import heads

    if objective == "barlow-twins":
        return heads.BarlowTwinsProjectionHead(dim, 512, 512)
    if objective in ("vicreg", "simclr"):
        return heads.VICRegProjectionHead(dim, 256, 256, num_layers=2)
    return nn.Identity()


def objective_of(name: str, network: Network, gather: bool) -> Objective:
    """The training by its name; `gather`: other processes hold more of the batch.

    Raises:
        SettingError: the network is not of the kind that the objective needs.
    """
    from lightly import loss

    if name == "dino":
        return Dino(network)
    if name == "mae":
        return Mae(network)
    losses: dict[str, Callable[[], nn.Module]] = {
        "vicreg": lambda: loss.VICRegLoss(gather_distributed=gather),
        "simclr": lambda: loss.NTXentLoss(TEMPERATURE, gather_distributed=gather),
        "barlow-twins": lambda: loss.BarlowTwinsLoss(gather_distributed=gather),
    }
    return TwoViews(network, projection_of(name, network.dim), losses[name]())


LEARNING_RATES = {"vicreg": 2e-3, "simclr": 2e-3, "barlow-twins": 2e-3, "dino": 1e-3, "mae": 1e-3}

CROP = 0.7  # smallest share of the area that a view shows


def view(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each picture in its own random crop, tilt, mirroring, contrast, brightness, tint and noise.

    Mild on purpose: what a view hides, the features forget, and near duplicates and off-topic samples are told by it.

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
