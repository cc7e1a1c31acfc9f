"""What a `DataAudit` was asked to do, checked when it is made and not when training starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfclean_hooks.audits.settings import checked_settings
from selfclean_hooks.core.settings import EmbeddingSettings, Precision
from selfclean_hooks.data.fingerprint.dataset import data_fingerprint
from selfclean_hooks.decisions.policy import Action, Policy
from selfclean_hooks.decisions.thresholds import Thresholds
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.gate.limits import Limits
from selfclean_hooks.utils.processes import Processes


@dataclass(frozen=True, eq=False)
class DataState:
    """The outcome of the audit of the data behind one loader."""

    n: int
    fingerprint: str  # of the data
    settings: str  # that the outcome depends on
    dropped: NDArray[np.int64]  # ascending positions
    epoch: int  # before which the audit was made

    def changed(self, now: DataState) -> str:
        """What is not as it was, or ""."""
        if (self.n, self.fingerprint) != (now.n, now.fingerprint):
            return f"the data changed since the last audit ({self.n} samples then, {now.n} now)"
        return "the settings of the audit changed since the last one" if self.settings != now.settings else ""

    def state(self) -> dict[str, Any]:
        """As plain numbers and words, which every checkpoint can hold and every loader reads."""
        return {**vars(self), "dropped": self.dropped.tolist()}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> DataState:
        """What `state` gave."""
        return cls(**{**state, "dropped": np.asarray(state["dropped"], np.int64)})


def data_state(processes: Processes, data: Any, settings: str, epoch: int) -> DataState:
    """Data before its audit, with nothing dropped yet.

    Raises:
        DataError: the processes of the training hold different data.
    """
    prints = processes.gather_all(lambda: data_fingerprint(data))
    if len(set(prints)) > 1:
        raise DataError(
            "all processes of the training must hold the same data in the same order, and do not: seed what chooses "
            "it, as random_split(..., generator=torch.Generator().manual_seed(0))"
        )
    return DataState(len(data), prints[0], settings, np.empty(0, np.int64), epoch)


SWITCH = "SELFCLEAN_HOOKS_ENABLED"
OFF = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """See `DataAudit`."""

    policy: Policy
    thresholds: Thresholds
    limits: Limits
    method: str
    backbone: Any
    epochs: tuple[int, ...]
    output_dir: Path | None
    check_leakage: bool
    held_out: Mapping[str, Any]
    reading: EmbeddingSettings  # but for what the fit tells: the device, whether progress is shown
    num_workers: int | None

    @property
    def decides(self) -> str:
        """What the list of dropped samples depends on besides the data: with other settings it is made anew."""
        backbone = self.backbone if isinstance(self.backbone, (str, Path, NoneType)) else type(self.backbone).__name__
        return repr((backbone, self.method, self.thresholds, self.policy, self.limits, self.check_leakage))

    @property
    def drops(self) -> bool:
        """Whether any issue is to be dropped."""
        return "drop" in self._actions

    @property
    def demands(self) -> bool:
        """Whether anything is asked for that an audit which cannot be made would leave undone."""
        return self.drops or "raise" in self._actions or self.limits != Limits()

    @property
    def _actions(self) -> set[str]:
        return {str(action) for action in asdict(self.policy).values()}


def settings(
    policy: Policy | None,
    thresholds: Thresholds | None,
    limits: Limits | None,
    method: str,
    backbone: Any,
    audit_epochs: Iterable[int],
    output_dir: str | Path | None,
    check_leakage: bool,
    leakage: Action | None,
    held_out: Mapping[str, Any] | None,
    batch_size: int,
    num_workers: int | None,
    seed: int,
    cache_dir: str | Path | None,
    precision: Precision,
    compile: bool,
) -> Settings:
    """The settings with defaults filled in.

    Raises:
        SettingError: one makes no sense; says which and why.
    """
    thresholds, policy = checked_settings(method, thresholds, policy)
    limits = Limits() if limits is None else limits
    if not isinstance(limits, Limits):
        raise SettingError(f"limits must be Limits, as Limits(near_duplicates=0.01), got {limits!r}")
    cache = _folder("cache_dir", cache_dir)
    reading = EmbeddingSettings("auto", batch_size, num_workers or 0, seed, cache, precision=precision, compile=compile)
    if backbone is not None and not (isinstance(backbone, (str, Path, nn.Module)) or callable(backbone)):
        raise SettingError(
            "backbone must be None (the module in training once it has learned something), the name of a part of it, "
            f'"auto", "self-supervised", a timm name, an nn.Module or a function, got {type(backbone).__name__}'
        )
    return Settings(
        policy=policy if leakage is None else replace(policy, leakage=leakage),
        thresholds=thresholds,
        limits=limits,
        method=method,
        backbone=backbone,
        epochs=_epochs(audit_epochs),
        output_dir=_folder("output_dir", output_dir),
        check_leakage=check_leakage,
        held_out=_held_out({} if held_out is None else held_out),
        reading=reading,
        num_workers=num_workers,
    )


def validate_settings() -> bool:
    """Whether audits are to run: SELFCLEAN_HOOKS_ENABLED=0 in the environment turns them off."""
    return os.environ.get(SWITCH, "1").strip().lower() not in OFF


def _epochs(epochs: Iterable[int]) -> tuple[int, ...]:
    given = tuple(epochs) if isinstance(epochs, Iterable) else (epochs,)
    whole = all(isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 for epoch in given)
    if not given or not whole or isinstance(epochs, bool):
        raise SettingError(
            f"audit_epochs must be whole numbers from 0 (before the first step), as (0, 5), got {epochs!r}"
        )
    return tuple(sorted(set(given)))


def _held_out(given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(given, Mapping) or "train" in given:
        came = f"the names {', '.join(map(str, given))}" if isinstance(given, Mapping) else f"a {type(given).__name__}"
        raise SettingError(
            f"held_out must be a dict of data sets by name, as {{'test': dataset}}, none of them 'train', got {came}"
        )
    return dict(given)


def _folder(name: str, given: str | Path | None) -> Path | None:
    if given is not None and not isinstance(given, (str, os.PathLike)):
        raise SettingError(f"{name} must be a folder or None, got {given!r}")
    return None if given is None else Path(given)
