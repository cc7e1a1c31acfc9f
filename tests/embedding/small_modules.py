"""Noise, clusters and a small network, and how well it represents them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from selfclean_hooks import Audit
from selfclean_hooks.core.embeddings import Embeddings, RepresentationQuality

N, CLASSES = 240, 3


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def clusters(n: int = N, dim: int = 12, spread: float = 0.3) -> tuple[Any, Any]:
    labels = np.arange(n) % CLASSES
    return noise(CLASSES, dim)[labels] + spread * noise(n, dim, seed=1), labels


class Signals(Dataset[Any]):
    """Labels show in a sum of one part of the values, which other parts drown; counts what is read."""

    def __init__(self, n: int = N, broken_later: bool = False) -> None:
        labels = np.arange(n) % CLASSES
        self.x = torch.from_numpy(noise(n, 16) * 3)
        self.x[:, :CLASSES] = torch.eye(CLASSES)[labels] + 0.1 * torch.from_numpy(noise(n, CLASSES, seed=1))
        self.labels, self.read, self.broken_later = labels.tolist(), 0, broken_later

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        if self.broken_later and self.read > len(self) + 40:  # 40: looks at the first items before the reading
            raise OSError("gone")
        return self.x[index], self.labels[index]


class Net(nn.Module):
    """Keeps some of the values: the first tell the label, the others drown them."""

    def __init__(self, keep: slice = slice(0, CLASSES)) -> None:
        super().__init__()
        self.body, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)
        with torch.no_grad():
            self.body.weight.zero_()[keep, keep] = torch.eye(16)[keep, keep]
            self.body.bias.zero_()
        self.norm.running_mean.add_(0.01)  # type: ignore[union-attr]
        self.batches: list[int] = []

    def forward(self, batch: Tensor) -> Tensor:
        self.batches.append(len(batch))
        features: Tensor = self.norm(self.body(batch))
        return features


def figures(found: Embeddings | Audit) -> RepresentationQuality:
    assert found.fitness is not None
    return found.fitness
