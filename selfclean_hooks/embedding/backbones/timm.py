"""Pretrained timm models by name, and what the config.json beside a file of weights says of one, as on timm's hub."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
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

BYTES = 2**20  # of a config.json at most
LARGEST = 16_384  # of the numbers that a model is made with: widths, depths
MOST_PIXELS = 1024  # of a side of its input
OF_FEEDING = ("mean", "std", "input_size")  # what it says about the input of a model
REFUSED = {"checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable"}


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


@dataclass(frozen=True)
class Config:
    """What a model is, as far as the file says it.

    Attributes:
        path: of the file.
        architecture: name of timm, perhaps; "" where the file says none.
        feeding: mean, standard deviation and size of its input.
        model_args: further settings to make it with.
    """

    path: Path = Path("config.json")
    architecture: str = ""
    feeding: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)

    def checked(self) -> Config:
        """Itself, known to be of this model.

        Raises:
            BackboneError: it says what cannot be.
        """
        wrong = next(self._wrong(), None)
        if wrong:
            raise BackboneError(f"{self.path} must {wrong}: correct it, or remove it and name the architecture")
        return self

    def _wrong(self) -> Iterator[str]:
        mean, std, size = (self.feeding.get(key) for key in OF_FEEDING)
        if mean is not None and not _is_numbers(mean):
            yield f"have a list of numbers as mean, got {mean!r:.60}"
        if std is not None and not (_is_numbers(std) and min(std) > 0):
            yield f"have a list of numbers above 0 as std, got {std!r:.60}"
        if size is not None and not (_is_numbers(size) and len(size) == 3 and all(_is_side(each) for each in size)):
            yield f"have input_size [channels, height, width], up to {MOST_PIXELS} each, got {size!r:.60}"
        for name, value in self.model_args.items():
            if name in REFUSED:
                yield f"have no {name} in model_args, which are settings of the architecture"
            if name != "num_classes" and not _is_small(value):
                yield f"have numbers up to {LARGEST} in model_args, got {value!r:.60} as {name!r:.60}"


def read_config(path: Path) -> Config:
    """The file; an empty `Config` if there is none, or it is of some other program."""
    try:
        if not path.is_file() or path.stat().st_size > BYTES:
            return Config(path)
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return Config(path)
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        return Config(path)
    feeding, more = config.get("pretrained_cfg") or config, config.get("model_args")
    feeding = {key: feeding[key] for key in OF_FEEDING if key in feeding} if isinstance(feeding, dict) else {}
    return Config(path, config["architecture"], feeding, more if isinstance(more, dict) else {})


def _is_numbers(value: Any) -> bool:
    """Whether it is a short list of finite numbers."""
    return (
        isinstance(value, list)
        and 0 < len(value) <= 4
        and all(type(each) in (int, float) and abs(each) < 2**53 and math.isfinite(each) for each in value)
    )


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= MOST_PIXELS


def _is_small(value: Any, depth: int = 0) -> bool:
    """Whether no number in it would make a model without end."""
    if isinstance(value, (list, dict)):
        held = list(value.values()) if isinstance(value, dict) else value
        return depth < 8 and len(held) <= LARGEST and all(_is_small(each, depth + 1) for each in held)
    return value is None or isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) <= LARGEST)
