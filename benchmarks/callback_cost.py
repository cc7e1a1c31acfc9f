"""What `DataAudit` adds to a training: the audit as a share of one epoch of ResNet-18 on Fashion-MNIST.

    python benchmarks/callback_cost.py --quick
    python benchmarks/callback_cost.py --samples 10000 --output benchmarks/results/callback_cost.csv

Timed are the epochs of one fit, without the audit, and the audit after the first of them, with the features of the
partly trained network; beside it a plain forward pass over the same data, and an audit with
an encoder trained on the data.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from _fashion import FOLDER, Classifier, fashion_mnist, tensors, trainer
from engine import machine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import resnet18

from selfclean_hooks_lightning import DataAudit

BATCH = 64


class Clock(lightning.Callback):
    """CPU seconds of this process, all threads, between the points of a fit."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.started = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.started = time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.epochs.append(time.process_time() - self.started)


class TimedAudit(DataAudit):
    """A `DataAudit` that tells what its audits cost."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seconds: list[float] = []

    def on_train_epoch_end(self, run: Any, module: Any) -> None:
        before = time.process_time()
        super().on_train_epoch_end(run, module)
        self.seconds.append(time.process_time() - before)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The audit as a share of one epoch of ResNet-18.")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the four IDX files")
    parser.add_argument("--output", type=Path, help="CSV file to write")
    parser.add_argument("--quick", action="store_true", help="few samples: does it run?")
    options = parser.parse_args(argv)
    images, labels = fashion_mnist("train", options.data)
    n = 500 if options.quick else options.samples
    rows = measured(tensors(images[:n], labels[:n]))
    for row in rows:
        print(f"{row['what']:58} {row['cpu_s']:8.1f} CPU s {row['share_of_epoch']:7.1%} of an epoch")
    if options.output:
        with options.output.open("w", newline="") as file:
            table = csv.DictWriter(file, ["n", "what", "cpu_s", "share_of_epoch", "machine"], lineterminator="\n")
            table.writeheader()
            rounded = ({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows)
            table.writerows(row | {"n": n, "machine": machine()} for row in rounded)


def measured(data: TensorDataset) -> list[dict[str, Any]]:
    """One row for every kind of work."""
    torch.manual_seed(0)
    module, clock = Classifier(resnet_of_greys()), Clock()
    audit = TimedAudit(audit_epochs=(1,), output_dir=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # the clock comes first: its epoch ends before the audit
        trainer(clock, audit, max_epochs=3).fit(module, DataLoader(data, BATCH, shuffle=True))
        epoch = min(clock.epochs)
        plain = seconds_of(lambda: forward(module, data))
        trained = seconds_of(lambda: fresh_audit(data))
    found = {
        "one epoch of training": epoch,
        "a plain forward pass over the data": plain,
        "audit with the partly trained network": audit.seconds[0],
        "audit with an encoder trained on the data": trained,
    }
    return [{"what": what, "cpu_s": cpu, "share_of_epoch": cpu / epoch} for what, cpu in found.items()]


def resnet_of_greys() -> nn.Module:
    """torchvision's ResNet-18 for one channel and ten classes."""
    net: nn.Module = resnet18(num_classes=10)
    net.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return net


@torch.no_grad()
def forward(module: Classifier, data: TensorDataset) -> None:
    module.eval()
    for x, _ in DataLoader(data, BATCH):
        module(x)


def fresh_audit(data: TensorDataset) -> None:
    """The audit before the first epoch, of a network that has learned nothing; one step of training follows."""
    audit = DataAudit(output_dir=None, backbone="self-supervised")
    trainer(audit, max_steps=1).fit(Classifier(resnet_of_greys()), DataLoader(data, BATCH, shuffle=True))


def seconds_of(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
