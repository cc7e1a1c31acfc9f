"""Audits of a few hundred vectors whose neighbours can be counted."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks import Audit, audit_embeddings

N = 240
Floats = NDArray[np.float32]


def vectors(n: int = N) -> Floats:
    """With copies, some of them of many."""
    rows = np.random.default_rng(0).normal(size=(n, 10)).astype(np.float32)
    rows[20:45] = rows[7]
    rows[100] = rows[101]
    return rows


def labels(n: int = N) -> NDArray[np.int64]:
    return np.random.default_rng(1).integers(0, 4, n)


def made(**settings: Any) -> Audit:
    return audit_embeddings(vectors(), labels(), **settings)


class Rows:
    """Rows with labels, some of which cannot be read."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        if index in self.broken:
            raise OSError("gone")
        return torch.from_numpy(vectors()[index]), int(labels()[index])


def flat(batch: torch.Tensor) -> torch.Tensor:
    return batch
