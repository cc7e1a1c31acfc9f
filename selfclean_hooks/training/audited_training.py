"""One training with audited data: what a host package calls when data is asked for and when epochs start and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.views.dataset_view import DatasetView, open_dataset
from selfclean_hooks.errors import AuditFileError, BackboneError, DataError, PolicyError, SettingError
from selfclean_hooks.training import loaders as dropping
from selfclean_hooks.training.auditor import Auditor
from selfclean_hooks.training.host import Host
from selfclean_hooks.training.loader_collections import data_of, loader_names
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.margins.recorder import MarginRecorder
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.training.state import DataState, TrainingState, data_state
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.text import listing


@dataclass(frozen=True)
class CurrentData:
    """The data of a loader in this training: its data set, the positions drawn by the sampler, and its state."""

    dataset: Any
    drawn: bytes | None
    state: DataState


class AuditedTraining:
    """The audits of one training, and the loaders without what they drop.

    All methods but `batch_starts`, `batch_ends` and `close` are collective operations of the training's processes.

    Args:
        settings: Of the audits.
        state: The outcome of earlier audits; kept up to date, and what a checkpoint holds.
        audits: The latest audit by loader; kept up to date.
        host: The trainer.
        module: In training.
    """

    def __init__(
        self, settings: TrainingSettings, state: TrainingState, audits: dict[str, Audit], host: Host, module: nn.Module
    ) -> None:
        """Nothing is audited yet."""
        self.settings, self.state, self.host = settings, state, host
        self.processes = Processes.here()
        self.auditor = Auditor(settings, self.processes, host, module, audits, state.margins)
        self.recorder = MarginRecorder(host, module, self.processes, settings.epochs[-1], state.margins)
        self.loaders: Any = None  # the user's, as last given
        self.current: dict[str, CurrentData] = {}  # by loader

    def filter(self, loaders: Any) -> Any:
        """The user's training loaders without the samples to drop; audits data that was not audited yet.

        To be called before the loaders are iterated over, and again after an `epoch_ends` that returned True.

        Args:
            loaders: A loader or a collection of them, left as they are.

        Returns:
            New loaders over what is kept; `loaders` itself where nothing is dropped.

        Raises:
            SettingError: Samples are to be dropped, and cannot be from such a loader.
            ContaminationError: Beyond a limit, or flagged where the policy says "raise".
            SelfCleanError: The data cannot be audited.
        """
        self.loaders = loaders
        self._check_alike(lambda: ", ".join(loader_names(loaders, self.host.map_loaders)))
        filtered = self.host.map_loaders(loaders, self._filter)
        self.recorder.loaded(loaders, filtered)
        return filtered

    def starts(self) -> None:
        """The first step is about to be made: loggers get the audits before it."""
        self.auditor.training_started = True
        self.auditor.log()

    def epoch_starts(self, loaders: Any) -> None:
        """Record the margins of this epoch, if a later audit is due.

        Args:
            loaders: Those that the trainer iterates over.
        """
        self.recorder.epoch_starts(self.auditor.audits, loaders)

    def batch_starts(self, batch: Any) -> None:
        """Before a step, for trainers that know the iterator of their batches (`Host.fetched`)."""
        if self.recorder.epoch is not None:
            self.recorder.epoch.batch_starts(batch)

    def batch_ends(self) -> None:
        """After a step."""
        if self.recorder.epoch is not None:
            self.recorder.epoch.batch_ends()

    def epoch_ends(self, is_last: bool = False) -> bool:
        """Audit for the next epoch, if it is one to audit for; before the checkpoint of this epoch is saved.

        Args:
            is_last: Whether the training ends here, so that no further audit is needed.

        Returns:
            Whether other samples are dropped from now on, so that loaders must be filtered again.
        """
        self.recorder.epoch_ends()
        epoch = self.host.epochs_done()
        if epoch not in self.settings.epochs or is_last or self.loaders is None or self.host.rehearsal():
            return False
        before = self.state.dropped
        self.host.map_loaders(self.loaders, lambda name, loader: self._audit_again(name, loader, epoch))
        self.auditor.log()
        if epoch == self.settings.epochs[-1]:
            self.state.margins.clear()  # no longer needed, and they would make checkpoints larger
        return self.state.dropped != before

    def close(self) -> None:
        """Restore torch and the module."""
        self.recorder.undo()

    def _check_alike(self, work: Callable[[], str]) -> str:
        """What all processes return alike: one that went another way would leave the others waiting."""
        answers = self.processes.gather_all(work)
        if len(set(answers)) > 1:
            raise DataError(f"all processes of the training must have the same loaders and data, and have: {answers}")
        return answers[0]

    def _filter(self, name: str, loader: Any) -> Any:
        if not self._can_be_audited(name, loader):
            return loader
        if self.host.rehearsal():
            self.auditor.rehearse(name, loader)
            return loader
        state = self._up_to_date(name, loader)
        return loader if state is None else self._without(name, loader, state.dropped)

    def _can_be_audited(self, name: str, loader: Any) -> bool:
        """Fail fast where a setting cannot be honoured; False, after a warning, where nothing is lost."""
        what = f"the training data {name}".strip()
        why = self._check_alike(lambda: _why_no_data(loader))
        if why:
            self._tolerate(what, why)
            return False
        if self.settings.drops and (refused := dropping.refusal(loader)) is not None:
            raise SettingError(f"samples cannot be dropped from {what}: {refused}")
        return True

    def _tolerate(self, what: str, why: str) -> None:
        """Train on data that cannot be audited, after a warning, unless drops, limits or a stop were asked for."""
        if self.settings.enforces:
            raise DataError(f"{what} cannot be audited, so nothing can be dropped or limited: {why}")
        self.auditor.warn(f"DataAudit: {what} is not audited: {why}")

    def _up_to_date(self, name: str, loader: Any) -> DataState | None:
        """The state of the data of a loader, from an audit now if need be; None: the first audit is for later."""
        epoch, last = self.host.epochs_done(), self.state.data.get(name)
        behind = last is not None and any(last.epoch < due <= epoch for due in self.settings.epochs)
        due = behind and not self.auditor.training_started  # an audit that the resumed run had not made
        sampled, view = sampled_indices(loader), open_dataset(data_of(loader))  # the view: for fingerprint and audit
        drawn, current = None if sampled is None else sampled.tobytes(), self.current.get(name)
        if current is None or current.dataset is not loader.dataset or current.drawn != drawn:
            now = data_state(self.processes, view, self.settings.decisive, epoch)
            self.current[name] = CurrentData(loader.dataset, drawn, now)
            due = self._changed(name, last, now, is_new=current is None and not due) or due
            due = due or (last is None and self.settings.epochs[0] <= epoch)
        if due:
            self._audit(name, loader, view, epoch)
        return self.state.data.get(name)

    def _changed(self, name: str, last: DataState | None, now: DataState, is_new: bool) -> bool:
        """Whether the last audit does not hold any more; the user reads either."""
        if last is None:
            return False
        if not last.same_data(now):
            self.state.margins.pop(name, None)
        changed, lost = last.changed(now), len(last.dropped)
        if changed:
            self.auditor.warn(f"DataAudit: {changed}, so it is audited again")
        elif is_new:
            self.auditor.inform(
                f"DataAudit: the data is as audited before epoch {last.epoch}; the {lost} samples dropped then stay "
                f"dropped, {last.n - lost} are kept"
            )
        return bool(changed)

    def _audit(self, name: str, loader: Any, view: DatasetView, epoch: int) -> None:
        try:
            self._audit_and_drop(name, loader, view, epoch)
        except DataError as error:
            self._tolerate(f"the training data {name}".strip(), str(error))
            self.state.data.pop(name, None)

    def _audit_again(self, name: str, loader: Any, epoch: int) -> Any:
        """An audit in the course of training. If it fails, training goes on with the last one."""
        if name not in self.current:
            return loader
        before = self.state.data.get(name, self.current[name].state).dropped
        try:
            self._audit_and_drop(name, loader, open_dataset(data_of(loader)), epoch)
        except (DataError, BackboneError, PolicyError, AuditFileError) as error:
            self.auditor.warn(f"DataAudit: no audit for epoch {epoch}, what was dropped stays dropped: {error}")
            return loader
        back = np.setdiff1d(before, self.state.data[name].dropped)
        if len(back):
            self.auditor.inform(f"DataAudit: {len(back)} samples dropped before are trained on again: {listing(back)}")
        return loader

    def _audit_and_drop(self, name: str, loader: Any, view: DatasetView, epoch: int) -> None:
        """Loaders are filtered as a trial: a failure when they are asked for would end the training."""
        dropped = self.auditor.audit(name, loader, view, epoch, partial(self._without, name, loader))
        self.state.data[name] = replace(self.current[name].state, dropped=dropped, epoch=epoch)

    def _without(self, name: str, loader: Any, dropped: IntArray) -> Any:
        """The loader without the dropped positions of its `data_of`."""
        sampled = sampled_indices(loader)
        lost = dropped if sampled is None else sampled[dropped]
        new = dropping.filter_loader(loader, np.setdiff1d(np.arange(len(loader.dataset)), lost))
        if new is loader:
            return loader
        shards = self.host.sampler_shards()
        why = dropping.problem(new, len(loader.dataset), shards)
        why = why or self.host.why_too_few(dropping.batches(new, shards))
        if why is not None:
            raise PolicyError(f"training on what is left of {name or 'the training data'} cannot work: {why}")
        if dropping.single_sample_batch(new, loader, shards):
            self.auditor.warn(
                "DataAudit: without the dropped samples the last batch of an epoch holds a single one, which BatchNorm "
                "may refuse: set drop_last=True or another batch_size"
            )
        return new


def _why_no_data(loader: Any) -> str:
    """Why a loader has no data that can be audited, or ""."""
    try:
        check_map_style(data := data_of(loader))
    except DataError as error:
        return str(error)
    return "" if len(data) >= 2 else f"an audit compares samples: the data set must hold at least 2, got {len(data)}"
