"""CIFAR-10 images with the labels that people gave (CIFAR-10N), and a small network that learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _fashion import Classifier
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision import transforms

LEVELS = {"true labels": "clean_label", "random1": "random_label1", "worst": "worse_label"}
BATCH, STEPS, RATE = 64, 948, 4e-3  # 12 epochs of 5,000


class RealNoise(NamedTuple):
    """Training images with labels of every level, test images with labels as published."""

    images: NDArray[np.uint8]  # (N, 32, 32, 3)
    labels: dict[str, NDArray[np.int64]]  # level: (N,)
    features: NDArray[np.float32]  # (N, D) of EfficientNet-Lite0
    test: TensorDataset


def real_noise(folder: Path) -> RealNoise:
    """From the files that `quality/real_sets.py` reads, and cifar10_test_labels.npy."""
    train, test = np.load(folder / "cifar10n_5k.npz"), np.load(folder / "cifar10_test_pairs.npz")
    labels = {level: train[name].astype(np.int64) for level, name in LEVELS.items()}
    features = np.load(folder / "cifar10n_5k.lite0.npy").astype(np.float32)
    known = torch.from_numpy(np.load(folder / "cifar10_test_labels.npy").astype(np.int64))
    return RealNoise(train["images"], labels, features, TensorDataset(as_tensors(test["images"]), known))


def as_tensors(images: NDArray[np.uint8]) -> Tensor:
    """(N, 3, H, W) in [0, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


class FlippedImages(Dataset[tuple[Tensor, int]]):
    """Images with labels, flipped at random in training."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.images, self.labels, self.transform = as_tensors(images), labels, transforms.RandomHorizontalFlip()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


class SmallNet(Classifier):
    """Three convolutions and a linear layer; the rate rises and falls within a fixed number of steps."""

    def __init__(self, width: int = 16) -> None:
        def block(inside: int, outside: int) -> list[nn.Module]:
            convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
            return [convolution, nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2)]

        blocks = [*block(3, width), *block(width, 2 * width), *block(2 * width, 4 * width)]
        super().__init__(nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * width * 16, 10)), RATE)
        self.to(memory_format=torch.channels_last)  # a third of the time

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), self.rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=STEPS)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
