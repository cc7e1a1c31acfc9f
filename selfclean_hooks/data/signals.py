"""Signals, one value or several over time: how they differ from images, and where a sound keeps its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CHANNELS = 8  # at most
STEPS = 32  # at least: what is shorter may be a very small image


def is_signal(shape: Sequence[int]) -> bool:
    """Whether a 2-D array of this shape is a signal, (C, T) or (T, C), and not an image.

    It is one with at most `CHANNELS` channels, at least `STEPS` steps and eight times as many steps as channels.
    """
    if len(shape) != 2:
        return False
    channels, steps = sorted(shape)
    return 1 <= channels <= CHANNELS and steps >= max(STEPS, 8 * channels)


def samples_of(value: Any) -> Any:
    """The array of a sound as Hugging Face's data sets hold it; any other value as it is.

    Args:
        value: a mapping with "array" and "sampling_rate", or a decoder of torchcodec (newer data sets): (C, T).
    """
    if isinstance(value, Mapping) and "array" in value and "sampling_rate" in value:
        return value["array"]
    if hasattr(value, "get_all_samples"):
        return value.get_all_samples().data
    return value
