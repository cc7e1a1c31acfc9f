"""How the forward pass is run: in mixed precision, compiled, weights laid out for speed where the model is our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from selfclean_hooks.compiling import Compiled
from selfclean_hooks.encoders import Encoder
from selfclean_hooks.errors import SettingError
from selfclean_hooks.provenance import fingerprint
from selfclean_hooks.reading_settings import Reading

TYPES = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Forward:
    """The features of an encoder as the settings want them computed."""

    features: Callable[[Any], Any]
    device: str
    dtype: torch.dtype | None = None  # None: in the model's own

    def __call__(self, batch: Any) -> Any:
        """Features (B, D)."""
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            return self.features(batch)


def tuned(encoder: Encoder, reading: Reading) -> Encoder:
    """The encoder as `reading` wants it run; one that went through this before stays as it is.

    Precision is part of its name and fingerprint, so nothing kept at another one is used. Compiled or not, it is the
    same encoder: features differ by rounding.

    Raises:
        SettingError: the device cannot compute in this precision.
    """
    if isinstance(encoder.features, Forward):
        return encoder
    if encoder.module is None or encoder.device is None:
        told = "precision and compile are for modules: a function computes as it was written"
        return encoder if _as_written(reading) else replace(encoder, note="; ".join(filter(None, [encoder.note, told])))
    if encoder.prepare is not None:  # our own model: convolutions take a third less time; a user's stays as it is
        encoder.module.to(memory_format=torch.channels_last)
    if _as_written(reading):
        return encoder
    features = Compiled(encoder.features, encoder.module, reading.batch_size) if reading.compile else encoder.features
    if reading.precision == "32":
        return replace(encoder, features=Forward(features, encoder.device.type))
    print_ = encoder.fingerprint and fingerprint(encoder.fingerprint, reading.precision)
    forward = Forward(features, encoder.device.type, _dtype(reading.precision, encoder.device))
    return replace(encoder, name=f"{encoder.name}, {reading.precision}", features=forward, fingerprint=print_)


def note(encoder: Encoder) -> str:
    """Why a model is not compiled that was to be, or ""."""
    inner = encoder.features.features if isinstance(encoder.features, Forward) else None
    return inner.note if isinstance(inner, Compiled) else ""


def _as_written(reading: Reading) -> bool:
    return reading.precision == "32" and not reading.compile


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "16" and device.type == "cpu":
        raise SettingError(
            'precision="16" needs an accelerator, got the device cpu, which takes ten times as long with it as with '
            '"32": use "bf16" there'
        )
    try:
        torch.autocast(device.type, TYPES[precision])
    except RuntimeError as error:
        raise SettingError(f'precision={precision!r} cannot be had on {device}: {error}. Use "32"') from error
    return TYPES[precision]
