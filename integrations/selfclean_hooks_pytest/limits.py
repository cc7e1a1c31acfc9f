"""The limits of an assertion: what was given, and what "auto" means once it is known what could be checked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Count, Limits

if TYPE_CHECKING:
    from selfclean_hooks.audits.audit import Audit

Amount = float | Count | Literal["auto"] | None
Tolerance = Amount | Mapping[str, Amount]  # for every data set, or by name of the split

AUTO = {"near_duplicates": 0.01, "leakage": 0.01, "unreadable": 0.0}  # what is no matter of judgement


def by_split(
    given: Mapping[str, Tolerance], splits: Sequence[str], not_run: Collection[str]
) -> dict[str, dict[str, Amount]]:
    """Limits by split and issue; refused now, and not after an hour of work.

    Args:
        given: issue: limit. Of one by split, a split that is left out has none.
        splits: names there are; ("",) for one data set.
        not_run: issues that may go unchecked.

    Raises:
        SettingError: a limit makes no sense, names a split that there is not, or there is nothing to assert.
    """
    for issue, limit in given.items():
        unknown = [name for name in limit if name not in splits] if isinstance(limit, Mapping) else []
        if unknown:
            known = ", ".join(filter(None, splits)) or "no splits, as one data set was given"
            raise SettingError(f"{issue}= names the split {unknown[0]!r}, and there are {known}")
    asked = {
        split: {issue: limit.get(split) if isinstance(limit, Mapping) else limit for issue, limit in given.items()}
        for split in splits
    }
    for limits in asked.values():
        _limits({issue: limit for issue, limit in limits.items() if not _is_auto(limit)}, not_run)
    if all(limit is None for limits in asked.values() for limit in limits.values()):
        raise SettingError("every limit is None, so there is nothing to assert: give one, as near_duplicates=0.01")
    return asked


def resolve_limits(asked: Mapping[str, Amount], audit: Audit, has_baseline: bool, not_run: Collection[str]) -> Limits:
    """The limits of one split. "auto" is none for what was not checked, and with a baseline nothing new."""

    def of(issue: str, limit: Amount) -> Amount:
        if not _is_auto(limit):
            return limit
        if issue not in audit.contamination or audit.decisions.thresholds.get(issue) == -math.inf:
            return None  # it could not be checked, or was turned off
        return 0.0 if has_baseline else AUTO.get(issue)

    return _limits({issue: of(issue, limit) for issue, limit in asked.items()}, not_run)


def _limits(limits: Mapping[str, Any], not_run: Collection[str]) -> Limits:
    return Limits(**limits, not_run=not_run)


def _is_auto(limit: Amount) -> bool:
    return isinstance(limit, str) and limit == "auto"
