"""Small fits on real digits with known issues, for the tests of the callback."""

from functools import cache
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from selfclean_hooks import Policy, Thresholds, testing
from selfclean_hooks.testing import Contaminated, contaminate, off_topic_patches
from selfclean_hooks_lightning import DataAudit

DROP = Policy("drop", "drop", "drop", "drop", leakage="drop")
N = 48  # samples of train_data()
LOOSE = Thresholds(near_duplicates=0.35, label_errors=0.4)
FIRM = Thresholds(near_duplicates=0.25, off_topic=0.817, label_errors=0.4)

digits = cache(testing.digits)  # read from a compressed text


@cache
def planted(n: int = 40) -> Contaminated:
    """Digits with near copies, patches of photographs and wrong labels, a tenth of each."""
    images, labels = digits()
    share = {"near_duplicates": 0.1, "off_topic": 0.1, "label_errors": 0.1}
    return contaminate(images[:n], labels[:n], off_topic_patches(max(20, n // 10), 8), seed=0, **share)


class Items(Dataset[Any]):
    """(image, label, position) of an array of images."""

    def __init__(self, images: Any, labels: Any, transform: Any = None) -> None:
        self.x = torch.from_numpy(np.asarray(images)).float().unsqueeze(1) / 255
        self.y = torch.from_numpy(np.asarray(labels)).long()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        x = self.x[index]
        return (x if self.transform is None else self.transform(x)), self.y[index], index


def train_data(n: int = 40, transform: Any = None) -> Items:
    return Items(planted(n).images, planted(n).labels, transform)


def val_data(leaking: int = 0) -> Items:
    """24 clean digits, and before them some that are in the training data too."""
    images, labels = digits()
    p = planted()
    return Items(
        np.concatenate([p.images[:leaking], images[1000:1024]]), np.concatenate([p.labels[:leaking], labels[1000:1024]])
    )


def clean_data(n: int = 64, transform: Any = None) -> Items:
    images, labels = digits()
    return Items(images[:n], labels[:n], transform)


class Norm(nn.BatchNorm1d):
    """Takes a batch of one sample too, which drops may leave."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) == 1:
            return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)
        return super().forward(x)


class Net(lightning.LightningModule):
    """A classifier with BatchNorm and dropout; remembers which positions reached `training_step`, by epoch."""

    def __init__(self, scheduled: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), Norm(32), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(32, 10)
        self.scheduled = scheduled
        self.seen: dict[int, list[int]] = {}
        self.validated: list[int] = []
        self.total_steps: float = 0

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.encoder(x))
        return scores

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, position = batch
        self.seen.setdefault(self.current_epoch, []).extend(position.tolist())
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(self.current_epoch)
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)
        if not self.scheduled:
            return optimizer
        self.total_steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=int(self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Module(lightning.LightningDataModule):
    """Data behind hooks; counts how often they are called."""

    def __init__(self, train: Any = None, val: Any = None, batch_size: int = 16, **loader: Any) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.loader = train, val, batch_size, loader
        self.calls: list[str] = []

    def train_dataloader(self) -> Any:
        self.calls.append("train")
        return DataLoader(self.train, self.batch_size, shuffle=True, **self.loader)

    def val_dataloader(self) -> Any:
        self.calls.append("val")
        return DataLoader(self.val, self.batch_size)


def audit_callback(folder: Path | None, **settings: Any) -> DataAudit:
    """Pixels as features: quick, and good enough for digits."""
    return DataAudit(**{"backbone": nn.Flatten(), "output_dir": folder, "thresholds": FIRM, **settings})


def trainer(*callbacks: Any, **settings: Any) -> lightning.Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return lightning.Trainer(callbacks=list(callbacks), **{**quiet, **settings})


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def tensor_data(n: int = 64) -> TensorDataset:
    images, labels = digits()
    return TensorDataset(torch.from_numpy(images[:n]).float().unsqueeze(1) / 255, torch.from_numpy(labels[:n]).long())
