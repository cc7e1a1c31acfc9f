"""Tensors without memory: in a file, read only where they are wanted, and of models before they are built."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

INDEX_BYTES = 16 * 2**20  # of the description of what a file holds; that of the largest models has 2 MB
CALLS = 100_000  # of torch's functions at most; the largest models of timm need a fifth of them


class Storage(NamedTuple):
    """Numbers of one type in a file, which several tensors may be views of."""

    key: str
    dtype: torch.dtype
    length: int

    @property
    def nbytes(self) -> int:
        """Size in the file."""
        return self.length * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a file says of a tensor.

    Attributes:
        shape: of the tensor.
        dtype: of its values.
        kind: what it is if it is no plain tensor ("sparse", "quantized"), "" otherwise; only plain ones can be read.
        place: of its values in the file, as the reader of that file understands it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: str = ""
    place: Any = None

    def is_same_place(self, other: StoredTensor) -> bool:
        """Whether two names stand for the same numbers."""
        return self.place is not None and self.place == other.place


class Load(Protocol):
    """Reads the values of tensors by name."""

    def __call__(self, names: Collection[str]) -> dict[str, Tensor]:
        """Those tensors and no others; raises BackboneError where the file is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """One file.

    Attributes:
        path: where it is.
        tensors: by name; of a dictionary inside the file the name is in front: "state_dict.model.conv1.weight".
        says: what the file holds besides tensors: the metadata of safetensors, or hyperparameters and the like.
        load: reads the values of some of the tensors.
        size: bytes of the file.
    """

    path: Path
    tensors: Mapping[str, StoredTensor]
    says: Mapping[str, Any]
    load: Load
    size: int


def nbytes(tensors: Iterable[Tensor]) -> int:
    """Memory of tensors, also of those that have none yet."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
