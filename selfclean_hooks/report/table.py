"""Tables for a terminal: the verdict, and the estimated precision and recall with the scores as bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from selfclean_hooks.report.text import by_split, contamination_of, issue_in_words, limit_of, percentage, precision_of
from selfclean_hooks.results.tables import calibration_rows
from selfclean_hooks.utils.text import LONGEST, visible

if TYPE_CHECKING:
    from rich.console import Console

    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

WORST = 5  # samples in a row
FEW = 3  # of them in the brief table, by file name
NAME = 60  # characters of a name there
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


def show(audits: Mapping[str, AuditResult], verdict: Verdict, console: Console, brief: bool = False) -> None:
    """Print a table for every split, then the sentences of the verdict, failures in red.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
        console: where to.
        brief: three columns: issue, what was found, the worst samples by file name.
    """
    for table in (brief_tables if brief else tables)(audits, verdict):
        console.print(table)
        console.print()
    for text in _sentences(verdict):
        console.print(text, soft_wrap=True, highlight=False)


def tables(audits: Mapping[str, AuditResult], verdict: Verdict) -> list[Table]:
    """One a split: an issue a row. Limits are a column where there are any, and new findings where a baseline is."""
    return [_table(split, audit, checks, verdict.baseline) for split, audit, checks in by_split(audits, verdict)]


def brief_tables(audits: Mapping[str, AuditResult], verdict: Verdict) -> list[Table]:
    """As `tables`, with the columns that need no explanation."""
    return [_brief_table(split, audit, checks, verdict.baseline) for split, audit, checks in by_split(audits, verdict)]


def _title(split: str, audit: AuditResult) -> Text:
    size = f"{len(audit)} samples"
    return Text(f"{visible(split)}: {size}" if split else size)


def _brief_table(split: str, audit: AuditResult, checks: Sequence[Check], has_baseline: bool) -> Table:
    table = Table(title=_title(split, audit), title_justify="left", **NARROW)
    for name in ("issue", "found", "worst"):
        table.add_column(name, no_wrap=name != "worst", overflow="fold")
    for check in checks:
        names = [visible(audit.names[i], NAME) if audit.names else f"#{i}" for i in check.found[:FEW].tolist()]
        found = f"{len(check.found)} ({percentage(check.fraction)})" if len(check.found) else "none"
        if has_baseline:
            found = f"{len(check.found)} new, {len(check.accepted)} accepted"
        cells = ("not run", visible(check.not_run)) if check.not_run else (found, ", ".join(names))
        style = "" if check.passed else "red"
        table.add_row(*(Text(cell, style=style) for cell in (issue_in_words(check.issue), *cells)))
    return table


def _table(split: str, audit: AuditResult, checks: Sequence[Check], has_baseline: bool) -> Table:
    not_run = Text("\n".join(visible(f"{check.issue}: {check.not_run}") for check in checks if check.not_run))
    table = Table(title=_title(split, audit), title_justify="left", caption=not_run, caption_justify="left", **NARROW)
    has_limits = any(check.limit is not None for check in checks)
    shown = [name for name in COLUMNS if (name != "new" or has_baseline) and (name != "limit" or has_limits)]
    for name in shown:
        table.add_column(name, justify=COLUMNS[name], no_wrap=name != "worst", overflow="fold")
    for check in checks:
        cells = _cells(check, audit.decisions.thresholds.get(check.issue, math.nan))
        table.add_row(*(Text(cells.get(name, ""), style="" if check.passed else "red") for name in shown))
    return table


def _cells(check: Check, threshold: float) -> dict[str, str]:
    """Column: text. Accepted findings are flagged, but do not count as contamination."""
    if check.not_run:
        return {"issue": check.issue, "flagged": "not run", "limit": limit_of(check)}
    return {
        "issue": check.issue,
        "flagged": str(len(check.found) + len(check.accepted)),
        "new": str(len(check.found)),
        "contamination": contamination_of(check),
        "limit": limit_of(check),
        "threshold": f"{threshold:.4g}" if math.isfinite(threshold) else "",
        "worst": ", ".join(map(str, check.found[:WORST].tolist())),
    }


def _sentences(verdict: Verdict) -> Iterator[Text]:
    for count, reason in enumerate(verdict.reasons):
        if count >= len(verdict.refused):  # those are an error of the command
            yield Text(visible(reason, 5 * LONGEST), style="red" if count < len(verdict.failures) else "green")
    for entry in verdict.stale:
        yield Text(f"stale entry of the baseline: {visible(entry)}", style="yellow")


BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
BINS = 20
TITLE = "estimated precision and recall"
NOT_ESTIMATED = "cannot be\nestimated"


def calibration_table(audits: Mapping[str, AuditResult], bars: bool = False) -> Table | None:
    """One row a split and issue whose scores were calibrated; None where there are none.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        bars: a histogram of the scores too, from 0 on; for terminals that show the characters.
    """
    rows = [(split, audit, row) for split, audit in audits.items() for row in calibration_rows(audit)]
    if not rows:
        return None
    table = Table(title=Text(TITLE), title_justify="left", caption_justify="left", **NARROW)
    names = {
        "issue": "left",
        "precision": "right",
        "total\n(95% interval)": "right",
        "inspect for\n90% recall": "right",
    }
    for name, justify in names.items():
        table.add_column(name, justify=justify, no_wrap=name != "issue", overflow="fold")  # type: ignore[arg-type]
    if bars:
        table.add_column("scores, flagged | not", no_wrap=True)
    reasons = dict.fromkeys(f"{row['issue']}: {row['unknown']}" for _, _, row in rows if row["unknown"])
    table.caption = Text("\n".join(map(visible, reasons)))
    for split, audit, row in rows:
        issue = row["issue"]
        cells = [Text(visible(f"{split}: {issue}" if split else issue)), *map(Text, _estimates(row))]
        table.add_row(*cells, *([_bars(audit.scores.of(issue), audit.decisions.thresholds[issue])] if bars else []))
    return table


def _estimates(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Estimated precision, estimated total, number of samples to inspect."""
    if row["unknown"]:
        return "", NOT_ESTIMATED, ""
    between = f"{row['estimated_low']:,.0f}-{row['estimated_high']:,.0f}"
    return precision_of(row), f"{row['estimated']:,.0f} ({between})", f"{row['inspect_for_90']:,}"


def _bars(scores: NDArray[np.float64], threshold: float) -> Text:
    """Heights are square roots of counts: few low scores stay visible beside many high ones."""
    scored = scores[~np.isnan(scores)]
    end = max(float(scored.max(initial=0)), threshold) or 1.0
    counts, edges = np.histogram(scored, BINS, (0, end))
    heights = np.ceil((len(BARS) - 1) * np.sqrt(counts / max(1, counts.max()))).astype(int)
    drawn, below = "".join(BARS[height] for height in heights), int((edges[:-1] < threshold).sum())
    return Text.assemble((drawn[:below], "red"), "|", (drawn[below:], "blue"))
