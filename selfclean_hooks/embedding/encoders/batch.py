"""Features of one batch of samples: collated, moved to the encoder's device, and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import BackboneError, DataError


def batch_features(encoder: Encoder, contents: Tensor | list[Any]) -> NDArray[np.float32]:
    """(B, D) float32 of the samples' contents."""
    batch = contents if isinstance(contents, Tensor) else _collated(contents, lists=encoder.module is None)
    if isinstance(batch, Tensor) and encoder.device is not None:
        batch = batch.to(encoder.device, non_blocking=True)  # of pinned memory; else it waits
    shape = (
        f"a batch of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else f"a batch, a {type(batch).__name__}"
    )
    try:
        features = encoder.features(batch)
    except BackboneError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise BackboneError(_failure(encoder, shape, error)) from error
    features = torch.from_numpy(features) if isinstance(features, np.ndarray) else features
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(contents) or not features.numel():
        came = tuple(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise BackboneError(f"the backbone must give (B, D) features, ({len(contents)}, D) for {shape}, got {came}")
    return features.detach().float().cpu().numpy()


def _failure(encoder: Encoder, shape: str, error: Exception) -> str:
    if "out of memory" in str(error):
        return f"the backbone {encoder.name} ran out of memory on {shape}: pass a smaller batch_size"
    failed = f"the backbone {encoder.name} does not take {shape}: {type(error).__name__}: {error}"
    if encoder.module is None:
        return (
            f"{failed}. A function is given what the data set returns, collated: adapt it, or the data set's transform"
        )
    cure = "Give the data set the transform that the model was trained with, or pass a timm name: it brings its own"
    return f"{failed}. {cure}"


def _collated(contents: list[Any], lists: bool = False) -> Any:
    """As torch's default_collate does; with `lists`, sequences of several lengths are a list of tensors."""
    shapes = sorted({tuple(content.shape) for content in contents if isinstance(content, Tensor)})
    if lists and len(shapes) > 1 and all(isinstance(content, Tensor) and content.ndim <= 2 for content in contents):
        return contents
    if len(shapes) > 1:
        raise DataError(
            f"the samples of a batch must have one shape, got {' and '.join(map(str, shapes[:3]))}: give the data set "
            "a transform that resizes, or pass a timm name as backbone, which brings its own"
        )
    try:
        return default_collate(contents)
    except (TypeError, RuntimeError, KeyError, ValueError, AttributeError) as error:
        kinds = ", ".join(dict.fromkeys(type(content).__name__ for content in contents))
        raise DataError(
            f"the samples of a batch must be alike, images, tensors, numbers, text or dicts of these, got {kinds} "
            f"({error}): let the data set return one kind"
        ) from error
