"""Single audits in the course of a training: with which features, what the user reads, when the training is stopped."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Subset

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.distributed import TrainingAudit, audit_distributed
from selfclean_hooks.audits.pipeline import with_margins
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.data.views.dataset_view import DatasetView, open_dataset
from selfclean_hooks.errors import BackboneError, ContaminationError, DataError, DataWarning, PolicyError
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.results.stability import describe, stability
from selfclean_hooks.results.thumbnails import thumbnails
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.storage.folder import kept_encoder
from selfclean_hooks.training.host import Host, held_out_splits
from selfclean_hooks.training.loader_collections import data_of
from selfclean_hooks.training.loaders import sampled_indices, worker_options
from selfclean_hooks.training.messages import changes, data_name, findings, limit_violations, log, paragraph
from selfclean_hooks.training.module_features import Representation, replacement, representation
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.training.state import Margins
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import listing

REHEARSAL = 256  # samples audited in a mode that only tries whether everything works


class Auditor:
    """Makes the audits of a training and reports them.

    Args:
        settings: Of the audits.
        processes: The processes of the training.
        host: The trainer.
        module: In training.
        audits: The latest audit by loader; kept up to date.
        margins: Of the training so far, by loader.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        processes: Processes,
        host: Host,
        module: nn.Module,
        audits: dict[str, Audit],
        margins: Mapping[str, Margins],
    ) -> None:
        """Nothing is audited yet."""
        self.settings, self.processes, self.host, self.module = settings, processes, host, module
        self.audits, self.margins = audits, margins
        self.unlogged: list[str] = []
        self.training_started = False

    def audit(
        self, name: str, loader: Any, data: DatasetView, epoch: int, accept: Callable[[Audit, Corrections], Any]
    ) -> Corrections:
        """Audit the data of a loader before an epoch.

        Args:
            name: Of the loader.
            loader: Its sampler and workers are used.
            data: Of the loader (`data_of`).
            epoch: Before which.
            accept: Called with audit and result; raises if the data cannot be corrected so. Then only one folder is
                written.

        Returns:
            What the policy changes in the audited data.

        Raises:
            ContaminationError: Beyond a limit, or flagged where the policy says "raise"; the audit is saved before.
            SelfCleanError: What `audit_distributed` raises.
        """
        folders = self._folders(name, epoch)
        folder = folders[0] if folders else None
        epochs = () if self.training_started else self.settings.epochs  # later ones fail fast too
        for place in dict.fromkeys([*folders, *(each for later in epochs for each in self._folders(name, later))]):
            self.processes.run_on_first(partial(check_output, place, make=place == folder))
        splits, notes = held_out_splits(self.settings, self.processes, self.host)
        what = data_name(name)
        if sampled_indices(loader) is not None:
            notes = [f"the sampler draws only {len(data)} samples: positions count among these", *notes]
        sizes = "".join(f" and {len(other)} of {split}" for split, other in splits.items())
        self.inform(f"DataAudit: {what} is audited before epoch {epoch}, {len(data)} samples{sizes}")
        audit = self._audit_with_margins(name, self._request(name, loader, data, splits, notes, epoch), folder)
        text = paragraph(audit, what, folder)
        if violations := limit_violations(audit, self.settings.limits):
            raise ContaminationError(f"training is stopped: {'; '.join(violations)}. {text}")
        corrections = Corrections.of(audit)
        accept(audit, corrections)
        for another in folders[1:]:
            self.processes.run_on_first(partial(audit.save, another))
        self.audits[name] = audit
        self.unlogged.append(name)
        for line in changes(audit, corrections):  # users silence warnings
            self.inform(f"DataAudit: {line}")
        kept = len(audit) - len(corrections.dropped)
        (self.warn if any(findings(audit)) else self.inform)(f"{text}. Trained on: {kept}")
        return corrections

    def starts(self) -> None:
        """The first step is about to be made."""
        self.training_started = True
        planned, due = self.host.epochs_planned(), self.settings.epochs
        never = np.array([epoch for epoch in due if planned is not None and epoch >= planned])
        if len(never) and not self.host.rehearsal():
            say = self.warn if len(never) == len(due) else self.inform
            say(f"DataAudit: no audit before epoch {listing(never)}: training ends after {planned}, counted from 0")

    def rehearse(self, name: str, loader: Any) -> None:
        """Audit a few samples to see that everything works; nothing is written, dropped or stopped."""
        data = data_of(loader)
        few = Subset(data, range(min(REHEARSAL, len(data))))
        self._audit(self._request(name, loader, open_dataset(few, self.settings.embedding), {}, [], 0))
        self.inform(
            f"DataAudit: {self.host.rehearsal()}, so only the first {len(few)} of {len(data)} samples were audited, "
            "and nothing is dropped, limited or written"
        )

    def log(self) -> None:
        """Log the audits that have not been logged yet."""
        names, self.unlogged = self.unlogged, []
        for name in names if self.processes.is_first else ():
            log(self.host.loggers(), self.audits[name], name, self.host.steps_done())

    def warn(self, text: str) -> None:
        """A warning, in the first process alone."""
        if self.processes.is_first:
            warnings.warn(text, DataWarning, stacklevel=2)

    def inform(self, text: str) -> None:
        """A line where the trainer writes its own, in the first process alone."""
        if self.processes.is_first:
            self.host.inform(text)

    def _request(
        self, name: str, loader: Any, data: DatasetView, splits: Mapping[str, Any], notes: list[str], epoch: int
    ) -> TrainingAudit:
        """What is to be audited, but for the features."""
        s, workers = self.settings, self.settings.num_workers
        collate, hooks = self.host.batch_maker(loader)
        notes = [*notes, f"features of the module in training are those after {hooks}"] if collate else notes
        embedding = replace(
            s.embedding,
            device=self.host.device(),
            num_workers=getattr(loader, "num_workers", 0) if workers is None else workers,
            progress=self.host.shows_progress(),
            kept_encoder=kept_encoder(folders[0]) if (folders := self._folders(name, epoch)) else None,
            worker_options=worker_options(loader),
        )
        return TrainingAudit(
            dataset=data,
            backbone=s.backbone,
            others=splits,
            settings=AuditSettings(s.method, s.thresholds, s.policy, embedding, search=s.search),
            name=f"{name or 'train'} ({type(data.dataset).__name__})",
            notes=tuple(notes),
            epoch=epoch,
            last=None,
            least_rank=0.0,
            folder=None,
            collate=collate,
        )

    def _audit_with_margins(self, name: str, request: TrainingAudit, folder: Path | None) -> Audit:
        """The audit, with the margins of the training so far where there are any."""
        margins, last = self.margins.get(name), self.audits.get(name)
        if margins is None or not margins.epochs or len(margins) != len(request.dataset):
            return self._audit(replace(request, last=last, folder=folder))
        plain = self._audit(request)
        return self.processes.run_on_first(lambda: _blended(plain, margins, request.dataset, last, folder))

    def _audit(self, request: TrainingAudit) -> Audit:
        """With the features asked for; before the first step "auto" replaces a module that gives none."""
        features = self.processes.run_on_each(lambda: self._features(request.epoch))
        try:
            return self._audit_with(features, request)
        except (BackboneError, DataError) as error:  # DataError: items that only the loader's collate_fn can batch
            if not features.by_rule or self.training_started:
                raise
            features = replacement(error)
        return self._audit_with(features, request)

    def _audit_with(self, features: Representation, request: TrainingAudit) -> Audit:
        if features.backbone == "auto" != self.settings.backbone:
            self.inform(f"DataAudit: {features.why}")
        notes = (*filter(None, [features.why]), *request.notes)
        return audit_distributed(
            self.processes,
            replace(request, backbone=features.backbone, notes=notes, least_rank=features.least_rank),
        )

    def _features(self, epoch: int) -> Representation:
        """See `representation`. Features found by rule may fail before training, when there is a replacement."""
        learned = "a checkpoint was loaded" if self.host.has_loaded_weights() else ""
        if epoch > 0 or self.host.steps_done() > 0:
            learned = f"after {epoch} epoch{'s' * (epoch != 1)} of training"
        try:
            return representation(
                self.settings.backbone, self.module, learned, self.host.packages, self.host.processor()
            )
        except BackboneError as error:
            if self.settings.backbone is not None or self.training_started:
                raise
            return replacement(error)

    def _folders(self, name: str, epoch: int) -> list[Path]:
        """Where the audit is saved: first the folder written in any case, then those written if it is accepted.

        With several audit epochs each has a folder, beside the one of the audit in force.
        """
        if self.settings.output_dir is None:
            return []
        folder = self.settings.output_dir / re.sub(r"[^\w=-]+", "_", name)
        both = [folder, folder / f"epoch={epoch}"]
        return [folder] if len(self.settings.epochs) == 1 else both[::-1] if self.training_started else both


def _blended(audit: Audit, margins: Margins, data: DatasetView, last: Audit | None, folder: Path | None) -> Audit:
    """The audit with the margins in its label scores, compared with the last one, with thumbnails, saved."""
    blended = with_margins(audit, margins.mean, margins.epochs)
    about = dict(blended.provenance)
    if last is not None and last.provenance["dataset"]["fingerprint"] == about["dataset"]["fingerprint"]:
        about["training"] = {**about["training"], "stability": (changes := stability(last, blended))}
        about["notes"] = [*about["notes"], *describe(changes)]
    with preserve_rng_state(data.dataset):
        small = thumbnails(blended, data, known=audit.thumbnails)
        blended = blended.annotated(provenance=about, thumbnails=small)
    if folder is not None:
        with suppress(PolicyError):  # everything is written but clean_indices.txt, which raises once it is read
            blended.save(folder)
    return blended
