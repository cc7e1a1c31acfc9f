"""A trainer of sixty lines with callbacks and checkpoints, to try the recipe for new hosts with."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader


class Trainer:
    """Trains a classifier on batches (x, label, position).

    Attributes:
        given_loader: The user's.
        loader: The one that is trained on; callbacks may replace it.
        batches: The iterator of this epoch.
        epoch: Epochs done.
        step: Optimizer steps done.
        seen: Positions trained on, by epoch.
        checkpoints: One at the end of each epoch.
    """

    def __init__(self, module: nn.Module, epochs: int, callbacks: Sequence[Any] = ()) -> None:
        self.module, self.epochs, self.callbacks = module, epochs, callbacks
        self.optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9)
        self.epoch = self.step = 0
        self.seen: list[list[int]] = []
        self.checkpoints: list[dict[str, Any]] = []

    def fit(self, loader: DataLoader[Any], checkpoint: dict[str, Any] | None = None) -> None:
        self.given_loader = self.loader = loader
        if checkpoint is not None:
            self._resume(checkpoint)
        try:
            self._call("on_fit_start")
            while self.epoch < self.epochs:
                self._train_epoch()
        finally:
            self._call("on_fit_end")

    def _train_epoch(self) -> None:
        self._call("on_epoch_start")
        self.batches: Iterator[Any] = iter(self.loader)
        self.seen.append([])
        for batch in self.batches:
            self._call("on_batch_start", batch)
            x, label, position = batch
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.module(x), label).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.step += 1
            self.seen[-1] += position.tolist()
            self._call("on_batch_end")
        self.epoch += 1
        self._call("on_epoch_end")
        own = {name: getattr(self, name) for name in ("epoch", "step")}
        states = [self.module.state_dict(), self.optimizer.state_dict(), [c.state_dict() for c in self.callbacks]]
        self.checkpoints.append(copy.deepcopy({"own": own, "states": states}))

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        vars(self).update(checkpoint["own"])
        module, optimizer, callbacks = checkpoint["states"]
        self.module.load_state_dict(module)
        self.optimizer.load_state_dict(optimizer)
        for callback, state in zip(self.callbacks, callbacks, strict=True):
            callback.load_state_dict(state)

    def _call(self, hook: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)
