"""One `trainer.fit` with audited data: how the loaders of the user are replaced, and when Lightning reloads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.training.audited_training import AuditedTraining
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.training.state import TrainingState
from selfclean_hooks_lightning import lightning_internals
from selfclean_hooks_lightning.held_out import HeldOut
from selfclean_hooks_lightning.host import LightningHost
from selfclean_hooks_lightning.method_override import MethodOverride


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
        """Put the overrides in place."""
        self.trainer = trainer
        self.held_out = HeldOut(trainer) if settings.check_leakage else None
        host = LightningHost(trainer, module, self.held_out)
        self.training = AuditedTraining(settings, state, audits, host, module)
        self.loaders: Any = None  # the user's, as last returned
        self.reloading: tuple[int, int] | None = None  # settings of the trainer, while a reload of ours is under way
        self.source = source = lightning_internals.train_source(trainer)
        if source.is_module():
            self.override = MethodOverride(source.instance, source.name, self._filtered)
        else:  # loaders passed to fit: to be asked for like those of a hook, once the model is ready
            self.override = MethodOverride(module, source.name, self._filtered, former=lambda: source.instance)
            lightning_internals.set_train_source(trainer, type(source)(module, source.name))

    def undo(self) -> None:
        """Restore the user's objects and the trainer."""
        self.override.undo()
        if not self.source.is_module():  # else it belongs to another audit, which restores it
            lightning_internals.set_train_source(self.trainer, self.source)
        if self.held_out is not None:
            self.held_out.undo()
        self.training.close()
        self._restore_reloading()

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
