"""A model without memory, to see whether weights fit before it is built: a file may name one of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CALLS = 100_000  # of torch's functions at most; the largest models of timm need a fifth of them


@contextmanager
def outline() -> Iterator[None]:
    """Models made in this block have names and shapes, and no values.

    Raises:
        ValueError: there is no end to what is made.
    """
    with torch.device("meta"), _Counted():
        yield


class _Counted(TorchFunctionMode):
    """Ends what has too many parts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count the call; steps of a schedule, which models read while they are built, keep their values."""
        self.calls += 1
        if self.calls > CALLS:
            raise ValueError("it has too many parts")
        return func(*args, **{**(kwargs or {}), **({"device": "cpu"} if func is torch.linspace else {})})
