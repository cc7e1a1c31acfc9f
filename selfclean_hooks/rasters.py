"""Pictures of any number of channels: satellite bands, stacks of a microscope."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.items import as_array

MOST = 512  # channels


def raster(value: Any) -> NDArray[Any] | None:
    """(C, H, W) of an array with three axes, or None where it is no picture.

    Of a tensor the channels are the first axis, of an ndarray the shorter one of the first and the last.
    """
    array = as_array(value)
    if array is None or array.ndim != 3 or array.dtype.kind not in "buif" or 0 in array.shape:
        return None
    first = isinstance(value, torch.Tensor) or array.shape[0] <= array.shape[2]
    found = array if first else np.moveaxis(array, 2, 0)
    return found if found.shape[0] <= MOST and min(found.shape[1:]) > 1 else None
