"""The device that screens distances: in blocks that suit it, on rows that lie there where they fit.

Only products in the precision of a screen, and the search for the lowest in each row, run there. What is exact, the
distances that decide and rows that the screen cannot certify, is computed by the processor in all cases: so a result
does not depend on the device.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from selfclean_hooks.neighbors.unit_vectors import matrix_product
from selfclean_hooks.utils.torch_internals import has_avx512_bfloat16

UNIT = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}  # relative error of a rounding
ROUNDING = 2.0**-22  # of a term of a sum in float32 on an accelerator: terms are aligned and cut off, in any order
LEAST_ROWS = 256  # of a block: with fewer, a product takes as long as reading its columns
OF_PROCESSOR, OF_ACCELERATOR = 1 << 24, 1 << 28  # distances that are held at a time
SHARE = 16  # of the free memory of an accelerator, that these may take; half of it is for the rows


@dataclass(frozen=True)
class Device:
    """Where distances are screened.

    Attributes:
        kind: the device of torch.
        budget: distances that are held at a time, at most.
        room: bytes for rows that stay on the device; None: half of what is free there. Others are sent in blocks.
    """

    kind: torch.device
    budget: int = OF_PROCESSOR
    room: int | None = None

    @classmethod
    def of(cls, kind: torch.device) -> Device:
        """A device of torch; the processor in place of one of another kind, or whose products are not full ones."""
        if kind.type not in ("cuda", "mps"):
            return PROCESSOR
        found = cls(kind, max(OF_PROCESSOR, min(OF_ACCELERATOR, _free_bytes(kind) // SHARE)))
        return found if products_are_full(kind, found.precision()) else PROCESSOR

    def precision(self) -> torch.dtype:
        """The precision of products that is fastest here: bfloat16 where there are instructions for it.

        Products of float32 are full ones: cards that shorten them (TF32) have bfloat16.
        """
        if self.kind.type == "cpu":
            is_fast = torch.backends.cpu.get_cpu_capability().startswith("AVX512") and has_avx512_bfloat16()
        else:
            is_fast = self.kind.type == "cuda" and torch.cuda.get_device_capability(self.kind) >= (8, 0)
        return torch.bfloat16 if is_fast else torch.float32

    @property
    def rounding(self) -> float:
        """What adding a term to a sum in float32 changes at most, as a share of the size of all terms."""
        return UNIT[torch.float32] if self.kind.type == "cpu" else ROUNDING

    def empty(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """Memory on the device, or on the processor where it does not fit."""
        room = _free_bytes(self.kind) // 2 if self.room is None else self.room
        fits = rows * columns * dtype.itemsize <= room
        if fits:
            return torch.empty(rows, columns, dtype=dtype, device=self.kind)
        return torch.empty(rows, columns, dtype=dtype, device="cpu", pin_memory=self.kind.type == "cuda")

    def block(self, rows: int, columns: int, budget: int | None = None) -> tuple[int, int]:
        """How many of so many rows and of so many columns make a block."""
        budget = budget or self.budget
        height = max(1, min(rows, max(min(budget, LEAST_ROWS), budget // max(1, columns))))
        return height, max(1, budget // height)


PROCESSOR = Device(torch.device("cpu"))
_device: ContextVar[Device] = ContextVar("device", default=PROCESSOR)


def device() -> Device:
    """The one in force."""
    return _device.get()


@contextmanager
def screening_on(kind: str | torch.device | Device) -> Iterator[None]:
    """Within the block, distances are screened on a device."""
    token = _device.set(kind if isinstance(kind, Device) else Device.of(torch.device(kind)))
    try:
        yield
    finally:
        _device.reset(token)


@lru_cache
def products_are_full(kind: torch.device, precision: torch.dtype) -> bool:
    """Whether products on a device are those of all bits of their factors: a driver may shorten these."""
    factors = torch.randn(256, 8, generator=torch.Generator("cpu").manual_seed(0), device="cpu").to(precision)
    found = matrix_product(factors.to(kind), factors.to(kind)).double().cpu()
    exact, size = (part @ part.T for part in (factors.double(), factors.double().abs()))
    return bool(((found - exact).abs() <= len(factors.T) * ROUNDING * size + UNIT[precision] * exact.abs()).all())


def _free_bytes(kind: torch.device) -> int:
    if kind.type == "cuda":
        return torch.cuda.mem_get_info(kind)[0]
    if kind.type == "cpu":
        return sys.maxsize
    return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
