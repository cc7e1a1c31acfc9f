"""Networks to train, of our own and of timm's, for images of any number of channels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from selfclean_hooks.embedding.pretrain.recipe import SMALL, SMALL_VIT
from selfclean_hooks.embedding.weights.state_dict import load_weights
from selfclean_hooks.embedding.weights.timm_hub import check_known, import_timm, weights_of
from selfclean_hooks.errors import SettingError, needs

WIDTH = 16  # channels of the small network's first layer
VIT: dict[str, Any] = {"embed_dim": 96, "depth": 4, "num_heads": 4, "global_pool": "avg", "class_token": False}


class Network(nn.Module):
    """A trunk that normalizes its input, and gives features as a map or as tokens."""

    def __init__(self, trunk: nn.Module, dim: int, mean: Tensor, std: Tensor) -> None:
        """`dim`: features of a position. `mean`, `std`: (1, C, 1, 1) of images in [0, 1]."""
        super().__init__()
        self.trunk, self.dim = trunk, dim
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalized(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] as the input of the trunk."""
        return (x - self.mean) / self.std

    def positions(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] to (B, dim, H, W)."""
        run = getattr(self.trunk, "forward_features", self.trunk)
        features: Tensor = run(self.normalized(x))
        if features.ndim == 4:
            return features if features.shape[1] == self.dim else features.permute(0, 3, 1, 2)
        skipped = int(getattr(self.trunk, "num_prefix_tokens", 0))
        tokens = features[:, skipped:]
        side = math.isqrt(tokens.shape[1])
        return tokens.transpose(1, 2).reshape(len(x), self.dim, -1, side)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) in [0, 1] to (B, dim): averaged over the image."""
        return self.positions(x).mean((2, 3))


def brightness(data: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread of each channel of (N, C, S, S) uint8, (1, C, 1, 1) each, in [0, 1].

    A spread of 0 counts as one grey level.
    """
    levels = data[:: 1 + len(data) // 4096].float() / 255
    std, mean = torch.std_mean(levels, dim=(0, 2, 3), keepdim=True)
    return mean, std.clamp_min(1 / 255)


def network_of(name: str, start: str, mean: Tensor, std: Tensor, size: int) -> Network:
    """A network by the name of its encoder, for images of C channels and S pixels a side.

    Args:
        name: "small", "small-vit" or a timm model.
        start: "random", "pretrained" or the path of a checkpoint for it.
        mean: (1, C, 1, 1) of the images.
        std: (1, C, 1, 1).
        size: S.

    Raises:
        SettingError: there is no such model, or it cannot be made for images like these.
        BackboneError: its weights are not available.
    """
    channels = mean.shape[1]
    trunk: Any
    if name == SMALL:
        trunk, dim = small_trunk(channels, size), 4 * WIDTH
    else:
        ours = name == SMALL_VIT
        trunk = _small_vit(channels, size) if ours else _timm(name, start == "pretrained", channels, size)
        dim = int(trunk.num_features)
    if start not in ("random", "pretrained"):
        load_weights(trunk, start)
    return Network(trunk, dim, mean, std)


def size_for(name: str, size: int) -> int:
    """The side at which `name` can work on images of `size` pixels: at least two positions a side."""
    if name == SMALL:
        return size
    if name == SMALL_VIT:
        return _patch(size) * -(-size // _patch(size))
    made = _made(name, {"num_classes": 0})
    if hasattr(made, "patch_embed"):
        patch = _patch(size)
        return patch * -(-size // patch)
    stride = max(int(stage["reduction"]) for stage in getattr(made, "feature_info", None) or [{"reduction": 32}])
    return max(size, 2 * stride)


def small_trunk(channels: int, size: int) -> nn.Sequential:
    """A four-times narrower ResNet with a stem that leaves about 16 x 16 positions, whatever the size."""
    with needs("torchvision", "the encoder 'small'"):
        from torchvision.models.resnet import BasicBlock

    stride = 2 if size < 48 else 4
    stem = [
        nn.Conv2d(channels, WIDTH, 2 * stride - 1, stride, stride - 1, bias=False),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
    ]
    wider = [WIDTH, 2 * WIDTH, 4 * WIDTH]
    blocks = [BasicBlock(n, 2 * n, 2, _shortcut(n)) for n in wider[:2]]
    return nn.Sequential(*stem, BasicBlock(WIDTH, WIDTH), *blocks)


def _shortcut(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, 2, bias=False), nn.BatchNorm2d(2 * channels))


def _small_vit(channels: int, size: int) -> nn.Module:
    with needs("timm", "the encoder 'small-vit'"):
        from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(size, _patch(size), channels, num_classes=0, **VIT)


def _patch(size: int) -> int:
    """Side of a patch: seven to twelve of them a side."""
    return 4 if size < 48 else 8 * max(1, size // 96)


def _timm(name: str, pretrained: bool, channels: int, size: int) -> Any:
    settings: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    if pretrained:
        settings |= {"pretrained": True, "pretrained_cfg_overlay": {"file": weights_of(name)}}
    if hasattr(_made(name, {"num_classes": 0}), "patch_embed"):
        settings |= {"img_size": size, "patch_size": _patch(size)}
    return _made(name, settings)


def _made(name: str, settings: dict[str, Any]) -> Any:
    check_known(name)
    timm = import_timm(f"the encoder {name!r}")
    try:
        return timm.create_model(name, **settings)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        raise SettingError(f"encoder {name!r} cannot be made for these images: {error}") from error
