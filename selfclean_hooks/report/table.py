"""The result as tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from selfclean_hooks.report.words import LONGEST, by_split, contamination_of, limit_of, visible

if TYPE_CHECKING:
    from rich.console import Console

    from selfclean_hooks.audit import Audit
    from selfclean_hooks.gate import Check, Verdict

WORST = 5  # samples in a row
NARROW: Any = {"box": box.SIMPLE_HEAD, "show_edge": False, "pad_edge": False, "padding": (0, 1, 0, 0)}
COLUMNS: dict[str, JustifyMethod] = {
    "issue": "left",
    "flagged": "right",
    "new": "right",
    "contamination": "right",
    "limit": "right",
    "threshold": "right",
    "worst": "left",  # the one that is folded: all fit into the 80 characters of a log
}


def show(audits: Mapping[str, Audit], verdict: Verdict, console: Console) -> None:
    """Print a table for every split, then what the verdict says, what fails in red.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
        console: where to.
    """
    for table in tables(audits, verdict):
        console.print(table)
        console.print()
    for text in _sentences(verdict):
        console.print(text, soft_wrap=True, highlight=False)


def tables(audits: Mapping[str, Audit], verdict: Verdict) -> list[Table]:
    """One a split: an issue a row. Limits are a column where there are any, and new findings where a baseline is."""
    return [_table(split, audit, checks, verdict.baseline) for split, audit, checks in by_split(audits, verdict)]


def _table(split: str, audit: Audit, checks: Sequence[Check], has_baseline: bool) -> Table:
    size = f"{len(audit)} samples"
    title = Text(f"{visible(split)}: {size}" if split else size)
    told = Text("\n".join(visible(f"{check.issue}: {check.not_run}") for check in checks if check.not_run))
    table = Table(title=title, title_justify="left", caption=told, caption_justify="left", **NARROW)
    has_limits = any(check.limit is not None for check in checks)
    shown = [name for name in COLUMNS if (name != "new" or has_baseline) and (name != "limit" or has_limits)]
    for name in shown:
        table.add_column(name, justify=COLUMNS[name], no_wrap=name != "worst", overflow="fold")
    for check in checks:
        cells = _cells(check, audit.decisions.thresholds.get(check.issue, math.nan))
        table.add_row(*(Text(cells.get(name, ""), style="" if check.passed else "red") for name in shown))
    return table


def _cells(check: Check, cut: float) -> dict[str, str]:
    """Column: text. What a baseline accepts is flagged all the same, and is no contamination."""
    if check.not_run:
        return {"issue": check.issue, "flagged": "not run", "limit": limit_of(check)}
    return {
        "issue": check.issue,
        "flagged": str(len(check.found) + len(check.accepted)),
        "new": str(len(check.found)),
        "contamination": contamination_of(check),
        "limit": limit_of(check),
        "threshold": f"{cut:.4g}" if math.isfinite(cut) else "",
        "worst": ", ".join(map(str, check.found[:WORST].tolist())),
    }


def _sentences(verdict: Verdict) -> Iterator[Text]:
    for count, reason in enumerate(verdict.reasons):
        yield Text(visible(reason, 5 * LONGEST), style="red" if count < len(verdict.failures) else "green")
    for entry in verdict.stale:
        yield Text(f"matches nothing any more, in the baseline: {visible(entry)}", style="yellow")
