"""What a training keeps in its checkpoints: the samples dropped, and the margins recorded for later audits."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Subset

from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.errors import DataError, DataWarning
from selfclean_hooks.results.corrections import NOTHING, Corrections
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.processes import Processes


@dataclass(frozen=True, eq=False)
class DataState:
    """The outcome of the audit of the data behind one loader.

    Attributes:
        n: Number of samples.
        fingerprint: Of the data.
        settings: Those that the outcome depends on.
        corrections: What the audit changes in the data.
        epoch: Before which the audit was made.
    """

    n: int
    fingerprint: str
    settings: str
    corrections: Corrections
    epoch: int

    def changed(self, now: DataState) -> str:
        """Why an audit of then does not hold now, or ""."""
        if not self.same_data(now):
            return f"the data changed since the last audit ({self.n} samples then, {now.n} now)"
        return "the settings of the audit changed since the last one" if self.settings != now.settings else ""

    def news(self, now: DataState, is_new: bool, is_other_part: bool) -> tuple[str, bool]:
        """What the user reads of the data now, "" for nothing, and whether it is a warning.

        Args:
            now: The data of this training.
            is_new: Whether it is seen in this training for the first time.
            is_other_part: Whether that of the last training was part of the same data set, which is no surprise.
        """
        changed, lost, new = self.changed(now), len(self.corrections.dropped), self.corrections.relabelled
        if changed and is_new and is_other_part:
            return "this is another part of the data set than in the fit before, so it is audited by itself", False
        if changed:
            return f"{changed}, so it is audited again", True
        return (
            f"the data is as audited before epoch {self.epoch}; the {lost} samples dropped then stay dropped, "
            f"{self.n - lost} are kept"
            + (f", {len(new)} of them with the labels that they were given then" if len(new) else "")
            if is_new
            else ""
        ), False

    def same_data(self, now: DataState) -> bool:
        """Whether both are of the same data."""
        return (self.n, self.fingerprint) == (now.n, now.fingerprint)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, which every checkpoint can hold and every loader reads."""
        plain = {name: value for name, value in vars(self).items() if name != "corrections"}
        return {**plain, **self.corrections.as_dict()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DataState:
        """The inverse of `as_dict`."""
        plain = {name: state[name] for name in ("n", "fingerprint", "settings", "epoch")}
        return cls(**plain, corrections=Corrections.from_dict(state))


@dataclass(frozen=True)
class CurrentData:
    """The data of a loader in this training: its data set, the positions drawn by the sampler, and its state."""

    dataset: Any
    drawn: bytes | None
    state: DataState


def data_state(processes: Processes, data: Any, settings: str, epoch: int) -> DataState:
    """Data before its audit, with nothing dropped yet.

    Raises:
        DataError: The processes of the training hold different data.
    """
    fingerprints = processes.gather_all(lambda: data_fingerprint(data))
    if len(set(fingerprints)) > 1:
        raise DataError(
            "all processes of the training must hold the same data in the same order, and do not: seed what chooses "
            "it, as random_split(..., generator=torch.Generator().manual_seed(0))"
        )
    return DataState(len(data), fingerprints[0], settings, NOTHING, epoch)


@dataclass(eq=False)
class Margins:
    """Margins of N samples over some epochs: the logit of the given label minus the highest other one.

    Attributes:
        labels: (N,) int64, the labels that they are of; below 0: unknown.
        total: (N,) float32, sum over the steps.
        count: (N,) int32, steps.
        epochs: Number of epochs recorded.
    """

    labels: IntArray
    total: Float32Array
    count: NDArray[np.int32]
    epochs: int = 0

    @classmethod
    def empty(cls, labels: IntArray) -> Margins:
        """Before the first step."""
        return cls(labels, np.zeros(len(labels), np.float32), np.zeros(len(labels), np.int32))

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def mean(self) -> FloatArray:
        """(N,) float64, NaN for samples that were not trained on."""
        seen = self.count > 0
        return np.where(seen, self.total.astype(np.float64) / np.maximum(self.count, 1), np.nan)

    def add(self, total: FloatArray, count: IntArray) -> None:
        """Add the sums and counts (N,) of one more epoch."""
        self.total = (self.total + total).astype(np.float32)
        self.count = (self.count + count).astype(np.int32)
        self.epochs += 1

    def as_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        names = ("labels", "total", "count")
        return {**{name: torch.tensor(getattr(self, name), device="cpu") for name in names}, "epochs": self.epochs}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Margins:
        """The inverse of `as_dict`."""
        labels, total, count = (state[name].cpu().numpy() for name in ("labels", "total", "count"))
        return cls(labels, total, count, state["epochs"])


@dataclass
class TrainingState:
    """What survives a training: by name of the loader.

    Attributes:
        data: The outcome of the last audit.
        margins: Recorded so far for later audits.
        is_resumed: Whether this is the state of a run that goes on, and not that of another one before.
    """

    data: dict[str, DataState] = field(default_factory=dict)
    margins: dict[str, Margins] = field(default_factory=dict)
    is_resumed: bool = False
    _sources: dict[str, weakref.ref[Any]] = field(default_factory=dict)  # the whole data sets audited last

    def is_other_part(self, name: str, dataset: Any) -> bool:
        """Whether the last training drew from another part of the same data set, as the folds of a cross-validation."""
        last, whole = self._sources.get(name), _whole(dataset)
        with suppress(TypeError):  # a list, say
            self._sources[name] = weakref.ref(whole)
        return not self.is_resumed and last is not None and last() is whole

    def __getstate__(self) -> dict[str, Any]:
        """Without references to data sets, which cannot be pickled."""
        return {**vars(self), "_sources": {}}

    def starts(self) -> None:
        """Another training begins; if it resumes a run, the state of that is loaded after this."""
        self.margins.clear()
        self.is_resumed = False

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed in the data of every loader where anything is."""
        return {name: state.corrections.as_dict() for name, state in self.data.items() if state.corrections}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: lists, numbers, strings and tensors."""
        state = {"loaders": {name: state.as_dict() for name, state in self.data.items()}}
        margins = {name: margins.as_dict() for name, margins in self.margins.items()}
        return {**state, "margins": margins} if margins else state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Take over the state of the run that is resumed.

        Args:
            state_dict: From a checkpoint.
            strict: Whether one that cannot be read is an error, and not a warning.

        Raises:
            DataError: It cannot be read.
        """
        try:
            data = {name: DataState.from_dict(state) for name, state in state_dict["loaders"].items()}
            margins = {name: Margins.from_dict(state) for name, state in state_dict.get("margins", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            text = f"DataAudit: the state in the checkpoint cannot be read ({type(error).__name__}: {error})"
            if strict:
                raise DataError(f"{text}: take the callback's entry out of it, and the data is audited anew") from error
            warnings.warn(f"{text}, so the data is audited anew", DataWarning, stacklevel=2)
            return
        self.data.clear()
        self.data.update(data)
        self.margins.clear()
        self.margins.update(margins)
        self.is_resumed = True


def _whole(dataset: Any) -> Any:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset
