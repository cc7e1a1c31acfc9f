"""The formats of a result: one row each. The module that writes a format is imported when it is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.result import AuditResult


class Format(str, Enum):
    """How the result is printed."""

    table = "table"  # by `report.table`, for the console
    json = "json"
    metrics = "metrics"
    junit = "junit"
    sarif = "sarif"
    markdown = "markdown"


WRITERS = {  # format: function that takes audits and verdict, and whether it takes the shift between splits too
    Format.json: ("selfclean_hooks.report.as_json:as_json", True),
    Format.metrics: ("selfclean_hooks.report.as_json:as_metrics", False),
    Format.junit: ("selfclean_hooks.report.junit:as_junit", False),
    Format.sarif: ("selfclean_hooks.report.sarif:as_sarif", False),
    Format.markdown: ("selfclean_hooks.report.markdown:as_markdown", True),
}


def as_text(
    format: Format, audits: Mapping[str, AuditResult], verdict: Verdict, shift: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The result in a format that programs read.

    Args:
        format: any but the table.
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
        shift: distances of splits, a mapping for each two of them; formats without a place for it leave it out.
    """
    name, takes_shift = WRITERS[format]
    text: str = resolve_name(name)(audits, verdict, *((shift,) if takes_shift else ()))
    return text
