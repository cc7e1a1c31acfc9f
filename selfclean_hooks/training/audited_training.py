"""One training with audited data: what a host package calls when data is asked for and when epochs start and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.data.views.dataset_view import DatasetView
from selfclean_hooks.errors import DataError, PolicyError, SettingError
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.training import loaders as dropping
from selfclean_hooks.training.auditor import Auditor
from selfclean_hooks.training.host import Host, corrected_loader, fewer_steps
from selfclean_hooks.training.loader_collections import loader_names, view_of, why_no_data
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.margins.epoch_recorder import EpochRecorder
from selfclean_hooks.training.margins.recorder import MarginRecorder
from selfclean_hooks.training.messages import data_name
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.training.state import CurrentData, DataState, TrainingState, data_state
from selfclean_hooks.training.tolerance import NO_MARGINS, NOT_AUDITED, NOT_LOGGED, REFUSALS, Tolerance
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.text import listing


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
        self.tolerance = Tolerance(settings.raises, settings.embedding.timeout, self.processes, host)
        self.failed: set[str] = set()  # loaders whose audit failed, with a warning
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
            Exception: The audit failed, and `on_error` stops the training.
        """
        self.loaders = loaders
        filtered = self.tolerance.together(NOT_AUDITED, self._filtered, loaders)
        self.tolerance.together(NO_MARGINS, lambda: self.recorder.loaded(loaders, filtered), None)
        return filtered

    def starts(self) -> None:
        """The first step is about to be made: loggers get the audits before it."""
        self.auditor.starts()
        self._log()

    def epoch_starts(self, loaders: Any) -> None:
        """Record the margins of this epoch, if a later audit is due.

        Args:
            loaders: Those that the trainer iterates over.
        """
        self.tolerance.together(NO_MARGINS, lambda: self.recorder.epoch_starts(self.auditor.audits, loaders), None)

    def batch_starts(self, batch: Any) -> None:
        """Before a step, for trainers that know the iterator of their batches (`Host.fetched`)."""
        self._record(lambda epoch: epoch.batch_starts(batch))

    def batch_ends(self) -> None:
        """After a step."""
        self._record(lambda epoch: epoch.batch_ends())

    def epoch_ends(self, is_last: bool = False) -> bool:
        """Audit for the next epoch, if it is one to audit for; before the checkpoint of this epoch is saved.

        Args:
            is_last: Whether the training ends here, so that no further audit is needed.

        Returns:
            Whether other samples are dropped from now on, so that loaders must be filtered again.
        """
        self.tolerance.together(NO_MARGINS, self.recorder.epoch_ends, None)
        epoch = self.host.epochs_done()
        if epoch not in self.settings.epochs or is_last or self.loaders is None or self.host.rehearsal():
            return False
        before = self.state.changes
        self.host.map_loaders(self.loaders, lambda name, loader: self._audit_again(name, loader, epoch))
        self._log()
        if epoch == self.settings.epochs[-1]:
            self.state.margins.clear()  # no longer needed, and they would make checkpoints larger
        return self.state.changes != before

    def close(self) -> None:
        """Restore torch and the module."""
        self.recorder.undo()

    def _log(self) -> None:
        self.tolerance.together(NOT_LOGGED, self.auditor.log, None)

    def _record(self, step: Callable[[EpochRecorder], None]) -> None:
        """In the midst of the user's training: what fails there ends the recording alone."""
        epoch = self.recorder.epoch
        if epoch is not None and (why := self.tolerance.alone(NO_MARGINS, lambda: step(epoch))):
            epoch.fail(why)

    def _filtered(self) -> Any:
        self.processes.agree(lambda: ", ".join(loader_names(self.loaders, self.host.map_loaders)))
        return self.host.map_loaders(self.loaders, self._filter)

    def _filter(self, name: str, loader: Any) -> Any:
        """What fails with one loader leaves the others audited; until a later audit one warning is enough."""
        work, lost = partial(self._audited, name, loader), f"{data_name(name)} is not audited"
        found = None if name in self.failed else self.tolerance.together(lost, work, None)
        if found is None:
            self.failed.add(name)
            self.state.data.pop(name, None)
        return loader if found is None else found

    def _audited(self, name: str, loader: Any) -> Any:
        if not self._can_be_audited(name, loader):
            return loader
        if self.host.rehearsal():
            self.auditor.rehearse(name, loader)
            return loader
        state = self._up_to_date(name, loader)
        return loader if state is None else self._corrected(name, loader, state.corrections)

    def _can_be_audited(self, name: str, loader: Any) -> bool:
        """Fail fast where a setting cannot be honoured; False, after a warning, where nothing is lost."""
        if why := self.processes.agree(lambda: why_no_data(loader)):
            self._tolerate(name, why)
            return False
        if self.settings.changes_data and (refused := dropping.refusal(loader)) is not None:
            raise SettingError(f"samples cannot be dropped from {data_name(name)} or relabelled: {refused}")
        return True

    def _tolerate(self, name: str, why: str) -> None:
        """Train on data that cannot be audited, after a warning, where errors do not stop the training."""
        if self.settings.raises:
            undone = ", so nothing can be dropped or limited" if self.settings.enforces else ""
            raise DataError(f"{data_name(name)} cannot be audited{undone}: {why}")
        self.auditor.warn(f"DataAudit: {data_name(name)} is not audited: {why}")

    def _up_to_date(self, name: str, loader: Any) -> DataState | None:
        """The state of the data of a loader, from an audit now if need be; None: the first audit is for later."""
        epoch, last = self.host.epochs_done(), self.state.data.get(name)
        behind = last is not None and any(last.epoch < due <= epoch for due in self.settings.epochs)
        due = behind and not self.auditor.training_started  # an audit that the resumed run had not made
        sampled, view, current = (
            sampled_indices(loader),
            view_of(loader, self.settings.embedding),
            self.current.get(name),
        )
        drawn = None if sampled is None else sampled.tobytes()
        if current is None or current.dataset is not loader.dataset or current.drawn != drawn:
            now = data_state(self.processes, view, self.settings.decisive, epoch)
            self.current[name] = CurrentData(loader.dataset, drawn, now)
            is_new = current is None and not due
            due = self._changed(name, last, now, is_new, self.state.is_other_part(name, loader.dataset)) or due
            due = due or (last is None and self.settings.epochs[0] <= epoch)
        if due:
            self._audit(name, loader, view, epoch)
        return self.state.data.get(name)

    def _changed(self, name: str, last: DataState | None, now: DataState, is_new: bool, is_other_part: bool) -> bool:
        """Whether the last audit does not hold any more."""
        if last is None:
            return False
        if not last.same_data(now):
            self.state.margins.pop(name, None)
        text, is_warning = last.news(now, is_new, is_other_part)
        if text:
            (self.auditor.warn if is_warning else self.auditor.inform)(f"DataAudit: {text}")
        return bool(last.changed(now))

    def _audit(self, name: str, loader: Any, view: DatasetView, epoch: int) -> None:
        try:
            self._audit_and_drop(name, loader, view, epoch)
        except DataError as error:
            self._tolerate(name, str(error))
            self.state.data.pop(name, None)

    def _audit_again(self, name: str, loader: Any, epoch: int) -> Any:
        """An audit in the course of training. If it cannot be made, what was dropped before stays dropped."""
        if name in self.current:
            lost = f"no audit for epoch {epoch}, what was dropped stays dropped"
            self.tolerance.together(lost, partial(self._made_again, name, loader, epoch, lost), None)
        return loader

    def _made_again(self, name: str, loader: Any, epoch: int, lost: str) -> None:
        before = self.state.data.get(name, self.current[name].state).corrections.dropped
        try:
            self._audit_and_drop(name, loader, view_of(loader, self.settings.embedding), epoch)
        except REFUSALS as error:  # with an earlier list nothing is left undone
            if self.settings.on_error == "raise" or (self.settings.raises and name not in self.state.data):
                raise
            return self.auditor.warn(f"DataAudit: {lost}: {error}")
        self.failed.discard(name)
        back = np.setdiff1d(before, self.state.data[name].corrections.dropped)
        if len(back):
            self.auditor.inform(f"DataAudit: {len(back)} samples dropped before are trained on again: {listing(back)}")

    def _audit_and_drop(self, name: str, loader: Any, view: DatasetView, epoch: int) -> None:
        corrections = self.auditor.audit(name, loader, view, epoch, partial(self._accept, name, loader))
        self.state.data[name] = replace(self.current[name].state, corrections=corrections, epoch=epoch)

    def _accept(self, name: str, loader: Any, audit: Audit, corrections: Corrections) -> None:
        """Loaders are made as a trial: a failure when they are asked for would end the training."""
        new = self._corrected(name, loader, corrections)
        if text := fewer_steps(self.host, loader, new):
            self.auditor.inform(f"DataAudit: {text}")
        last = self.auditor.audits.get(name)
        replaces = self.auditor.training_started and name in self.state.data
        doubts = audit.fitness.doubts(last.fitness if last else None) if replaces and audit.fitness else ()
        if doubts and self.settings.changes_data:
            raise PolicyError(f"its scores mean little: {doubts[0]}")

    def _corrected(self, name: str, loader: Any, corrections: Corrections) -> Any:
        own = self.settings.embedding, self.auditor.module
        new, warning = corrected_loader(self.host, name, loader, corrections, *own)
        if warning:
            self.auditor.warn(warning)
        return new
