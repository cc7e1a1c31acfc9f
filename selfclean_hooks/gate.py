"""Audit + Limits -> Verdict. No file is read or written here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from selfclean_hooks.errors import SettingError
from selfclean_hooks.scores import listing
from selfclean_hooks.thresholds import is_fraction

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit


@dataclass(frozen=True)
class Limits:
    """How much contamination is tolerated: per issue a fraction of the samples in [0, 1], or None for any amount."""

    near_duplicates: float | None = None
    off_topic: float | None = None
    label_errors: float | None = None
    unreadable: float | None = None
    leakage: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            limit = getattr(self, field.name)
            if limit is not None and not is_fraction(limit):
                raise SettingError(f"the limit of {field.name} must be a fraction in [0, 1] or None, got {limit!r}")


@dataclass(frozen=True)
class Verdict:
    """Whether an audit is within limits, and why; true where it passed. Failures come first in `reasons`."""

    passed: bool
    reasons: tuple[str, ...]
    failures: tuple[str, ...] = ()  # those of the reasons that fail

    def __bool__(self) -> bool:
        return self.passed


def check(audit: Audit, limits: Limits) -> Verdict:
    """Compare the contamination with the limits. A check that did not run cannot pass a limit."""
    failures, passes = [], []
    for field in fields(limits):
        issue, limit = field.name, getattr(limits, field.name)
        if limit is None:
            continue
        if issue not in audit.contamination:
            why = audit.scores.not_run.get(issue, "no other split was given")  # the reason where leakage is not checked
            failures.append(f"{issue}: not run ({why}), so the limit {limit:g} is not met")
            continue
        found = audit.contamination[issue]
        worst = audit.worst(issue)
        figure = f"{issue}: {found:.4f} ({round(found * len(audit))} of {len(audit)} samples)"
        if found > limit:
            failures.append(f"{figure} exceeds the limit {limit:g}; worst: {listing(worst, 5)}")
        else:
            passes.append(f"{figure} is within the limit {limit:g}")
    return Verdict(not failures, (*failures, *passes), tuple(failures))
