"""The margins of the samples in training, for the label scores of later audits: recorded as the steps are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.training.batch_indices import BatchIndexRecorder
from selfclean_hooks.training.loaders import map_loaders, sampled_indices
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks_lightning.epoch_recorder import Epoch
from selfclean_hooks_lightning.held_out import data_of


@dataclass(eq=False)
class Margins:
    """Margins of N samples over some epochs: the logit of the given label minus the highest other one."""

    labels: NDArray[np.int64]  # (N,) that they are of; below 0: unknown
    total: NDArray[np.float32]  # (N,) sum over the steps
    count: NDArray[np.int32]  # (N,) steps
    epochs: int = 0

    @classmethod
    def none(cls, labels: NDArray[np.int64]) -> Margins:
        """Before the first step."""
        return cls(labels, np.zeros(len(labels), np.float32), np.zeros(len(labels), np.int32))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(N,) NaN for samples that were not trained on."""
        seen = self.count > 0
        return np.where(seen, self.total.astype(np.float64) / np.maximum(self.count, 1), np.nan)

    def add(self, total: NDArray[np.float64], count: NDArray[np.int64]) -> None:
        """An epoch more."""
        self.total = (self.total + total).astype(np.float32)
        self.count = (self.count + count).astype(np.int32)
        self.epochs += 1

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        names = ("labels", "total", "count")
        return {**{name: torch.tensor(getattr(self, name), device="cpu") for name in names}, "epochs": self.epochs}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Margins:
        """What `state` gave."""
        labels, total, count = (state[name].cpu().numpy() for name in ("labels", "total", "count"))
        return cls(labels, total, count, state["epochs"])


class Recorder:
    """Records what one `fit` trains on, in the epochs before its last audit.

    Args:
        trainer: of the fit.
        module: in training.
        processes: the processes of the training.
        last: epoch before which the last audit is made.
        margins: by loader; kept up to date.
        inform: tells the user a line.
    """

    def __init__(
        self,
        trainer: Any,
        module: Any,
        processes: Processes,
        last: int,
        margins: dict[str, Margins],
        inform: Callable[[str], None],
    ) -> None:
        """Nothing is recorded yet."""
        self.trainer, self.module, self.processes, self.last = trainer, module, processes, last
        self.margins, self.inform = margins, inform
        self.draws: BatchIndexRecorder | None = None
        self.epoch: Epoch | None = None
        self.name = ""  # of the loader
        self.places: NDArray[np.int64] = np.empty(0, np.int64)
        self.n = 0  # samples audited
        self.told = False

    def loaded(self, before: Any, after: Any) -> None:
        """Loaders are about to be iterated over: those of the user, and what became of them."""
        self.undo()
        due = self.trainer.fit_loop.epoch_progress.current.processed < self.last
        if not due:
            self.margins.clear()
        if not due or self.trainer.fast_dev_run or self.told:
            return
        mine, theirs = _named(after), _named(before)
        if len(mine) != 1:
            return self._give_up("several loaders are trained on together")
        self.name, loader = mine.popitem()
        dataset = getattr(loader, "dataset", None)
        if hasattr(type(dataset), "__len__"):
            self.places, self.n = sample_positions(theirs[self.name], loader), len(data_of(theirs[self.name]))
            self.draws = BatchIndexRecorder(dataset)
            self.draws.start()

    def epoch_starts(self, audits: Mapping[str, Audit]) -> None:
        """Record it, if there are labels to record margins of."""
        self.epoch = None
        if self.draws is None or self.told or self.trainer.current_epoch >= self.last:
            return
        found = self.margins.get(self.name)
        if found is None and self.name in audits:
            found = self._of(audits[self.name])
        if found is not None and len(found) == self.n and (found.labels >= 0).any():
            self.margins[self.name] = found
            loader = next(iter(_named(self.trainer.train_dataloader).values()))
            self.epoch = Epoch(self.draws, self.places, found.labels, loader, self.trainer, self.module)

    def epoch_ends(self) -> None:
        """Meet: what all processes have recorded is known to all."""
        epoch, self.epoch = self.epoch, None
        if epoch is None:
            return
        epoch.stop()
        parts = self.processes.gather_all(epoch.result)
        why = next((reason for reason, *_ in parts if reason), "")
        found = self.margins[self.name]
        if why:
            del self.margins[self.name]
            self._give_up(why)
        else:
            found.add(np.sum([part[1] for part in parts], 0), np.sum([part[2] for part in parts], 0))
        if self.trainer.current_epoch + 1 >= self.last:
            self.undo()

    def undo(self) -> None:
        """Leave torch and the module as they were found."""
        if self.epoch is not None:
            self.epoch.stop()
            self.epoch = None
        if self.draws is not None:
            self.draws.stop()
            self.draws = None

    def _of(self, audit: Audit) -> Margins | None:
        scores = audit.scores
        if "label_errors" in scores.not_run:
            return None
        if "label_errors" in scores.calibration:
            return Margins.none(scores.given_label)
        method = audit.provenance.get("settings", {}).get("method")
        self._give_up(f"method={method!r} does not tell how likely a label is right")
        return None

    def _give_up(self, why: str) -> None:
        """Once, in a line; training goes on."""
        self.told = True
        self.undo()
        self.inform(f"DataAudit: label scores of later audits are those of the features alone, as {why}")


def sample_positions(before: Any, after: Any) -> NDArray[np.int64]:
    """Of each sample of a loader, the position among those audited; -1: it is none of them.

    Args:
        before: the user's loader, whose data was audited.
        after: itself, or what `filtered` made of it.
    """
    n, positions = len(before.dataset), sampled_indices(before)
    found = np.arange(n)
    if positions is not None:
        found = np.full(n, -1)
        found[positions] = np.arange(len(positions))
    if after is before:
        return found
    assert isinstance(after.dataset, Subset)
    return found[np.asarray(after.dataset.indices, np.int64)]


def _named(loaders: Any) -> dict[str, Any]:
    """The loaders of a collection by name."""
    found: dict[str, Any] = {}

    def note(name: str, loader: Any) -> Any:
        found[name] = loader
        return loader

    map_loaders(loaders, note)
    return found
