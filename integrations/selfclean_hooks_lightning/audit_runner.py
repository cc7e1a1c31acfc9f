"""The audits of one `fit`: with which features, what the user is told, when the run is stopped."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Subset

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.distributed import TrainingAudit, audit_distributed
from selfclean_hooks.audits.pipeline import with_margins
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.data.fingerprint.dataset import data_fingerprint
from selfclean_hooks.errors import BackboneError, ContaminationError, DataError, DataWarning, PolicyError
from selfclean_hooks.results.stability import describe, stability
from selfclean_hooks.results.thumbnails import thumbnails
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.messages import findings, log, paragraph
from selfclean_hooks.training.module_features import HOSTS, Representation, representation
from selfclean_hooks.training.settings import Settings
from selfclean_hooks.utils.files import check_writable
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks_lightning.held_out import HeldOut, data_of
from selfclean_hooks_lightning.margin_recorder import Margins

REHEARSAL = 256  # samples audited in a fast_dev_run


class Auditor:
    """Makes audits and tells of them.

    Args:
        settings: Of the callback.
        processes: The processes of the training.
        trainer: Of the fit.
        module: The LightningModule.
        held_out: The splits to compare with; None: none.
        audits: The latest audit by loader; kept up to date.
        margins: Of the training so far, by loader.
    """

    def __init__(
        self,
        settings: Settings,
        processes: Processes,
        trainer: Any,
        module: Any,
        held_out: HeldOut | None,
        audits: dict[str, Audit],
        margins: Mapping[str, Margins],
    ) -> None:
        """Nothing is audited yet."""
        self.settings, self.processes, self.trainer, self.module = settings, processes, trainer, module
        self.held_out, self.audits, self.margins = held_out, audits, margins
        self.untold: list[str] = []
        self.begun = False  # training

    def audit(
        self, name: str, loader: Any, epoch: int, accept: Callable[[NDArray[np.int64]], Any]
    ) -> NDArray[np.int64]:
        """Audit the data of a loader before an epoch; the positions of it to drop, ascending.

        Args:
            name: Of the loader.
            loader: Its data is audited.
            epoch: Before which.
            accept: Is given these positions, and raises if they cannot be dropped: then no more than one folder tells
                of the audit.

        Raises:
            ContaminationError: beyond a limit, or flagged where the policy says "raise"; the audit is saved before.
            SelfCleanError: what `audit_distributed` raises.
        """
        folders = self._folders(name, epoch)
        folder = folders[0] if folders else None
        splits, notes = self._splits()
        what, data = f"the training data {name}".strip(), data_of(loader)
        if sampled_indices(loader) is not None:
            notes = [f"the sampler draws only {len(data)} samples: positions count among these", *notes]
        sizes = "".join(f" and {len(other)} of {split}" for split, other in splits.items())
        self.inform(f"DataAudit: {what} is audited before epoch {epoch}, {len(data)} samples{sizes}")
        margins, last = self.margins.get(name), self.audits.get(name)
        if margins is None or not margins.epochs or len(margins) != len(data):
            found = self._audit(name, loader, data, splits, notes, epoch, last, folder)
        else:
            if folder is not None:
                self.processes.run_on_first(partial(check_writable, folder))
            plain = self._audit(name, loader, data, splits, notes, epoch, None, None)
            found = self.processes.run_on_first(lambda: _blended(plain, margins, data, last, folder))
        text = paragraph(found, what, folder)
        self._stop_if_beyond(found, text)
        kept = found.clean_indices
        dropped = np.setdiff1d(np.arange(len(found)), kept)
        accept(dropped)
        for another in folders[1:]:
            self.processes.run_on_first(partial(found.save, another))
        self.audits[name] = found
        self.untold.append(name)
        (self.warn if any(findings(found)) else self.inform)(f"{text}. Trained on: {len(kept)}")
        return dropped

    def rehearse(self, name: str, loader: Any) -> None:
        """In a fast_dev_run: audit a few samples to see that all works; nothing is written, dropped or stopped."""
        data = data_of(loader)
        few = Subset(data, range(min(REHEARSAL, len(data))))
        self._audit(name, loader, few, {}, [], 0, None, None)
        self.inform(
            f"DataAudit: fast_dev_run, so only the first {len(few)} of {len(data)} samples were audited, and nothing "
            "is dropped, limited or written"
        )

    def tell_loggers(self) -> None:
        """Log the audits that were not logged yet."""
        for name in self.untold if self.processes.is_first else ():
            log(self.trainer.loggers, self.audits[name], name, self.trainer.global_step)
        self.untold.clear()

    def warn(self, text: str) -> None:
        """A warning, of the first process alone."""
        if self.processes.is_first:
            warnings.warn(text, DataWarning, stacklevel=2)

    def inform(self, text: str) -> None:
        """A line where Lightning puts its own, of the first process alone."""
        if self.processes.is_first:
            modules = (base.__module__ for base in type(self.trainer).__mro__)  # users derive their own
            host = next(module for module in modules if module.split(".")[0] in HOSTS)
            logging.getLogger(host.split(".trainer")[0]).info(text)

    def _splits(self) -> tuple[dict[str, Any], list[str]]:
        """The splits to compare with, which all processes have, and notes on those that cannot be."""
        if self.held_out is None:
            return {}, []
        splits, notes = self.processes.run_on_each(self.held_out.splits)
        if self.processes.size == 1:
            return splits, notes
        notes = list(dict.fromkeys(note for part in self.processes.gather_all(lambda: notes) for note in part))
        prints = self.processes.gather_all(lambda: {name: data_fingerprint(data) for name, data in splits.items()})
        names = dict.fromkeys(name for part in prints for name in part)
        alike = [name for name in names if len({part.get(name) for part in prints}) == 1]
        notes += [
            f"{name} is not compared with the training data: the processes of the training hold different data for it"
            for name in names
            if name not in alike
        ]
        return {name: splits[name] for name in alike}, notes

    def _audit(
        self,
        name: str,
        loader: Any,
        data: Any,
        splits: dict[str, Any],
        notes: list[str],
        epoch: int,
        last: Audit | None,
        folder: Path | None,
    ) -> Audit:
        """With the features asked for; before the first step "auto" takes the place of a module that gives none."""
        s, workers = self.settings, self.settings.num_workers
        reading = replace(
            s.reading,
            device=self.trainer.strategy.root_device,
            num_workers=getattr(loader, "num_workers", 0) if workers is None else workers,
            progress=self._shows_progress(),
        )

        def audited_with(features: Representation) -> Audit:
            request = TrainingAudit(
                dataset=data,
                backbone=features.backbone,
                others=splits,
                settings=AuditSettings(s.method, s.thresholds, s.policy, reading),
                name=f"{name or 'train'} ({type(data).__name__})",
                notes=(*filter(None, [features.why]), *notes),
                epoch=epoch,
                last=last,
                least_rank=features.least_rank,
                folder=folder,
            )
            return audit_distributed(self.processes, request)

        features = self.processes.run_on_each(lambda: self._features(epoch))
        try:
            self._tell_if_replaced(features)
            return audited_with(features)
        except (BackboneError, DataError) as error:  # DataError: items that the loader's collate_fn makes fit
            if not features.by_rule or self.begun:
                raise
            features = _instead(error)
        self._tell_if_replaced(features)
        return audited_with(features)

    def _tell_if_replaced(self, features: Representation) -> None:
        if features.backbone == "auto" != self.settings.backbone:
            self.inform(f"DataAudit: {features.why}")

    def _features(self, epoch: int) -> Representation:
        """See `representation`; what is found by rule may fail before training, when there is something else to use."""
        learned = "a checkpoint was loaded" if self.trainer.ckpt_path is not None else ""
        if epoch > 0 or self.trainer.global_step > 0:
            learned = f"after {epoch} epoch{'s' * (epoch != 1)} of training"
        try:
            return representation(self.settings.backbone, self.module, learned)
        except BackboneError as error:
            if self.settings.backbone is not None or self.begun:
                raise
            return _instead(error)

    def _shows_progress(self) -> bool:
        """As the trainer does; not into a live display of Rich, which would garble both."""
        bar = self.trainer.progress_bar_callback
        return bar is not None and getattr(bar, "is_enabled", True) and getattr(bar, "progress", None) is None

    def _folders(self, name: str, epoch: int) -> list[Path]:
        """Where the audit is saved, first whatever comes of it, then if it is accepted.

        The one in force has a place, and each one another if there are several.
        """
        if self.settings.output_dir is None:
            return []
        folder = self.settings.output_dir / re.sub(r"[^\w=-]+", "_", name)
        both = [folder, folder / f"epoch={epoch}"]
        return [folder] if len(self.settings.epochs) == 1 else both[::-1] if self.begun else both

    def _stop_if_beyond(self, found: Audit, text: str) -> None:
        raising = [
            f"{issue} is not tolerated (policy 'raise')"
            for issue in found.contamination
            if found.policy.action(issue) == "raise" and len(found.worst(issue))
        ]
        failed = found.check(self.settings.limits).failures
        if failed or raising:
            raise ContaminationError(f"training is stopped: {'; '.join((*failed, *raising))}. {text}")


def _blended(audit: Audit, margins: Margins, data: Any, last: Audit | None, folder: Path | None) -> Audit:
    """The audit with what the training says of the labels, compared with the last one, pictures and all, saved."""
    found = with_margins(audit, margins.mean, margins.epochs)
    about = dict(found.provenance)
    if last is not None and last.provenance["dataset"]["fingerprint"] == about["dataset"]["fingerprint"]:
        about["training"] = {**about["training"], "stability": (changes := stability(last, found))}
        about["notes"] = [*about["notes"], *describe(changes)]
    with preserve_rng_state(data):
        found = replace(found, provenance=about, thumbnails=thumbnails(found, data, known=audit.thumbnails))
    if folder is not None:
        with suppress(PolicyError):  # all is written but clean_indices.txt; who asks for these gets the error
            found.save(folder)
    return found


def _instead(error: Exception) -> Representation:
    return Representation("auto", f"{error}. Until then backbone='auto' is used")
