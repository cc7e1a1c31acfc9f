"""Random transforms of torchvision and timm, and the deterministic ones that take their place in an audit."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import torch


class Identity(torch.nn.Module):
    """Stands where a transform stood and returns what it is given, in whichever way it is called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One argument as it is, several as a tuple, keywords alone as a dict (albumentations)."""
        if kwargs and not args:
            return kwargs
        return args[0] if len(args) == 1 else args


def _gone(transform: Any) -> list[Any]:
    return []


def _kept_if_certain(transform: Any) -> list[Any]:
    return [transform] if transform.p >= 1 else []


def _blur(transform: Any) -> list[Any]:
    return [transform] if transform.sigma[0] == transform.sigma[1] else []


def _parts_if_certain(transform: Any) -> list[Any]:
    return list(transform.transforms) if transform.p >= 1 else []


def _parts_in_order(transform: Any) -> list[Any]:
    return list(transform.transforms)


def _one_that_sets_the_size(transform: Any) -> list[Any]:
    sizing = (part for part in transform.transforms if any(word in type(part).__name__ for word in ("Crop", "Resize")))
    return list(islice(sizing, 1))


def _centre_crop(transform: Any) -> list[Any]:
    return [_torchvision_like(transform).CenterCrop(transform.size)]


def _resize_and_crop(transform: Any) -> list[Any]:
    return [_resize(transform, transform.size), *_centre_crop(transform)]


def _resize_shortest(transform: Any) -> list[Any]:
    return [_resize(transform, transform.min_size, max_size=transform.max_size)]


def _resize_largest(transform: Any) -> list[Any]:
    return [_resize(transform, transform.max_size)]


def _resize(transform: Any, size: Any, **settings: Any) -> Any:
    """To the largest of the sizes, so that a crop always fits."""
    how = transform.interpolation
    settings["interpolation"] = how[0] if isinstance(how, (list, tuple)) else how
    antialias = getattr(transform, "antialias", True)
    return _torchvision_like(transform).Resize(int(np.max(size)), antialias=antialias, **settings)


def _torchvision_like(transform: Any) -> Any:
    """The module of torchvision, v1 or v2, that the transform comes from (v1 for those of timm)."""
    second = any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__)
    return importlib.import_module("torchvision.transforms.v2" if second else "torchvision.transforms")


# fmt: off
DETERMINISTIC_IF_CERTAIN = (
    "RandomHorizontalFlip", "RandomVerticalFlip", "RandomGrayscale", "RandomInvert", "RandomEqualize",
    "RandomAutocontrast", "RandomSolarize", "RandomPosterize", "RandomAdjustSharpness",
)
NEVER_DETERMINISTIC = (
    "ColorJitter", "RandomAffine", "RandomRotation", "RandomPerspective", "RandomErasing", "ElasticTransform",
    "GaussianNoise", "JPEG", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix", "AugMixAugment",
    "RandomPhotometricDistort", "RandomChannelPermutation", "RandomZoomOut", "RandomIoUCrop", "ScaleJitter",
)
# fmt: on

# What takes the place of a random transform of torchvision (v1, v2) or timm, by class name: a list of transforms.
COUNTERPARTS: dict[str, Callable[[Any], list[Any]]] = {
    "RandomResizedCrop": _resize_and_crop,
    "RandomResizedCropAndInterpolation": _resize_and_crop,
    "RandomCrop": _centre_crop,
    "RandomCropOrPad": _centre_crop,
    "RandomShortestSize": _resize_shortest,
    "RandomResize": _resize_largest,
    "RandomOrder": _parts_in_order,
    "RandomChoice": _one_that_sets_the_size,
    "RandomApply": _parts_if_certain,
    "GaussianBlur": _blur,
    **dict.fromkeys(DETERMINISTIC_IF_CERTAIN, _kept_if_certain),
    **dict.fromkeys(NEVER_DETERMINISTIC, _gone),
}


def counterpart(transform: Any) -> str | None:
    """The name under which a transform, or the class it derives from, stands in `COUNTERPARTS`."""
    known = (base for base in type(transform).__mro__ if base.__module__.split(".")[0] in ("torchvision", "timm"))
    return next((base.__name__ for base in known if base.__name__ in COUNTERPARTS), None)


def doubt_of(transform: Any) -> list[str]:
    """A note on a transform that is kept although its name sounds random; empty for those of torchvision."""
    kind = type(transform)
    random = any(word in kind.__name__ for word in ("Random", "Jitter", "Augment", "Noise"))
    if not random or kind.__module__.startswith("torchvision."):
        return []
    return [f"{kind.__name__} kept as it is: not known here, and by its name it may be random"]


def join_doubts(steps: list[Any]) -> Any:
    """Transforms as one. The Compose of v1 is no module, so in a Sequential it cannot stand."""
    if len(steps) == 1:
        return steps[0]
    if not steps:
        return Identity()
    kinds = _torchvision_like(steps[0])
    return kinds.Compose(steps) if kinds.__name__.endswith("v2") else torch.nn.Sequential(*steps)
