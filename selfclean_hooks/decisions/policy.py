"""Policy: what a flag does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import is_fraction

Keep = Literal["first", "most_central", "largest_image"]

Action = Literal["ignore", "warn", "drop", "raise"]


@dataclass(frozen=True)
class Policy:
    """What is done about the flagged samples of each issue.

    "ignore", "warn", "drop" (leave out of the clean indices) or "raise" (stop). One copy of each set of near
    duplicates is kept; no class is emptied; dropping more than `max_drop_fraction` of the samples is an error and not
    a mass drop.
    `leakage` applies to samples of the training split with near duplicates in another split, where it was checked.
    `keep` says which copy: the "first", the "most_central" (most near duplicates, least distance to them) or the
    "largest_image" (pixels). One that is dropped for another reason, or whose label most other copies do not carry, is
    kept only where there is no other.
    """

    near_duplicates: Action = "warn"
    off_topic: Action = "warn"
    label_errors: Action = "warn"
    unreadable: Action = "warn"
    max_drop_fraction: float = 0.5
    leakage: Action = "warn"
    keep: Keep = "first"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "max_drop_fraction":
                continue
            known = get_args(Keep if field.name == "keep" else Action)
            if getattr(self, field.name) not in known:
                what = "keep" if field.name == "keep" else f"the policy for {field.name}"
                raise SettingError(f"{what} must be one of {', '.join(known)}, got {getattr(self, field.name)!r}")
        if not is_fraction(self.max_drop_fraction):
            raise SettingError(f"max_drop_fraction must be in [0, 1], got {self.max_drop_fraction!r}")

    def action(self, issue: str) -> Action:
        """What is done about `issue`."""
        action: Action = getattr(self, issue)
        return action

    def without_drops(self) -> Policy:
        """The same for data from which nothing may be dropped: "drop" becomes "warn"."""
        dropping: dict[str, Any] = {issue: "warn" for issue, action in asdict(self).items() if action == "drop"}
        return replace(self, **dropping)


def split_policies(policy: Policy | Mapping[str, Policy] | None, splits: Iterable[str]) -> dict[str, Policy]:
    """A policy for every split, the training split first.

    Raises:
        SettingError: there is no such split, or samples would be dropped from another one than the first.
    """
    first, *rest = splits
    if not isinstance(policy, Mapping):
        policy = check_policy(policy)
        return {first: policy, **dict.fromkeys(rest, policy.without_drops())}
    unknown = [name for name in policy if name not in (first, *rest)]
    if unknown:
        names = ", ".join([first, *rest])
        raise SettingError(f"policies must be given by the name of a split ({names}), got {unknown[0]!r}")
    policies = {name: check_policy(policy.get(name)) for name in (first, *rest)}
    for name in rest:
        if policies[name] != policies[name].without_drops():
            raise SettingError(
                f"the policy of {name!r} says 'drop': samples are dropped only from the training split "
                f"({first!r}): results on the others would no longer be comparable. Choose 'warn' or 'raise'"
            )
    return policies


def check_policy(policy: Policy | None) -> Policy:
    """Check the type of a policy; None is the default, which warns.

    Raises:
        SettingError: it is not a Policy.
    """
    policy = Policy() if policy is None else policy
    if not isinstance(policy, Policy):
        raise SettingError(f"policy must be a Policy, as Policy(near_duplicates=...), got {policy!r}")
    return policy
