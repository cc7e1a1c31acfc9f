"""The settings of an audit in one value, and the keyword arguments of the public functions that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar

from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings, Precision
from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.findings import MAX_ITEMS, checked_max_items

if TYPE_CHECKING:
    import torch

P = ParamSpec("P")
R = TypeVar("R")


class AuditOptions(TypedDict, total=False):
    """Keyword arguments of `audit` and `audit_splits`, in the order of their signatures; `audit` describes them."""

    device: str | torch.device
    batch_size: int
    num_workers: int
    seed: int
    cache_dir: str | Path | None
    progress: bool
    labels: Any
    precision: Precision
    compile: bool
    max_items: int
    timeout: float | None
    input_key: str | int | None
    label_key: str | int | None
    ignore_label: int | str | None
    group_key: Any
    image_quality: bool
    kept_encoder: str | Path | None
    search: str


@dataclass(frozen=True)
class AuditSettings:
    """How data is embedded, scored and decided on; the arguments of `audit` have the same names.

    Attributes:
        method: detectors, a key of `METHODS`.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        embedding: how the data is read and embedded.
        max_items: findings of each issue that the report shows, at most.
        search: of neighbours that vote on labels, "exact" or "approximate".

    Raises:
        SettingError: one is not valid; says which.
    """

    method: str = "default"
    thresholds: Thresholds = field(default_factory=Thresholds)
    policy: Policy = field(default_factory=Policy)
    embedding: EmbeddingSettings = DEFAULT_SETTINGS
    max_items: int = MAX_ITEMS
    search: str = "exact"

    def __post_init__(self) -> None:
        """Check everything that `EmbeddingSettings` does not check itself."""
        checked_settings(self.method, self.thresholds, self.policy)
        check_image_quality(self.policy, self.embedding)
        checked_max_items(self.max_items)
        if self.search != "exact":
            from selfclean_hooks.neighbors.approximate_search import check_search  # imports torch

            check_search(self.search)


def audit_settings(
    method: str, thresholds: Thresholds | None, policy: Policy | None, options: AuditOptions
) -> AuditSettings:
    """The settings that a public function was called with, defaults filled in.

    Raises:
        SettingError: one is not valid; says which.
    """
    thresholds, policy = checked_settings(method, thresholds, policy)
    chosen: dict[str, Any] = {
        each.name: options[each.name]  # type: ignore[literal-required]
        for each in fields(EmbeddingSettings)
        if each.name in options
    }
    max_items = options.get("max_items", MAX_ITEMS)
    search = options.get("search", "exact")
    return AuditSettings(method, thresholds, policy, EmbeddingSettings(**chosen), max_items, search)


def checked_settings(method: str, thresholds: Thresholds | None, policy: Policy | None) -> tuple[Thresholds, Policy]:
    """Thresholds and policy with defaults filled in; everything is checked before any work starts.

    Raises:
        SettingError: one is not valid; says which.
    """
    from selfclean_hooks.detectors.methods import METHODS

    if method not in METHODS:
        raise SettingError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    thresholds = Thresholds() if thresholds is None else thresholds
    policy = Policy() if policy is None else policy
    for value, wanted in ((thresholds, Thresholds), (policy, Policy)):
        if not isinstance(value, wanted):
            name = wanted.__name__
            raise SettingError(f"{name.lower()} must be a {name}, as {name}(near_duplicates=...), got {value!r}")
    return thresholds, policy


def check_image_quality(policy: Policy, embedding: EmbeddingSettings) -> None:
    """Raise a SettingError where something is to be done about an issue that is not looked for."""
    if policy.image_quality in ("drop", "raise") and not embedding.image_quality:
        raise SettingError(
            f"the policy for image_quality is {policy.image_quality!r}, but it is not looked for: pass "
            "image_quality=True to the audit"
        )


def unpack_options(function: Callable[P, R]) -> Callable[P, R]:
    """Write out `**options: Unpack[AuditOptions]` in the signature that callers see.

    Type checkers know the options from the annotation. This is for everything that looks at run time: `help`, notebooks
    and `inspect.signature` show each option with its default, and options can be passed by position too.
    """
    own = list(signature(function).parameters.values())[:-1]
    shown = signature(function).replace(parameters=[*own, *_option_parameters()])

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = shown.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        return function(**bound.arguments)  # type: ignore[call-arg]  # the same arguments, all by name

    call.__signature__ = shown  # type: ignore[attr-defined]
    return call


def _option_parameters() -> list[Parameter]:
    labels = Parameter("labels", Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation="Any")
    max_items = Parameter("max_items", Parameter.POSITIONAL_OR_KEYWORD, default=MAX_ITEMS, annotation="int")
    search = Parameter("search", Parameter.POSITIONAL_OR_KEYWORD, default="exact", annotation="str")
    known = {**signature(EmbeddingSettings).parameters, "labels": labels, "max_items": max_items, "search": search}
    return [known[name] for name in AuditOptions.__annotations__]
