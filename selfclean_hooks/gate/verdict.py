"""Audits + Limits -> Verdict: how much contamination is tolerated. No file is read or written here."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.core.issues import BY_NAME, NAMES, TOTAL
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.result import sample_name, turned_off
from selfclean_hooks.utils.arrays import IntArray, is_fraction
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.gate.baseline import Baseline
    from selfclean_hooks.results.result import AuditResult


MAX_LENGTH = 1000  # characters of a sentence in a notebook


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
    group_leakage: float | Count | None = None
    image_quality: float | Count | None = None

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


@dataclass(frozen=True, eq=False)
class Check:
    """One issue of one split, beside its limit if it has one."""

    issue: str  # or "total"
    split: str  # "" where one data set was audited
    samples: int  # N of the split
    found: IntArray  # what counts for the issue and is not in the baseline, worst first
    accepted: IntArray  # what counts and is in the baseline
    worst: tuple[str, ...]  # names of the first samples in `found`
    not_run: str = ""  # why it could not run
    limit: float | Count | None = None
    is_allowed: bool = False  # not to have run

    @property
    def passed(self) -> bool:
        """Whether the limit, if there is one, is kept."""
        if self.limit is None or self.not_run:
            return self.limit is None or self.is_allowed
        most = self.limit.samples if isinstance(self.limit, Count) else self.limit * self.samples
        return len(self.found) <= most or math.isclose(len(self.found), most)

    @property
    def fraction(self) -> float:
        """Contamination: share of the samples in `found`."""
        return len(self.found) / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """Of the contamination, 95%."""
        return wilson(len(self.found), self.samples)

    @property
    def reason(self) -> str:
        """Issue, figure, limit and worst examples in a sentence."""
        what = f"{self.split}: {self.issue}" if self.split else self.issue
        limit = "" if self.limit is None else str(self.limit) if isinstance(self.limit, Count) else f"{self.limit:g}"
        if self.not_run:
            end = ", which is allowed" if self.is_allowed else f", so the limit {limit} is not met" if limit else ""
            return f"{what}: not run ({self.not_run}){end}"
        low, high = self.interval
        accepted = f", {len(self.accepted)} more are in the baseline" if len(self.accepted) else ""
        figure = (
            f"{what}: {self.fraction:.4f} ({len(self.found)} of {self.samples} samples{accepted}; "
            f"95% interval {low:.4f} to {high:.4f})"
        )
        if self.limit is None:
            return f"{figure}, no limit"
        if self.passed:
            return f"{figure} is within the limit {limit}"
        more = len(self.found) - len(self.worst)
        return f"{figure} exceeds the limit {limit}; worst: {', '.join(self.worst)}" + f" and {more} more" * (more > 0)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether audits are within their limits, and why; true where they are."""

    checks: tuple[Check, ...]  # every issue of every split, with a limit or without
    stale: tuple[str, ...] = ()  # entries of the baseline that match nothing
    baseline: bool = False  # whether findings in a baseline were left out
    refused: tuple[str, ...] = ()  # why the audits are not to be relied on, whatever the limits

    @property
    def passed(self) -> bool:
        """Whether every limit is kept, and nothing speaks against the audits."""
        return not self.refused and all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for every limit, failures first."""
        return (*self.failures, *(check.reason for check in self.checks if check.passed and check.limit is not None))

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for what speaks against the audits, and for every limit that is not kept."""
        return (*self.refused, *(check.reason for check in self.checks if not check.passed))

    def of(self, split: str) -> Verdict:
        """The part about one split."""
        return replace(self, checks=tuple(check for check in self.checks if check.split == split), stale=())

    def __bool__(self) -> bool:
        return self.passed

    def _repr_html_(self) -> str:
        """The outcome and a sentence for every limit, for notebooks."""
        colour = "#16694a" if self.passed else "#c8452f"
        outcome = f'<strong style="color:{colour}">{"passed" if self.passed else "failed"}</strong>'
        stale = (f"stale entry of the baseline: {entry}" for entry in self.stale)
        lines = [html.escape(visible(line, MAX_LENGTH)) for line in (*self.reasons, *stale)] or ["no limit"]
        return f"<div>{outcome}<ul>{''.join(f'<li><bdi>{line}</bdi></li>' for line in lines)}</ul></div>"


def check(audits: Mapping[str, AuditResult], limits: Mapping[str, Limits], baseline: Baseline | None = None) -> Verdict:
    """Compare the contamination of every split with its limits.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        limits: by name of the split; a split without any has no limit.
        baseline: findings in it do not count, nor do scores above the automatic thresholds stored in it. Without any
            limit, no new finding is tolerated.

    Raises:
        SettingError: limits are given for an unknown split, or an audit cannot be compared with a baseline.
    """
    unknown = [split for split in limits if split not in audits]
    if unknown:
        raise SettingError(
            f"limits are given for the split {unknown[0]!r}, and there "
            + (f"are only {', '.join(audits)}" if "" not in audits else "are no splits: one data set was audited")
        )
    if baseline is not None and not any(limit.given() for limit in limits.values()):
        limits = {split: _nothing_new(audit) for split, audit in audits.items()}
    stale = () if baseline is None else baseline.stale(audits)
    if baseline is not None:
        audits = {split: baseline.narrowed(audit, split) for split, audit in audits.items()}
    checks = [
        each for split, audit in audits.items() for each in _checks(split, audit, limits.get(split, Limits()), baseline)
    ]
    return Verdict(tuple(checks), stale, baseline is not None)


def _nothing_new(audit: AuditResult) -> Limits:
    ran = [issue for issue in audit.contamination if not _not_run(audit, issue, Limits())]
    none: dict[str, Any] = dict.fromkeys(ran, Count(0))
    return Limits(**none)


def _checks(split: str, audit: AuditResult, limits: Limits, baseline: Baseline | None) -> Iterator[Check]:
    none = np.zeros(len(audit), bool)
    if baseline is None:
        divided = {issue: (audit.decisions.contamination_mask(issue), none) for issue in audit.contamination}
    else:
        divided = baseline.divide(audit, split)
    given = limits.given()
    for issue in dict.fromkeys((*audit.scores.issues, *given)):
        new, accepted = divided.get(issue, (none, none))
        found = audit.ranked(issue, new.nonzero()[0])
        if issue == TOTAL:
            issues = np.sum([none.astype(np.int64), *(new for new, _ in divided.values())], axis=0)
            found = np.lexsort((np.arange(len(audit)), -issues))[: int((issues > 0).sum())]
            accepted = np.any([none, *(old for _, old in divided.values())], axis=0) & (issues == 0)
        yield Check(
            issue=issue,
            split=split,
            samples=len(audit),
            found=found,
            accepted=accepted.nonzero()[0],
            worst=tuple(sample_name(audit, i) for i in found[:5].tolist()),
            not_run=_not_run(audit, issue, limits),
            limit=given.get(issue),
            is_allowed=issue in limits.not_run,
        )


def _not_run(audit: AuditResult, issue: str, limits: Limits) -> str:
    """Why a check could not run; the total: where a check that is not allowed to be missing could not."""
    if issue == TOTAL:
        checked = [i for i in audit.scores.issues if i not in limits.not_run]
        return "; ".join(f"{i}: {why}" for i in checked if (why := _not_run(audit, i, limits)))
    if issue not in audit.contamination:
        return audit.scores.not_run.get(issue, BY_NAME[issue].unasked)
    return "it is turned off: its threshold is None" if turned_off(audit, issue) else ""
