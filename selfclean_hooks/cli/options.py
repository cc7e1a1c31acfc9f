"""Limits and thresholds as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from pathlib import Path
from typing import Any

from selfclean_hooks.cli.output import Format
from selfclean_hooks.core.issues import ISSUES, NAMES, SCORED
from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.review.file import read_reviews
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.thresholds import Thresholds, parse_threshold
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.limits import Count, Limits
from selfclean_hooks.utils.files import check_writable

EXAMPLES = "0.01, 1%, count:5, or val=0.01 for one split"


def limits_of(texts: Mapping[str, Sequence[str]], not_run: Sequence[str], splits: Collection[str]) -> dict[str, Limits]:
    """Limits by split.

    Args:
        texts: issue (or total): amounts such as "0.01", "1%", "count:5" or "val=0.01"; one that names a split counts
            for it alone and before one that does not.
        not_run: issues that may go unchecked.
        splits: names there are; ("",) for one data set.

    Raises:
        SettingError: an amount cannot be read, is given twice, or names an issue or split that there is not.
    """
    given: dict[str, dict[str, Any]] = {"": {}, **{split: {} for split in splits}}
    for issue, written in texts.items():
        for split, amount in _amounts(issue, written):
            if split and split not in splits:
                known = ", ".join(filter(None, splits))
                raise SettingError(
                    f"the limit {split}={amount} of {issue} names a split that there is not: "
                    + (f"there are {known}" if known else "one data set was audited, without a name")
                )
            if issue in given[split]:
                where = f" for {split}" if split else ""
                raise SettingError(f"the limit of {issue}{where} is given twice: leave out one")
            given[split][issue] = amount
    allowed = tuple(_issue(name, NAMES) for name in not_run)
    return {split: Limits(**{**given[""], **given[split]}, not_run=allowed) for split in splits}


def issues_of(texts: Sequence[str]) -> list[str]:
    """The issues that thresholds such as "off-topic=none" are for."""
    return [text.partition("=")[0].strip().replace("-", "_") for text in texts]


def thresholds_of(texts: Sequence[str], before: Thresholds) -> Thresholds:
    """Thresholds from texts such as "label_errors=0.3", "off-topic=none", "label_errors=fdr:0.1", "off_topic=top:5%".

    Args:
        texts: each for one issue.
        before: what counts for the others.

    Raises:
        SettingError: a text cannot be read, or names an issue that there is not.
    """
    values: dict[str, Any] = {field.name: getattr(before, field.name) for field in fields(before)}
    issues = issues_of(texts)
    if twice := {issue for issue in issues if issues.count(issue) > 1}:
        raise SettingError(f"the threshold of {min(twice)} is given twice: leave out one")
    for text in texts:
        name, _, value = text.partition("=")
        words = {"auto": "auto", "none": None}
        known = value.strip().lower()
        values[_issue(name, SCORED)] = words[known] if known in words else _number(value, parse_threshold(known))
    return Thresholds(**values)


def _amounts(issue: str, written: Sequence[str]) -> Iterator[tuple[str, float | Count]]:
    for text in written:
        split, _, amount = text.rpartition("=")
        if count := re.fullmatch(r"count:(\d{1,18})", amount):
            yield split, Count(int(count[1]))
            continue
        percent = amount.endswith("%")
        share = _number(amount.removesuffix("%"), None)
        value = share / 100 if percent and share is not None else share
        if value is None or not 0 <= value <= 1:
            raise SettingError(
                f"the limit of {issue} must be a fraction in [0, 1] or a number of samples ({EXAMPLES}), got {text!r}"
            )
        yield split, abs(value)  # of -0.0


def _number(text: str, otherwise: Any) -> Any:
    try:
        return float(text)
    except ValueError:
        return otherwise


def _issue(name: str, known: Sequence[str]) -> str:
    issue = name.strip().replace("-", "_")
    if issue not in known:
        raise SettingError(f"there is no issue {name!r}: choose from {', '.join(known)}")
    return issue


class KeepOption(str, Enum):
    """Which copy of a duplicate set is kept."""

    first = "first"
    most_central = "most_central"
    largest_image = "largest_image"


@dataclass(frozen=True)
class GateOptions:
    """What was asked for on the command line beside the source; texts as they were written."""

    limits: Mapping[str, Sequence[str] | None]  # issue (or total): amounts
    not_run: Sequence[str] | None
    threshold: Sequence[str] | None
    keep: KeepOption | None
    baseline: Path | None
    update: bool
    format: Format
    decisions: Sequence[Path] | None = None

    def check(self, splits: Collection[str]) -> None:
        """See that everything makes sense, before hours of work.

        Raises:
            SettingError: something does not.
            AuditFileError: the baseline or a file of decisions cannot be read.
        """
        self.limits_of(splits)
        self.thresholds(Thresholds())
        self.review()
        self.accepted()

    def limits_of(self, splits: Collection[str]) -> dict[str, Limits]:
        """Limits by split."""
        texts = {issue: texts or () for issue, texts in self.limits.items()}
        return limits_of(texts, self.not_run or (), splits)

    def thresholds(self, before: Thresholds) -> Thresholds:
        """The thresholds, where others than these were asked for."""
        return thresholds_of(self.threshold or (), before)

    def review(self) -> Review | None:
        """What people decided, without cuts that others were asked for; None where no file was given.

        Raises:
            AuditFileError: a file is none.
        """
        if not self.decisions:
            return None
        asked = issues_of(self.threshold or ())
        led = [issue.name for issue in ISSUES if issue.threshold in asked]  # leakage has that of near duplicates
        return read_reviews(self.decisions).without_thresholds([*asked, *led])

    def thresholds_before(self, splits: Collection[str]) -> Thresholds:
        """Thresholds to audit with; of one data set with the cuts that a reviewer moved: so all pairs are listed."""
        review = self.review()
        moved = {} if review is None or "" not in splits else review.thresholds_of("")
        cuts: dict[str, Any] = {issue: cut for issue, cut in moved.items() if issue in SCORED}
        return self.thresholds(Thresholds(**cuts))

    def policy(self, before: Policy) -> Policy:
        """The policy, where another copy is to be kept."""
        return replace(before, keep=self.keep.value) if self.keep is not None else before

    def accepted(self) -> Baseline | None:
        """The baseline as it is; None where there is none (yet)."""
        if self.baseline is None:
            if self.update:
                raise SettingError("--update-baseline writes the file that --baseline FILE names: give both")
            return None
        if self.update:
            check_writable(self.baseline.parent)  # before anything else is written
        return None if self.update and not self.baseline.exists() else Baseline.read(self.baseline)
