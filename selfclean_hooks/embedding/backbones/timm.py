"""Pretrained timm models by name, from the local cache or from the hub if that answers soon."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from selfclean_hooks.data.images import shrink
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.encoders.encoder import Encoder, device_of, weights_fingerprint
from selfclean_hooks.embedding.encoders.features import penultimate
from selfclean_hooks.embedding.weights.timm_hub import check_known, import_timm, weights_of
from selfclean_hooks.errors import BackboneError


def of_timm(name: str, images: ImageDataset, device: str | torch.device) -> Encoder:
    """A timm model with pretrained weights, fed images of a size that suits the data.

    Raises:
        BackboneError: there is no such model, or no weights for it are available.
    """
    check_known(name)
    where, weights = device_of(device), weights_of(name)
    try:
        model = import_timm(f"the backbone {name!r}").create_model(
            name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": weights}
        )
    except Exception as error:  # the file is damaged; each format raises its own
        raise BackboneError(f"the weights of {name!r} cannot be loaded ({error}): delete {weights}") from error
    return timm_encoder(model, name, images, where)


def timm_encoder(
    model: nn.Module, name: str, images: ImageDataset, device: str | torch.device, channels: int = 3
) -> Encoder:
    """A timm model as an encoder, fed as its configuration says, with images of a size that suits the data.

    Args:
        model: in place: put into eval mode and on the device.
        name: name of the encoder; the image size is added to it.
        images: the input size follows theirs.
        device: "auto" or a torch device.
        channels: of the images that the model takes, 1 or 3.
    """
    from timm.data.config import resolve_model_data_config

    where = device_of(device)
    model = model.eval().to(where)
    settings = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    config: Any = model.pretrained_cfg
    size = settings["input_size"][-1]
    if not config.get("fixed_input_size", False):
        size = min(size, _input_size(images))
    mean, std = (_per_channel(settings[key], channels).to(where) for key in ("mean", "std"))
    features, name = partial(_normalized, model, mean, std), f"{name} at {size} px"
    digest = weights_fingerprint(model, str(size), str(mean.tolist()), str(std.tolist()))
    return Encoder(name, features, where, digest, partial(shrink, size=size, channels=channels), model)


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    """(1, channels, 1, 1); values of colours are averaged for grey."""
    same = values if len(values) == channels else [sum(values) / len(values)] * channels
    return torch.tensor(same).view(1, channels, 1, 1)


def _normalized(model: nn.Module, mean: Tensor, std: Tensor, batch: Tensor) -> Tensor:
    return penultimate(model, (batch.float() / 255 - mean) / std)


def _input_size(images: ImageDataset, probe: int = 32) -> int:
    """Four times the median longer side, in steps of 32 px: enlarging small images more than that buys nothing."""
    sides = []
    for i in range(min(probe, len(images))):
        try:
            image = images[i]
            sides.append(max(image.size if isinstance(image, Image.Image) else image.shape[1:]))
        except Exception:  # an unreadable item is the embedding's to report
            continue
    return 32 * -(-4 * int(np.median(sides)) // 32) if sides else 224
