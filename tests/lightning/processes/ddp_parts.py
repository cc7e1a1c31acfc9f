"""Loggers, modules and data that differ between the two processes of ddp_script.py."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, WeightedRandomSampler, random_split

from tests.lightning.fits import Module, Net, train_data, val_data


class Memory(Logger):
    """A logger that remembers what it is reported, in whichever process."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[dict[str, float]] = []

    @property
    def name(self) -> str:
        return "memory"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to remember."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        audit = {name: value for name, value in metrics.items() if name.startswith("audit/")}
        if audit:
            self.reported.append({**audit, "step": float(step or 0)})


class ShiftedBatchNorm(Net):
    """Looks trained before, so that the audit uses it from the start."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder[2].weight.data += torch.linspace(0, 0.1, 32)  # type: ignore[operator]


class FailsOn(nn.Module):
    """A backbone that fails in one process."""

    def __init__(self, rank: int, error: type[BaseException]) -> None:
        super().__init__()
        self.rank, self.error = rank, error

    def forward(self, batch: Tensor) -> Tensor:
        if torch.distributed.get_rank() == self.rank:
            raise self.error("the device of this process is broken")
        return batch.flatten(1)


class Unseeded(Module):
    """Each process has a split of its own, as without a generator and seed_everything."""

    def train_dataloader(self) -> Any:
        torch.manual_seed(torch.distributed.get_rank())
        self.train, _ = random_split(train_data(), [30, len(train_data()) - 30])
        return super().train_dataloader()


class OtherValidation(Module):
    """Validation data that differ between the processes, which training itself does not mind."""

    def val_dataloader(self) -> Any:
        rank = torch.distributed.get_rank()
        self.val = torch.utils.data.Subset(val_data(leaking=4), range(rank, 24 + rank))
        return super().val_dataloader()


class TestInOne(Module):
    """A test split that only one process has at hand."""

    __test__ = False

    def test_dataloader(self) -> Any:
        if torch.distributed.get_rank() == 1:
            raise FileNotFoundError("the test split lies on another disk")
        return super().val_dataloader()


class WithSampler(Module):
    """The user shards the data."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, 16, sampler=DistributedSampler(self.train, seed=5))


class WithWeights(Module):
    """Some samples are drawn more often than others, and the first ten never."""

    def train_dataloader(self) -> Any:
        chances = [0.0] * 10 + [1.0, 2.0] * ((len(self.train) - 10) // 2)
        return DataLoader(self.train, 16, sampler=WeightedRandomSampler(chances, len(self.train)))
