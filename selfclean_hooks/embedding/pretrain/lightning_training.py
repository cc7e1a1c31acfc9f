"""The same training by Lightning's Trainer: on several devices, in mixed precision, with loggers and callbacks."""

from __future__ import annotations

import logging
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
from torch.utils.data import DataLoader

from selfclean_hooks.embedding.pretrain.convergence import Convergence
from selfclean_hooks.embedding.pretrain.training import LIGHTNING_STATE, Training, fingerprint_of_training
from selfclean_hooks.utils.text import Tick


class _Module(L.LightningModule):
    """Steps, batches and schedule of a training, as the Trainer asks for them."""

    def __init__(self, plan: Training) -> None:
        super().__init__()
        self.objective, self.plan = plan.objective, plan

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches of this epoch."""
        batches: Any = self.plan.batches(self.current_epoch)
        return DataLoader(batches, batch_size=None, collate_fn=self.plan.data.__getitem__)

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        """The loss, which is logged where there is a logger."""
        self.plan.step = self.global_step
        loss = self.plan.loss(batch, self.global_rank)
        if self.trainer.logger is not None:
            self.log("loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def on_fit_start(self) -> None:
        """The time runs from here."""
        self.plan.started = time.monotonic()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop where the time is up, in all processes after the same step."""
        self.objective.after_step(self.plan.progress)
        if self.trainer.strategy.reduce_boolean_decision(self.plan.is_late, all=False):
            self.plan.is_unfinished = self.trainer.should_stop = True

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The learning rate follows the steps."""
        self.plan.processes = self.trainer.world_size  # the sampler gives all processes as many steps

        def share(_: int) -> float:
            self.plan.step = self.global_step
            return self.plan.share_of_rate()

        optimizer = self.plan.optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the time that was spent, and what is trained."""
        checkpoint[LIGHTNING_STATE] = fingerprint_of_training(self.plan)
        checkpoint["selfclean_hooks_spent"] = self.plan.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from the time that was spent."""
        self.plan.spent = float(checkpoint["selfclean_hooks_spent"])


class _Convergence(L.Callback):
    """Ends the training once it has converged."""

    def __init__(self, plan: Training) -> None:
        self.plan, self.inner = plan, Convergence(plan.recipe)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = self.inner.check(self.plan.objective.network, self.plan.data)
        if measured and trainer.logger is not None:
            pl_module.log_dict(dict(measured), sync_dist=True)
        trainer.should_stop = trainer.should_stop or self.inner.is_reached

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)


class _Bar(L.Callback):
    def __init__(self, tick: Tick, plan: Training) -> None:
        self.tick, self.plan = tick, plan

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        self.tick(self.plan.step, self.plan.planned)


class _Partial(L.Callback):
    """Saves the state after each epoch, so that a training that was killed can be resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        trainer.save_checkpoint(beside)
        if trainer.is_global_zero:
            beside.replace(self.path)


def fit_by_lightning(
    training: Training, device: torch.device, tick: Tick | None, partial: Path | None, settings: Mapping[str, Any]
) -> int:
    """As `training.fit`.

    Args:
        training: what to train.
        device: where, unless `settings` say it.
        tick: progress.
        partial: file that the state is kept in between epochs, and that an earlier training is resumed from.
        settings: of Lightning's Trainer, to add to or replace those here.
    """
    callbacks: list[L.Callback] = [_Convergence(training)]
    callbacks += [_Bar(tick, training)] if tick is not None else []
    callbacks += [_Partial(partial)] if partial is not None else []
    given = {**_quiet(device), **settings}
    given["callbacks"] = [*callbacks, *(given.get("callbacks") or [])]
    with _silence():
        trainer = L.Trainer(max_epochs=training.epochs, reload_dataloaders_every_n_epochs=1, **given)
        resumed = str(partial) if partial is not None and partial.exists() else None
        with _interruptible():
            trainer.fit(_Module(training), ckpt_path=resumed)
    return trainer.global_step // training.steps_an_epoch


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
