"""What the flags are worth, as a table for a terminal: estimates, how many samples to look at, the scores as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from selfclean_hooks.report.table import NARROW
from selfclean_hooks.report.words import visible
from selfclean_hooks.summary import calibration_rows

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
BINS = 20
TITLE = "what the flags are worth, as estimated"
CAPTION = "Of near duplicates kept copies count too."


def worth_table(audits: Mapping[str, Audit], bars: bool = False) -> Table | None:
    """One row a split and issue whose scores were calibrated; None where there are none.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        bars: how often each score is there too, from 0 on; for terminals that show the characters.
    """
    rows = [(split, audit, row) for split, audit in audits.items() for row in calibration_rows(audit)]
    if not rows:
        return None
    table = Table(title=Text(TITLE), title_justify="left", caption=Text(CAPTION), caption_justify="left", **NARROW)
    names = {"issue": "left", "right": "right", "in all (95%)": "right", "look at for 90%": "right"}
    for name, justify in names.items():
        table.add_column(name, justify=justify, no_wrap=name != "issue", overflow="fold")  # type: ignore[arg-type]
    if bars:
        table.add_column("scores, flagged | not", no_wrap=True)
    for split, audit, row in rows:
        issue = row["issue"]
        cells = [Text(visible(f"{split}: {issue}" if split else issue)), *map(Text, _told(row))]
        table.add_row(*cells, *([_bars(audit.scores.of(issue), audit.decisions.thresholds[issue])] if bars else []))
    return table


def _told(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """Share of the flags that are right, how many there are in all, how many to look at."""
    right = "" if math.isnan(row["precision"]) else f"{row['precision']:.0%}"
    between = f"{row['estimated_low']:,.0f}-{row['estimated_high']:,.0f}"
    return right, f"{row['estimated']:,.0f} ({between})", f"{row['inspect_for_90']:,}"


def _bars(scores: NDArray[np.float64], cut: float) -> Text:
    """Heights are square roots of the counts: the few bad ones are seen beside the many good."""
    scored = scores[~np.isnan(scores)]
    end = max(float(scored.max(initial=0)), cut) or 1.0
    counts, edges = np.histogram(scored, BINS, (0, end))
    heights = np.ceil((len(BARS) - 1) * np.sqrt(counts / max(1, counts.max()))).astype(int)
    drawn, below = "".join(BARS[height] for height in heights), int((edges[:-1] < cut).sum())
    return Text.assemble((drawn[:below], "red"), "|", (drawn[below:], "blue"))
