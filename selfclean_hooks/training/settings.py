"""The settings of the audits of a training, checked when they are given and not when training starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

from torch import nn
from typing_extensions import TypedDict

from selfclean_hooks.audits.settings import check_image_quality, checked_settings
from selfclean_hooks.core.settings import EmbeddingSettings, Precision
from selfclean_hooks.decisions.settings import Action, Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Limits
from selfclean_hooks.neighbors.approximate_search import EXACT, check_search

SWITCH = "SELFCLEAN_HOOKS_ENABLED"
OnError = Literal["warn", "raise"]
OFF = ("0", "false", "no", "off")


@dataclass(frozen=True)
class TrainingSettings:
    """What `TrainingOptions` become: checked, with defaults filled in.

    Attributes:
        epochs: Before which to audit, ascending.
        embedding: How data is embedded, but for the device and the progress bars, which the trainer determines.
        num_workers: None: as many as the loader has.
        on_error: None: "raise" where the policy or the limits enforce something, else "warn".
    """

    policy: Policy
    thresholds: Thresholds
    limits: Limits
    method: str
    backbone: Any
    epochs: tuple[int, ...]
    output_dir: Path | None
    check_leakage: bool
    held_out: Mapping[str, Any]
    embedding: EmbeddingSettings
    num_workers: int | None
    on_error: OnError | None
    search: str

    @property
    def raises(self) -> bool:
        """Whether an error of an audit stops the training: as the user wants it, else where something depends on it."""
        return self.enforces if self.on_error is None else self.on_error == "raise"

    @property
    def decisive(self) -> str:
        """What the list of dropped samples depends on besides the data: with other settings it is made anew."""
        backbone = self.backbone if isinstance(self.backbone, (str, Path, NoneType)) else type(self.backbone).__name__
        key = self.embedding.group_key
        groups = () if key is None else (key if isinstance(key, str) else type(key).__name__,)
        quality = ("image_quality",) if self.embedding.image_quality else ()
        search = () if self.search == EXACT else (self.search,)
        settings = (self.method, self.thresholds, self.policy, self.limits, self.check_leakage)
        return repr((backbone, *settings, *groups, *quality, *search))

    @property
    def changes_data(self) -> bool:
        """Whether samples are to be dropped or relabelled."""
        return self.policy.changes_data

    @property
    def enforces(self) -> bool:
        """Whether training on data that cannot be audited would leave something undone: changes, limits or a stop."""
        return self.changes_data or "raise" in asdict(self.policy).values() or self.limits != Limits()


@dataclass(frozen=True)
class TrainingOptions:
    """The arguments of a `DataAudit`, as the user gave them; see there for what each means."""

    policy: Policy | None = None
    limits: Limits | None = None
    backbone: str | nn.Module | Any = None
    audit_epochs: Iterable[int] = (0,)
    output_dir: str | Path | None = "audit"
    check_leakage: bool = True
    leakage: Action | None = None
    thresholds: Thresholds | None = None
    method: str = "default"
    held_out: Mapping[str, Any] | None = None
    batch_size: int = 64
    num_workers: int | None = None
    seed: int = 0
    cache_dir: str | Path | None = None
    precision: Precision = "32"
    compile: bool = False
    on_error: OnError | None = None
    timeout: float | None = None
    input_key: str | int | None = None
    label_key: str | int | None = None
    ignore_label: int | str | None = None
    group_key: Any = None
    image_quality: bool = False
    search: str = EXACT

    def checked(self) -> TrainingSettings:
        """The settings with defaults filled in.

        Raises:
            SettingError: One makes no sense; says which and why.
        """
        thresholds, policy = checked_settings(self.method, self.thresholds, self.policy)
        settings = TrainingSettings(
            policy=policy if self.leakage is None else replace(policy, leakage=self.leakage),
            thresholds=thresholds,
            limits=_checked_limits(self.limits),
            method=self.method,
            backbone=_checked_backbone(self.backbone),
            epochs=_checked_epochs(self.audit_epochs),
            output_dir=_checked_folder("output_dir", self.output_dir),
            check_leakage=self.check_leakage,
            held_out=_checked_held_out(self.held_out),
            embedding=EmbeddingSettings(
                batch_size=self.batch_size,
                num_workers=self.num_workers or 0,
                seed=self.seed,
                cache_dir=_checked_folder("cache_dir", self.cache_dir),
                precision=self.precision,
                compile=self.compile,
                timeout=self.timeout,
                input_key=self.input_key,
                label_key=self.label_key,
                ignore_label=self.ignore_label,
                group_key=_checked_group_key(self.group_key),
                image_quality=self.image_quality,
            ),
            num_workers=self.num_workers,
            on_error=_checked_on_error(self.on_error),
            search=self.search,
        )
        check_search(self.search)
        check_image_quality(settings.policy, settings.embedding)
        return settings


class FurtherOptions(TypedDict, total=False):
    """Those of `TrainingOptions` that a host with a function for its face need not spell out."""

    leakage: Action | None
    method: str
    batch_size: int
    num_workers: int | None
    seed: int
    cache_dir: str | Path | None
    precision: Precision
    compile: bool
    on_error: OnError | None
    timeout: float | None
    input_key: str | int | None
    label_key: str | int | None
    ignore_label: int | str | None
    group_key: Any
    image_quality: bool
    search: str


def audits_enabled() -> bool:
    """Whether audits are to run: SELFCLEAN_HOOKS_ENABLED=0 in the environment turns them off."""
    return os.environ.get(SWITCH, "1").strip().lower() not in OFF


def _checked_limits(limits: Limits | None) -> Limits:
    if limits is not None and not isinstance(limits, Limits):
        raise SettingError(f"limits must be Limits, as Limits(near_duplicates=0.01), got {limits!r}")
    return Limits() if limits is None else limits


def _checked_backbone(backbone: Any) -> Any:
    if backbone is not None and not (isinstance(backbone, (str, Path, nn.Module)) or callable(backbone)):
        raise SettingError(
            "backbone must be None (the module in training once it has learned something), the name of a part of it, "
            f'"auto", "self-supervised", a timm name, "hf:NAME", an nn.Module or a function, got a '
            f"{type(backbone).__name__}"
        )
    return backbone


def _checked_group_key(group_key: Any) -> Any:
    if group_key is not None and not isinstance(group_key, str) and not callable(group_key):
        raise SettingError(
            "group_key must be the name of a column or an attribute of the data sets, or a function of the file of a "
            f"sample, got a {type(group_key).__name__}"
        )
    return group_key


def _checked_on_error(on_error: OnError | None) -> OnError | None:
    if on_error not in (None, *get_args(OnError)):
        raise SettingError(
            f'on_error must be "warn" (training goes on), "raise" (it stops) or None (it stops where something is to '
            f"be dropped, limited or stopped), got {on_error!r}"
        )
    return on_error


def _checked_epochs(epochs: Iterable[int]) -> tuple[int, ...]:
    values = tuple(epochs) if isinstance(epochs, Iterable) else (epochs,)
    whole = all(isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 for epoch in values)
    if not values or not whole or isinstance(epochs, bool):
        raise SettingError(
            f"audit_epochs must be whole numbers from 0 (before the first step), as (0, 5), got {epochs!r}"
        )
    return tuple(sorted(set(values)))


def _checked_held_out(held_out: Mapping[str, Any] | None) -> dict[str, Any]:
    splits = {} if held_out is None else held_out
    if not isinstance(splits, Mapping) or "train" in splits:
        mapping = isinstance(splits, Mapping)
        came = f"the names {', '.join(map(str, splits))}" if mapping else f"a {type(splits).__name__}"
        raise SettingError(
            f"held_out must be a dict of data sets by name, as {{'test': dataset}}, none of them 'train', got {came}"
        )
    return dict(splits)


def _checked_folder(name: str, folder: str | Path | None) -> Path | None:
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise SettingError(f"{name} must be a folder or None, got {folder!r}")
    return None if folder is None else Path(folder)
