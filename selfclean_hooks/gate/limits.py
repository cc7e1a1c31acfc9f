"""How much contamination a gate tolerates."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from numbers import Integral

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import is_fraction


@dataclass(frozen=True)
class Count:
    """A limit as a number of samples: `Limits(label_errors=Count(5))` tolerates five."""

    samples: int

    def __post_init__(self) -> None:
        if not isinstance(self.samples, Integral) or isinstance(self.samples, bool) or self.samples < 0:
            raise SettingError(f"a Count must be a whole number of samples, 0 or more, got {self.samples!r}")

    def __str__(self) -> str:
        return f"{self.samples} samples"


@dataclass(frozen=True)
class Limits:
    """How much contamination is tolerated.

    Per issue a fraction of the samples in [0, 1], a `Count` of samples, or None for any amount; `total` counts the
    samples with any issue. A check that has a limit and could not run fails, unless `not_run` names its issue.
    """

    near_duplicates: float | Count | None = None
    off_topic: float | Count | None = None
    label_errors: float | Count | None = None
    unreadable: float | Count | None = None
    leakage: float | Count | None = None
    total: float | Count | None = None
    not_run: Collection[str] = ()

    def __post_init__(self) -> None:
        for name, limit in self.given().items():
            if not isinstance(limit, Count) and not is_fraction(limit):
                raise SettingError(
                    f"the limit of {name} must be a fraction in [0, 1] or None, got {limit!r}; "
                    "a number of samples is given as Count(5)"
                )
        unknown = [self.not_run] if isinstance(self.not_run, str) else set(self.not_run) - set(NAMES)
        if unknown:
            raise SettingError(
                f"not_run must list issues that may go unchecked, of {', '.join(NAMES)}, got {self.not_run!r}"
            )
        object.__setattr__(self, "not_run", tuple(self.not_run))  # from a list of a configuration file, say

    def given(self) -> dict[str, float | Count]:
        """Issue (or total): limit, of those that have one."""
        limits = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "not_run"}
        return {name: limit for name, limit in limits.items() if limit is not None}
