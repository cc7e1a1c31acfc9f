"""Settings."""

from __future__ import annotations

from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.thresholds import Thresholds
from selfclean_hooks.errors import SettingError


def checked_settings(method: str, thresholds: Thresholds | None, policy: Policy | None) -> tuple[Thresholds, Policy]:
    """The settings with defaults filled in; refused before any work is done."""
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
