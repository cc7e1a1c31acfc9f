"""One `trainer.fit` as the audit sees it: what stands in for the user's hooks, and what is dropped from the loaders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.errors import AuditFileError, BackboneError, DataError, PolicyError, SettingError
from selfclean_hooks.training.loaders import (
    batches,
    filter_loader,
    map_loaders,
    names_of,
    problem,
    refusal,
    sampled_indices,
    single_sample_batch,
)
from selfclean_hooks.training.settings import DataState, Settings, data_state
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.text import listing
from selfclean_hooks_lightning.audit_runner import Auditor
from selfclean_hooks_lightning.held_out import HeldOut, data_of
from selfclean_hooks_lightning.margin_recorder import Margins, Recorder
from selfclean_hooks_lightning.method_override import MethodOverride
from selfclean_hooks_lightning.patches import restore_lightning_patches


class Fit:
    """Stands in for the train loader hook: audits what it returns, and hands on what is to be kept.

    Args:
        settings: Of the callback.
        known: What earlier audits found, by loader; kept up to date.
        margins: Recorded so far for later audits, by loader; kept up to date.
        audits: The latest audit by loader; kept up to date.
        trainer: In the setup of `fit`.
        module: The LightningModule.
    """

    def __init__(
        self,
        settings: Settings,
        known: dict[str, DataState],
        margins: dict[str, Margins],
        audits: dict[str, Audit],
        trainer: Any,
        module: Any,
    ) -> None:
        """Put the stand-ins in place."""
        self.settings, self.known, self.margins, self.trainer, self.module = settings, known, margins, trainer, module
        self.processes = Processes.here()
        self.held_out = HeldOut(trainer, settings.held_out) if settings.check_leakage else None
        self.auditor = Auditor(settings, self.processes, trainer, module, self.held_out, audits, margins)
        self.recorder = Recorder(trainer, module, self.processes, settings.epochs[-1], margins, self.auditor.inform)
        self.loaders: Any = None  # the user's, as last returned
        self.met: dict[str, tuple[Any, Any, DataState]] = {}  # in this fit by loader: data set, positions drawn, Known
        self.rhythm: tuple[int, int] | None = None  # of the trainer's own reloading, while ours is in its place
        self.source = source = trainer.fit_loop._data_source
        if source.is_module():
            self.stand_in = MethodOverride(source.instance, source.name, self._asked)
        else:  # loaders were passed to fit: they shall be asked for like those of a hook, once the model is ready
            self.stand_in = MethodOverride(module, source.name, self._asked, former=lambda: source.instance)
            trainer.fit_loop._data_source = type(source)(module, source.name)

    def undo(self) -> None:
        """Leave the user's objects and the trainer as they were found."""
        self.stand_in.undo()
        if not self.source.is_module():  # else it is another audit's, to be put back by that
            self.trainer.fit_loop._data_source = self.source
        if self.held_out is not None:
            self.held_out.undo()
        self.recorder.undo()
        self.reloaded()

    def epoch_starts(self) -> None:
        """The loaders are there."""
        self.reloaded()
        self.recorder.epoch_starts(self.auditor.audits)

    def reloaded(self) -> None:
        """Give the trainer its own rhythm of reloading back."""
        if self.rhythm is not None:
            (every, last), self.rhythm = self.rhythm, None
            self.trainer.reload_dataloaders_every_n_epochs = every
            self.trainer.fit_loop._last_train_dl_reload_epoch = last

    def epoch_ends(self) -> None:
        """Audit for the next epoch if it is one to audit for; if that drops other samples, have the trainer reload."""
        self.recorder.epoch_ends()
        trainer, epoch = self.trainer, self.trainer.current_epoch + 1
        stopping = trainer.should_stop and trainer.fit_loop._can_stop_early
        over = stopping or epoch == trainer.max_epochs or trainer.global_step == trainer.max_steps
        if epoch not in self.settings.epochs or over or self.loaders is None or trainer.fast_dev_run:
            return
        before = self._dropped()
        map_loaders(self.loaders, lambda name, loader: self._again(name, loader, epoch))
        self.auditor.tell_loggers()
        if epoch == self.settings.epochs[-1]:
            self.margins.clear()  # they have served, and would make checkpoints larger
        every, last = trainer.reload_dataloaders_every_n_epochs, trainer.fit_loop._last_train_dl_reload_epoch
        if self._dropped() != before and not (every and epoch - last >= every):  # else it reloads by itself
            self.rhythm, trainer.reload_dataloaders_every_n_epochs = (every, last), 1

    def _dropped(self) -> dict[str, list[int]]:
        return {name: known.dropped.tolist() for name, known in self.known.items() if len(known.dropped)}

    def _asked(self, hook: Callable[[], Any]) -> Any:
        """The user's loaders without what is to be dropped."""
        try:
            if self.rhythm is None:  # else it is our own reload: the user's hook is called as often as without us
                self.loaders = self.processes.run_on_each(hook)
            self._agreed(lambda: ", ".join(names_of(self.loaders)))
            loaders = map_loaders(self.loaders, self._filtered)
            self.recorder.loaded(self.loaders, loaders)
            return loaders
        except BaseException:
            restore_lightning_patches()
            raise

    def _agreed(self, work: Callable[[], str]) -> str:
        """What all processes say alike: one that goes another way would leave the others waiting."""
        said = self.processes.gather_all(work)
        if len(set(said)) > 1:
            raise DataError(f"all processes of the training must have the same loaders and data, and they say: {said}")
        return said[0]

    def _filtered(self, name: str, loader: Any) -> Any:
        if not self._can_be_audited(name, loader):
            return loader
        if self.trainer.fast_dev_run:
            self.auditor.rehearse(name, loader)
            return loader
        known = self._recalled(name, loader)
        return loader if known is None else self._without(name, loader, known.dropped)

    def _can_be_audited(self, name: str, loader: Any) -> bool:
        """Refuse what cannot be done before time goes into an audit; False, after a warning, where nothing is lost."""
        what = f"the training data {name}".strip()
        why = self._agreed(lambda: _no_data(loader))
        if why:
            self._tolerate(what, why)
            return False
        refused = refusal(loader) if self.settings.drops else None
        if refused is not None:
            raise SettingError(f"samples cannot be dropped from {what}: {refused}")
        return True

    def _tolerate(self, what: str, why: str) -> None:
        """Train on data that cannot be audited, after a warning, unless something was asked for that would be lost."""
        if self.settings.demands:
            raise DataError(f"{what} cannot be audited, so nothing can be dropped or limited: {why}")
        self.auditor.warn(f"DataAudit: {what} is not audited: {why}")

    def _recalled(self, name: str, loader: Any) -> DataState | None:
        """What is known of the data of a loader, from an audit now if need be; None: the first audit is for later."""
        # not current_epoch: in a checkpoint of the end of an epoch that one lags behind by one
        epoch, last = self.trainer.fit_loop.epoch_progress.current.processed, self.known.get(name)
        behind = last is not None and any(last.epoch < due <= epoch for due in self.settings.epochs)
        missed = (
            behind and not self.auditor.begun
        )  # a run that is resumed has an audit to make that the last one had not
        positions = sampled_indices(loader)
        drawn = None if positions is None else positions.tobytes()
        dataset, before, now = self.met.get(name, (None, None, None))
        if now is None or dataset is not loader.dataset or before != drawn:
            now = data_state(self.processes, data_of(loader), self.settings.decides, epoch)
            self.met[name] = (loader.dataset, drawn, now)
            changed = "" if last is None else last.changed(now)
            if last is not None and (last.n, last.fingerprint) != (now.n, now.fingerprint):
                self.margins.pop(name, None)
            if changed:
                self.auditor.warn(f"DataAudit: {changed}, so it is audited again")
            elif last is not None and not missed and dataset is None:
                self.auditor.inform(
                    f"DataAudit: the data is as audited before epoch {last.epoch}; the {len(last.dropped)} samples "
                    f"dropped then stay dropped, {last.n - len(last.dropped)} are kept"
                )
            missed = missed or bool(changed) or (last is None and self.settings.epochs[0] <= epoch)
        if missed:
            try:
                dropped = self.auditor.audit(name, loader, epoch, partial(self._without, name, loader))
                self.known[name] = replace(now, dropped=dropped, epoch=epoch)
            except DataError as error:
                self._tolerate(f"the training data {name}".strip(), str(error))
                self.known.pop(name, None)
        return self.known.get(name)

    def _again(self, name: str, loader: Any, epoch: int) -> Any:
        """An audit in the course of training. If it cannot be made, training goes on with what is known."""
        if name not in self.met:
            return loader
        before, now = self.known.get(name), self.met[name][2]
        try:
            # what is left is tried now: what fails when the loaders are asked for would end the training
            dropped = self.auditor.audit(name, loader, epoch, partial(self._without, name, loader))
        except (DataError, BackboneError, PolicyError, AuditFileError) as error:
            self.auditor.warn(f"DataAudit: no audit for epoch {epoch}, what was dropped stays dropped: {error}")
            return loader
        self.known[name] = replace(now, dropped=dropped, epoch=epoch)
        back = np.setdiff1d(now.dropped if before is None else before.dropped, dropped)
        if len(back):
            self.auditor.inform(f"DataAudit: {len(back)} samples dropped before are trained on again: {listing(back)}")
        return loader

    def _without(self, name: str, loader: Any, dropped: NDArray[np.int64]) -> Any:
        """The loader without the dropped positions of its `data_of`."""
        positions = sampled_indices(loader)
        lost = dropped if positions is None else positions[dropped]
        new = filter_loader(loader, np.setdiff1d(np.arange(len(loader.dataset)), lost))
        if new is loader:
            return loader
        shared = getattr(self.trainer._accelerator_connector, "use_distributed_sampler", True)
        size = self.trainer.world_size if shared else 1
        why = problem(new, len(loader.dataset), size) or self._too_few_to_validate(batches(new, size))
        if why is not None:
            raise PolicyError(f"training on what is left of {name or 'the training data'} cannot work: {why}")
        if single_sample_batch(new, loader, size):
            self.auditor.warn(
                "DataAudit: without the dropped samples the last batch of an epoch holds a single one, which BatchNorm "
                "may refuse: set drop_last=True or another batch_size"
            )
        return new

    def _too_few_to_validate(self, left: int) -> str | None:
        """Why the trainer would refuse that many batches in an epoch."""
        every = self.trainer.val_check_interval
        whole_epochs = self.trainer.check_val_every_n_epoch is not None and self.trainer.limit_val_batches
        if not isinstance(every, int) or not whole_epochs or left >= every:
            return None
        return (
            f"val_check_interval={every} asks for validation every {every} batches, and {left} are left in an epoch: "
            "lower it, pass check_val_every_n_epoch=None or drop fewer samples"
        )


def _no_data(loader: Any) -> str:
    """Why a loader has no data that can be audited, or ""."""
    try:
        check_map_style(data := data_of(loader))
    except DataError as error:
        return str(error)
    few = f"an audit compares samples: the data set must hold at least 2, got {len(data)}"
    return few if len(data) < 2 else ""
