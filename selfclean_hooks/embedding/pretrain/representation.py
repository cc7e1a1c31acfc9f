"""What an audit sees of a trained encoder, learned features beside three that need no training, and what its file says.

No training shows all three issues. Learned features bring together what is of one class, which shows wrong labels; they
forget what sets the odd one apart. Orientations of edges, textures and a thumbnail show that, and near copies.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the field's own name for it
from torch import Tensor, nn

from selfclean_hooks.embedding.pretrain.images import Canvas
from selfclean_hooks.embedding.pretrain.networks import Network, small_trunk
from selfclean_hooks.embedding.pretrain.recipe import MOST_PIXELS, Recipe
from selfclean_hooks.embedding.weights.stored_tensor import Checkpoint
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.json_content import check
from selfclean_hooks.utils.text import visible

# Weight of each part's cosine distance, by version of the representation: files of encoders say theirs. Version 2 was
# chosen on the sets of benchmarks/quality, leaving one out: see "Which representation" in benchmarks/README.md.
WEIGHTS = {
    1: {"thumbnail": 1.0, "edges": 1.0, "learned": 0.5},
    2: {"thumbnail": 1.0, "edges": 1.0, "learned": 0.25, "texture": 3.0},
}
VERSION = max(WEIGHTS)
DIRECTIONS, CELLS = 8, 7  # of edges, and cells a side
CROP = 0.07  # of each side, for a view of the middle
CALIBRATED = 1024  # images that the statistics of untrained layers are taken from
MARK = "selfclean_hooks_encoder"  # in the metadata of such a file
IMAGES = "pictures"  # name of the number of images in the file of an encoder


class Representation(nn.Module):
    """Parts side by side, each of fixed length: cosine distance is their weighted mean."""

    def __init__(self, network: Network, projection: nn.Module, canvas: Canvas, version: int = VERSION) -> None:
        """`projection`: from the features of `network` to what is compared in training; `version`: a key of WEIGHTS."""
        super().__init__()
        self.network, self.projection, self.version = network, projection, version
        self.side = 28 if canvas.channels == 1 else 16  # of the thumbnail: about 780 values either way
        self.texture = Texture(canvas.channels, canvas.size) if "texture" in WEIGHTS[version] else None

    def extra_repr(self) -> str:
        """The weights: features by others are not to be taken for these."""
        return f"weights={WEIGHTS[self.version]}"

    def learned(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] to (B, F): of the image, its middle and the mirror images of both."""
        margin = round(CROP * x.shape[-1])
        middle = x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]
        middle = F.interpolate(middle, x.shape[-2:], mode="bilinear", align_corners=False)
        seen = (x, x.flip(-1), middle, middle.flip(-1))
        return torch.stack([F.normalize(self.projection(self.network(view)).float()) for view in seen]).sum(0)

    @torch.no_grad()
    def calibrate(self, data: Tensor) -> None:
        """Take the statistics that normalize the untrained layers from (N, C, S, S) uint8 images."""
        if self.texture is None:
            return
        self.texture.train()
        sample = data[:: 1 + (len(data) - 1) // CALIBRATED]
        for start in range(min(4, len(sample))):  # each of all kinds, as the data may be in the order of their classes
            self.texture(self.network.normalized(sample[start::4].float() / 255))

    def parts(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, S, S) float in [0, 1] to the parts by name, (B, F) each, of any length."""
        parts = {"thumbnail": thumbnail(x, self.side), "edges": edges(x), "learned": self.learned(x)}
        return parts if self.texture is None else {**parts, "texture": self.texture(self.network.normalized(x))}

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) float in [0, 1] to (B, D) float32."""
        weights = WEIGHTS[self.version]
        parts = self.parts(x).items()
        return torch.cat([math.sqrt(weights[name]) * F.normalize(part) for name, part in parts], 1)


class Texture(nn.Module):
    """Mean and spread over the image of what untrained layers see in it, wherever that is.

    Random convolutions tell textures apart (Saxe et al., 2011), and have no classes to which the odd one could belong.
    """

    def __init__(self, channels: int, size: int) -> None:
        """For images of so many channels and pixels a side; weights are drawn from torch's generator."""
        super().__init__()
        self.trunk = small_trunk(channels, size)[:-1].requires_grad_(False)
        for layer in self.trunk.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None  # its statistics are means over all batches

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S), normalized, to (B, F)."""
        std, mean = torch.std_mean(self.trunk(x), dim=(2, 3))
        return torch.cat([mean, std], 1)


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


@dataclass(frozen=True)
class Description:
    """See `Pretrained` for the fields."""

    canvas: Canvas
    recipe: Recipe
    epochs: int
    images: int
    seconds: float
    is_unfinished: bool = False
    training: str = ""
    version: int = VERSION

    def __post_init__(self) -> None:
        canvas, numbers = self.canvas, (self.epochs, self.images, self.seconds)
        lengths = {len(canvas.low), len(canvas.high)}
        if not 1 <= canvas.size <= MOST_PIXELS or not 1 <= canvas.channels <= 2**16:
            raise ValueError(f"an input of {canvas.channels} channels and {canvas.size} pixels a side")
        if lengths != {canvas.channels} and (lengths != {0} or canvas.channels not in (1, 3)):
            raise ValueError(f"the ranges of {min(lengths)} of {canvas.channels} channels")
        if not all(
            math.isfinite(low) and low < high < math.inf for low, high in zip(canvas.low, canvas.high, strict=True)
        ):
            raise ValueError("a range of values that is none")
        if not all(0 <= number < 2**53 for number in numbers):
            raise ValueError("numbers of epochs, images or seconds that cannot be")

    def to_json(self) -> str:
        """As it is kept in the file."""
        facts = asdict(self)
        return json.dumps({"version": facts.pop("version"), IMAGES: facts.pop("images"), **facts})


def read_description(file: Checkpoint) -> Description:
    """What a file of an encoder says.

    Raises:
        BackboneError: it is of something else, of another version, or says what cannot be.
    """
    if MARK not in file.says:
        raise BackboneError(
            f"{file.path} is no encoder that selfclean-hooks pretrain wrote (its metadata has no {MARK}): write its "
            f"timm name before it, as resnet18:{file.path}"
        )
    try:
        facts: Any = json.loads(file.says[MARK])
        version = facts["version"]
        is_known = type(version) is int and version in WEIGHTS
        if is_known:  # where it started from matters no more, and need not be there any more
            known = {**facts, "images": facts[IMAGES], "recipe": {**facts["recipe"], "start": "random"}}
            return check(known, Description)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = visible(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        raise BackboneError(
            f"the encoder {file.path} must say what it expects, got metadata that cannot be right ({reason}): train it "
            "anew"
        ) from error
    versions = " or ".join(map(str, WEIGHTS))
    raise BackboneError(
        f"the encoder {file.path} must be of version {versions}, got {visible(repr(version))}: use the version of "
        "selfclean-hooks that wrote it, or train it anew"
    )
