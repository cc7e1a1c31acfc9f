"""The margins of the samples in training, recorded as the steps are made, for the label scores of later audits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Subset

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.training.host import Host
from selfclean_hooks.training.loader_collections import data_of, loaders_by_name
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.margins.batch_indices import BatchIndexRecorder
from selfclean_hooks.training.margins.epoch_recorder import EpochRecorder
from selfclean_hooks.training.state import Margins
from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.processes import Processes


class MarginRecorder:
    """Records what one training makes of its samples, in the epochs before its last audit.

    Args:
        host: The trainer.
        module: In training.
        processes: The processes of the training.
        last: Epoch before which the last audit is made.
        margins: By loader; kept up to date.
    """

    def __init__(
        self, host: Host, module: nn.Module, processes: Processes, last: int, margins: dict[str, Margins]
    ) -> None:
        """Nothing is recorded yet."""
        self.host, self.module, self.processes, self.last, self.margins = host, module, processes, last, margins
        self.indices: BatchIndexRecorder | None = None
        self.epoch: EpochRecorder | None = None
        self.name = ""  # of the loader
        self.positions: IntArray = np.empty(0, np.int64)
        self.n = 0  # samples audited
        self.given_up = False

    def loaded(self, before: Any, after: Any) -> None:
        """Loaders are about to be iterated over: those of the user, and what became of them."""
        self.undo()
        due = self.host.epochs_done() < self.last
        if not due:
            self.margins.clear()
        if not due or self.host.rehearsal() or self.given_up:
            return
        filtered, given = (loaders_by_name(loaders, self.host.map_loaders) for loaders in (after, before))
        if len(filtered) != 1:
            return self._give_up("several loaders are trained on together")
        self.name, loader = filtered.popitem()
        dataset = getattr(loader, "dataset", None)
        if hasattr(type(dataset), "__len__"):
            self.positions, self.n = sample_positions(given[self.name], loader), len(data_of(given[self.name]))
            self.indices = BatchIndexRecorder(dataset)
            self.indices.start()

    def epoch_starts(self, audits: Mapping[str, Audit], loaders: Any) -> None:
        """Record the epoch, if there are labels to record margins of.

        Args:
            audits: By loader.
            loaders: Those that the trainer iterates over.
        """
        self.epoch = None
        if self.indices is None or self.given_up or self.host.epochs_done() >= self.last:
            return
        margins = self.margins.get(self.name)
        if margins is None and self.name in audits:
            margins = self._empty_margins(audits[self.name])
        if margins is not None and len(margins) == self.n and (margins.labels >= 0).any():
            self.margins[self.name] = margins
            loader = next(iter(loaders_by_name(loaders, self.host.map_loaders).values()))
            self.epoch = EpochRecorder(self.indices, self.positions, margins.labels, loader, self.host, self.module)

    def epoch_ends(self) -> None:
        """Add what all processes have recorded; a collective operation."""
        epoch, self.epoch = self.epoch, None
        if epoch is None:
            return
        epoch.stop()
        reasons, totals, counts = zip(*self.processes.gather_all(epoch.result), strict=True)
        if any(reasons):
            del self.margins[self.name]
            self._give_up(next(filter(None, reasons)))
        elif np.any(counts):  # not for a trainer that does not say when its steps are made
            self.margins[self.name].add(np.sum(totals, 0), np.sum(counts, 0))
        if self.host.epochs_done() >= self.last:
            self.undo()

    def undo(self) -> None:
        """Restore torch and the module."""
        if self.epoch is not None:
            self.epoch.stop()
            self.epoch = None
        if self.indices is not None:
            self.indices.stop()
            self.indices = None

    def _empty_margins(self, audit: Audit) -> Margins | None:
        scores = audit.scores
        if "label_errors" in scores.not_run:
            return None
        if "label_errors" in scores.calibration:
            given = scores.given_label.copy()
            given[list(audit.new_labels)] = -1  # trained on with another label
            return Margins.empty(given)
        method = audit.provenance.get("settings", {}).get("method")
        self._give_up(f"method={method!r} does not estimate how likely a label is right")
        return None

    def _give_up(self, why: str) -> None:
        """Say why once; training goes on."""
        self.given_up = True
        self.undo()
        if self.processes.is_first:
            self.host.inform(f"DataAudit: label scores of later audits are those of the features alone, as {why}")


def sample_positions(before: Any, after: Any) -> IntArray:
    """The position of each sample of a loader among those audited.

    Args:
        before: The user's loader, whose data was audited.
        after: Itself, or what `filter_loader` made of it.

    Returns:
        (len(after.dataset),) int64, -1: not audited.
    """
    n, sampled = len(before.dataset), sampled_indices(before)
    positions = np.arange(n)
    if sampled is not None:
        positions = np.full(n, -1)
        positions[sampled] = np.arange(len(sampled))
    if after is before:
        return positions
    assert isinstance(after.dataset, Subset)
    return positions[np.asarray(after.dataset.indices, np.int64)]
