"""Images, data sets and small modules for the tests of embedding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset


def pixels(n: int = 12, size: int = 8, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


class Items(Dataset[Any]):
    """What `make(image, label)` returns of each image; `broken` indices raise."""

    def __init__(
        self, n: int = 12, make: Callable[[Any, int], Any] | None = None, broken: tuple[int, ...] = (), size: int = 8
    ) -> None:
        self.array, self.make, self.broken = pixels(n, size), make or as_tensor, broken

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.array):
            raise IndexError(index)
        if index in self.broken:
            raise OSError(f"item {index} is broken")
        return self.make(self.array[index], index % 2)


def as_tensor(image: Any, label: int) -> tuple[Tensor, int]:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255, label


def as_image(image: Any, label: int) -> tuple[Image.Image, int]:
    return Image.fromarray(image), label


class Net(nn.Module):
    """A classifier that counts what it is fed."""

    def __init__(self, features: int = 6) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(features)
            self.body = nn.Sequential(nn.Conv2d(3, features, 3), nn.BatchNorm2d(features), nn.AdaptiveAvgPool2d(1))
            self.head = nn.Sequential(nn.Dropout(), nn.Linear(features, 2))
        self.fed = 0

    def forward(self, batch: Tensor) -> Any:
        self.fed += len(batch)
        return self.head(self.body(batch).flatten(1))


def mean_colour(batch: Any) -> Any:
    return batch.flatten(2).mean(2)


def flat(batch: Any) -> Any:
    return batch.flatten(1)
