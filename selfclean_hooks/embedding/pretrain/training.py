"""Training by Lightning's Trainer, which handles accelerators, precision, several devices and loggers."""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812, its own name
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selfclean_hooks.embedding.pretrain.convergence import Convergence
from selfclean_hooks.embedding.pretrain.objectives import LEARNING_RATES, Objective
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.resume import MARK, fingerprint_of_training
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.text import Tick

IMAGES_SEEN = 66_000  # per training, over all epochs
MIN_EPOCHS, MAX_EPOCHS = 2, 40
WARM_UP = 0.15  # share of the training in which the learning rate rises
WEIGHT_DECAY = 1e-4
BATCH = 256  # the learning rates are for this; others follow by the root


class Training(L.LightningModule):
    """An objective, its batches and its schedule."""

    def __init__(self, objective: Objective, data: Tensor, recipe: Recipe) -> None:
        """`data`: (N, C, S, S) uint8."""
        super().__init__()
        self.objective = objective.to(memory_format=torch.channels_last)  # a third of the time less at 28 pixels
        self.data, self.recipe = [data], recipe  # in a list: no module state
        self.batch_size = min(recipe.batch_size, len(data))
        self.steps_an_epoch = len(data) // self.batch_size
        self.epochs = recipe.epochs or min(max(IMAGES_SEEN // len(data), MIN_EPOCHS), MAX_EPOCHS)
        self.spent = 0.0  # seconds, also before a resume
        self.started = math.nan
        self.is_unfinished = False

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches of this epoch, in an order that follows from the seed and the epoch alone."""
        return DataLoader(
            _Batches(self.data[0], self.batch_size, self.recipe.seed, self.current_epoch), batch_size=None
        )

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        """The loss of a (B, C, S, S) uint8 batch."""
        draw = torch.Generator().manual_seed(_mixed(self.recipe.seed, self.global_step, self.global_rank))
        loss: Tensor = self.objective(batch.float().contiguous(memory_format=torch.channels_last) / 255, draw)
        if not bool(torch.isfinite(loss)):
            raise BackboneError(
                f"the self-supervised training came to a loss of {float(loss)} at step {self.global_step}: lower the "
                "learning rate, or use a precision of 32 bits"
            )
        if self.trainer.logger is not None:
            self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_fit_start(self) -> None:
        """The time runs from here."""
        self.started = time.monotonic()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop where the time is up, in all processes after the same step."""
        self.objective.after_step(self.progress)
        is_late = self.seconds >= self.recipe.max_seconds and self.global_step < self.planned
        if self.trainer.strategy.reduce_boolean_decision(is_late, all=False):
            self.is_unfinished = self.trainer.should_stop = True

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self.spent + (0.0 if math.isnan(self.started) else time.monotonic() - self.started)

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]: time has no part in it, so that every machine trains alike."""
        return min(self.global_step / self.planned, 1.0)

    @property
    def planned(self) -> int:
        """Steps of the whole training, in this process."""
        return self.epochs * self.steps_here

    @property
    def steps_here(self) -> int:
        """Steps of an epoch, in this process."""
        return -(-self.steps_an_epoch // self.trainer.world_size)  # the sampler gives all processes as many

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its learning rate up and down along half a cosine."""
        rate = self.recipe.learning_rate or LEARNING_RATES[self.recipe.objective] * (self.batch_size / BATCH) ** 0.5
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, rate, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: _rate(self.progress))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the time that was spent, and what is trained."""
        checkpoint[MARK] = fingerprint_of_training(self)
        checkpoint["selfclean_hooks_spent"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from the time that was spent."""
        self.spent = float(checkpoint["selfclean_hooks_spent"])


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return functools.reduce(lambda mixed, number: (mixed * 1_000_003 + number + 1) % 2**63, numbers, 0)


class _Batches(Dataset[Tensor]):
    """Full batches in one random order; an incomplete last batch is dropped."""

    def __init__(self, data: Tensor, size: int, seed: int, epoch: int) -> None:
        self.data, self.size = data, size
        self.order = torch.randperm(len(data), generator=torch.Generator().manual_seed(_mixed(seed, epoch, -1)))

    def __len__(self) -> int:
        return len(self.data) // self.size

    def __getitem__(self, index: int) -> Tensor:
        return self.data[self.order[index * self.size : (index + 1) * self.size]]


class _Bar(L.Callback):
    def __init__(self, tick: Tick) -> None:
        self.tick = tick

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any, **__: Any) -> None:
        self.tick(round(pl_module.progress * pl_module.planned), pl_module.planned)


class _Partial(L.Callback):
    """Saves the state after each epoch, so that a training that was killed can be resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        trainer.save_checkpoint(beside)
        if trainer.is_global_zero:
            beside.replace(self.path)


def fit(
    training: Training, device: torch.device, tick: Tick | None, partial: Path | None, settings: Mapping[str, Any]
) -> int:
    """Train in place; returns the whole epochs done, those before a resume included.

    Args:
        training: what to train.
        device: where, unless `settings` say it.
        tick: progress.
        partial: file that the state is kept in between epochs, and that an earlier training is resumed from.
        settings: of Lightning's Trainer, to add to or replace those here.
    """
    callbacks: list[L.Callback] = [Convergence(training.recipe)] if training.recipe.patience else []
    callbacks += [_Bar(tick)] if tick is not None else []
    callbacks += [_Partial(partial)] if partial is not None else []
    given = {**_quiet(device), **settings}
    given["callbacks"] = [*callbacks, *(given.get("callbacks") or [])]
    with _silence():
        trainer = L.Trainer(max_epochs=training.epochs, reload_dataloaders_every_n_epochs=1, **given)
        resumed = str(partial) if partial is not None and partial.exists() else None
        with _interruptible():
            trainer.fit(training, ckpt_path=resumed)
    return trainer.global_step // training.steps_here


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return (1 - math.cos(math.pi * (progress + 1e-3) / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2


def _quiet(device: torch.device) -> dict[str, Any]:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    return {
        "accelerator": accelerator,
        "devices": [device.index or 0] if accelerator == "gpu" else 1,
        "plugins": [LightningEnvironment()],  # this process alone, whatever training it may be a part of
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it: Lightning ends the process with status 1 and ignores the signal from then on."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise stop.__context__ from None
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _silence() -> Iterator[None]:
    """Without Lightning's advice about workers and accelerators; as it was afterwards."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
