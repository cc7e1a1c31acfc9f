"""Fashion-MNIST from its IDX files, and a small Lightning classifier for it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts it


def fashion_mnist(split: str, folder: Path = FOLDER) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 28, 28) images and (N,) labels of "train" (60,000) or "t10k" (10,000)."""
    images, labels = (
        np.frombuffer(gzip.decompress((folder / f"{split}-{name}-ubyte.gz").read_bytes()), np.uint8, offset=offset)
        for name, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    return images.reshape(-1, 28, 28), labels.astype(np.int64)


def tensors(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> TensorDataset:
    """Images in [0, 1] as (1, 28, 28), with their labels."""
    return TensorDataset(torch.from_numpy(images.copy()).unsqueeze(1).float() / 255, torch.from_numpy(labels))


class Classifier(lightning.LightningModule):
    """Any network that gives one score a class, trained with Adam."""

    def __init__(self, net: nn.Module, rate: float = 1e-3) -> None:
        super().__init__()
        self.net, self.rate = net, rate

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net(x)
        return scores

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.rate)

    @torch.no_grad()
    def accuracy(self, data: TensorDataset) -> float:
        """On the whole of a data set, in [0, 1]."""
        self.eval()
        parts = zip(*(torch.split(part, 1000) for part in data.tensors), strict=True)
        right = sum(int((self(x).argmax(1) == y).sum()) for x, y in parts)
        return right / len(data)


def small_net() -> nn.Module:
    """Two convolutions and two linear layers, with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 49, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def trainer(*callbacks: Any, **settings: Any) -> lightning.Trainer:
    """On the CPU, and quiet."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return lightning.Trainer(callbacks=list(callbacks), **{**quiet, **settings})
