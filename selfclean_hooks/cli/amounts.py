"""Limits and thresholds as they are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from selfclean_hooks.core.issues import NAMES, SCORED
from selfclean_hooks.decisions.settings import Thresholds, parse_threshold
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.verdict import Count, Limits

EXAMPLES = "0.01, 1%, count:5, or val=0.01 for one split"


def limits_of(texts: Mapping[str, Sequence[str]], not_run: Sequence[str], splits: Collection[str]) -> dict[str, Limits]:
    """Limits by split.

    Args:
        texts: issue (or total): amounts such as "0.01", "1%", "count:5" or "val=0.01". An amount for a named split
            applies to it alone and overrides one for all splits.
        not_run: issues that need not have been checked.
        splits: names of the splits; ("",) for one data set.

    Raises:
        SettingError: an amount cannot be read, is given twice, or names an unknown issue or split.
    """
    given: dict[str, dict[str, Any]] = {"": {}, **{split: {} for split in splits}}
    for issue, written in texts.items():
        for split, amount in _amounts(issue, written):
            if split and split not in splits:
                known = ", ".join(filter(None, splits))
                raise SettingError(
                    f"the limit {split}={amount} of {issue} names an unknown split: "
                    + (f"there are {known}" if known else "a single data set was audited, without a name")
                )
            if issue in given[split]:
                where = f" for {split}" if split else ""
                raise SettingError(f"the limit of {issue}{where} is given twice: leave out one")
            given[split][issue] = amount
    allowed = tuple(_issue(name, NAMES) for name in not_run)
    return {split: Limits(**{**given[""], **given[split]}, not_run=allowed) for split in splits}


def issues_of(texts: Sequence[str]) -> list[str]:
    """The issues named in thresholds such as "off-topic=none"."""
    return [text.partition("=")[0].strip().replace("-", "_") for text in texts]


def thresholds_of(texts: Sequence[str], before: Thresholds) -> Thresholds:
    """Thresholds from texts such as "label_errors=0.3", "off-topic=none", "label_errors=fdr:0.1", "off_topic=top:5%".

    Args:
        texts: each for one issue.
        before: thresholds of the other issues.

    Raises:
        SettingError: a text cannot be read or names an unknown issue.
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
        yield split, abs(value)  # -0.0 becomes 0.0


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
