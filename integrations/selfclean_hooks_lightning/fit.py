"""One `trainer.fit` with audited data: the Trainer as audits see it, and how the loaders of the user are replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.training.audited_training import AuditedTraining
from selfclean_hooks.training.host import Host
from selfclean_hooks.training.loader_collections import map_loaders
from selfclean_hooks.training.margins.epoch_recorder import COMPILED
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.training.state import TrainingState
from selfclean_hooks_lightning import lightning_internals
from selfclean_hooks_lightning.held_out import HeldOut
from selfclean_hooks_lightning.hooks import BatchHooks, MethodOverride


class LightningHost(Host):
    """The adapter of one `fit`.

    Args:
        trainer: In the setup of `fit`.
        module: The LightningModule.
        held_out: Validation and test loaders; None: they are not compared.
    """

    packages = ("lightning", "pytorch_lightning")

    def __init__(self, trainer: Any, module: Any, held_out: HeldOut | None) -> None:
        """See the class."""
        self.trainer, self.module, self.validation_and_test = trainer, module, held_out

    def epochs_done(self) -> int:
        """Not current_epoch, which lags behind by one in a checkpoint of the end of an epoch."""
        return int(self.trainer.fit_loop.epoch_progress.current.processed)

    def steps_done(self) -> int:
        """Optimizer steps."""
        return int(self.trainer.global_step)

    def has_loaded_weights(self) -> bool:
        """Whether `fit` was given a checkpoint."""
        return self.trainer.ckpt_path is not None

    def device(self) -> Any:
        """The trainer's."""
        return self.trainer.strategy.root_device

    def shows_progress(self) -> bool:
        """As the trainer does; not into a live display of Rich, which would garble both."""
        bar = self.trainer.progress_bar_callback
        return bar is not None and getattr(bar, "is_enabled", True) and getattr(bar, "progress", None) is None

    def rehearsal(self) -> str:
        """Whether this is a fast_dev_run."""
        return "fast_dev_run" if self.trainer.fast_dev_run else ""

    def sampler_shards(self) -> int:
        """The processes that a DistributedSampler of Lightning's serves."""
        return int(self.trainer.world_size) if lightning_internals.adds_distributed_sampler(self.trainer) else 1

    def loggers(self) -> Sequence[Any]:
        """The trainer's."""
        loggers: Sequence[Any] = self.trainer.loggers
        return loggers

    def logger(self) -> logging.Logger:
        """Where Lightning writes its own lines."""
        modules = (base.__module__ for base in type(self.trainer).__mro__)  # users derive their own
        package = next(module for module in modules if module.split(".")[0] in self.packages)
        return logging.getLogger(package.split(".trainer")[0])

    def batch_maker(self, loader: Any) -> tuple[Callable[[list[Any]], Any] | None, str]:
        """By the hooks of the module or data module that change batches."""
        hooks = BatchHooks(self.trainer, self.module, getattr(loader, "collate_fn", None), self.packages)
        return (hooks if hooks.names and callable(hooks.collate) else None), hooks.names

    def epochs_planned(self) -> int | None:
        """By `max_epochs` and `max_steps`, whichever comes first."""
        trainer, limits = self.trainer, []
        if trainer.max_epochs is not None and trainer.max_epochs >= 0:
            limits.append(trainer.max_epochs)
        steps, batches = trainer.max_steps, trainer.num_training_batches
        if steps >= 0 and self.module.automatic_optimization and 0 < batches < float("inf"):
            limits.append(-(-steps // -(-batches // trainer.accumulate_grad_batches)))
        return min(limits, default=None)

    def map_loaders(self, loaders: Any, change: Callable[[str, Any], Any]) -> Any:
        """CombinedLoaders too."""
        return map_loaders(loaders, change, lightning_internals.rebuild_combined)

    def held_out(self, given: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
        """The loaders that `fit` validates on, and those of the test split if they are ready."""
        return ({}, []) if self.validation_and_test is None else self.validation_and_test.loaders("test" not in given)

    def why_too_few(self, batches: int) -> str | None:
        """Lightning refuses to validate more rarely than once an epoch, unless it is set to count on."""
        every = self.trainer.val_check_interval
        whole_epochs = self.trainer.check_val_every_n_epoch is not None and self.trainer.limit_val_batches
        if not isinstance(every, int) or not whole_epochs or batches >= every:
            return None
        return (
            f"val_check_interval={every} asks for validation every {every} batches, and {batches} are left in an "
            "epoch: lower it, pass check_val_every_n_epoch=None or drop fewer samples"
        )

    def why_not_recorded(self, loader: Any) -> str:
        """Modules compiled by Lightning, and steps that fetch their own batches."""
        if lightning_internals.is_compiled(self.module):
            return COMPILED
        return "training_step fetches the batches itself" if lightning_internals.fetches_in_step(self.trainer) else ""

    def fetched(self) -> tuple[Any, int] | None:
        """Of the one loader that is trained on."""
        return lightning_internals.fetched(self.trainer)


class Fit:
    """Overrides the hook that returns the training loaders: audits their data, and hands on what is kept.

    Args:
        settings: Of the callback.
        state: The outcome of earlier audits; kept up to date.
        audits: The latest audit by loader; kept up to date.
        trainer: In the setup of `fit`.
        module: The LightningModule.
    """

    def __init__(
        self, settings: TrainingSettings, state: TrainingState, audits: dict[str, Audit], trainer: Any, module: Any
    ) -> None:
        """Put the overrides in place; none stays if that fails."""
        self.trainer = trainer
        self.loaders: Any = None  # the user's, as last returned
        self.reloading: tuple[int, int] | None = None  # settings of the trainer, while a reload of ours is under way
        with ExitStack() as undone:
            held_out = HeldOut(trainer) if settings.check_leakage else None
            if held_out is not None:
                undone.callback(held_out.undo)
            self.training = AuditedTraining(settings, state, audits, LightningHost(trainer, module, held_out), module)
            undone.callback(self.training.close)
            undone.callback(self._restore_reloading)
            self._override(module, undone)
            self.undone = undone.pop_all()

    def undo(self) -> None:
        """Restore the user's objects and the trainer."""
        self.undone.close()

    def _override(self, module: Any, undone: ExitStack) -> None:
        """Override the hook; loaders passed to `fit` are asked for like those of a hook, once the model is ready."""
        trainer, source = self.trainer, lightning_internals.train_source(self.trainer)
        if source.is_module():  # perhaps that of another audit, which restores it
            undone.callback(MethodOverride(source.instance, source.name, self._filtered).undo)
            return
        override = MethodOverride(module, source.name, self._filtered, former=lambda: source.instance)
        undone.callback(override.undo)
        undone.callback(lightning_internals.set_train_source, trainer, source)
        lightning_internals.set_train_source(trainer, type(source)(module, source.name))

    def epoch_starts(self) -> None:
        """The loaders have been asked for."""
        self._restore_reloading()
        self.training.epoch_starts(self.trainer.train_dataloader)

    def epoch_ends(self) -> None:
        """Audit for the next epoch if one is due; if that drops other samples, have the trainer reload."""
        trainer = self.trainer
        epoch = trainer.current_epoch + 1
        stopping = trainer.should_stop and lightning_internals.can_stop_early(trainer)
        is_last = stopping or epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
        changed = self.training.epoch_ends(is_last)
        every, last = trainer.reload_dataloaders_every_n_epochs, lightning_internals.last_reload_epoch(trainer)
        if changed and not (every and epoch - last >= every):  # else it reloads by itself
            self.reloading, trainer.reload_dataloaders_every_n_epochs = (every, last), 1

    def _filtered(self, hook: Callable[[], Any]) -> Any:
        """The user's loaders without what is to be dropped."""
        try:
            if self.reloading is None:  # else the reload is ours: the user's hook is called as often as without us
                self.loaders = self.training.processes.run_on_each(hook)
            return self.training.filter(self.loaders)
        except BaseException:
            lightning_internals.restore_patches()
            raise

    def _restore_reloading(self) -> None:
        """Restore the trainer's own settings of reloading."""
        if self.reloading is not None:
            (every, last), self.reloading = self.reloading, None
            self.trainer.reload_dataloaders_every_n_epochs = every
            lightning_internals.set_last_reload_epoch(self.trainer, last)
