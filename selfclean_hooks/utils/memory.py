"""Memory that is done with, given back to the system before more is asked for: the peak is what a machine must have."""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANY = 1 << 15  # rows, from which on it is worth the time


def release_freed(rows: int) -> None:
    """Give back what was freed between blocks that are in use, which the C library of Linux keeps for later.

    Args:
        rows: that are worked on; nothing is done for few.
    """
    if rows >= MANY and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", int)  # musl has none
        trim(0)


def release_mapped(array: NDArray[Any]) -> None:
    """Let go of the pages of a file that is mapped read-only: they are read again if they are needed again."""
    base: Any = array
    is_read_only = False
    while base is not None and not isinstance(base, mmap.mmap):
        is_read_only = is_read_only or (isinstance(base, np.memmap) and base.mode == "r")
        base = getattr(base, "base", None)
    if base is not None and is_read_only and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
