"""The result on standard output, in the format that was asked for; notes go to standard error."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from selfclean_hooks.report.formats import Format, as_text
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.gate.verdict import Verdict


MAX_LENGTH = 4000  # characters of a line that comes from elsewhere


def print_result(found: SplitsAudit, verdict: Verdict, format: Format, place: Path | None) -> None:
    """Print what was found and decided.

    Args:
        found: the audits; of one data set it is the split "".
        verdict: on them.
        format: of standard output.
        place: the folder it was saved in, None if it was not.
    """
    if format is Format.table:
        _print_table(found, verdict, place)
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")  # names of files, in whatever locale
        sys.stdout.write(as_text(format, found.audits, verdict, found.shifts).rstrip("\n") + "\n")
    for note in dict.fromkeys(note for audit in found.audits.values() for note in audit.provenance.get("notes", ())):
        say(note)


def say(text: str) -> None:
    """A note on standard error."""
    Console(stderr=True).print(visible(text, MAX_LENGTH), style="dim", soft_wrap=True, markup=False, highlight=False)


def complain(text: str) -> None:
    """An error on standard error."""
    lines = [visible(line, MAX_LENGTH) for line in text.split("\n")]
    if any(line.startswith("::") for line in lines):  # no command for the program that runs this
        lines = [" ".join(lines)]
    text = "\n".join(lines)
    Console(stderr=True).print(f"error: {text}", style="red", soft_wrap=True, markup=False, highlight=False)


def _print_table(found: SplitsAudit, verdict: Verdict, place: Path | None) -> None:
    from selfclean_hooks.report.table import calibration_table, show

    console = Console()
    show(found.audits, verdict, console)
    estimates = calibration_table(found.audits, bars=console.is_terminal and console.encoding.lower().startswith("utf"))
    if estimates is not None:
        if verdict.reasons:
            console.print()
        console.print(estimates)
        console.print()
    place_line = [] if place is None else [f"report: {place / 'report.html'}"]
    for line in (*_about_fitness(found), *_about_splits(found), *place_line):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _about_fitness(found: SplitsAudit) -> Iterator[str]:
    """Quality of the representation, on the data that is trained on."""
    fitness = next(iter(found.audits.values())).fitness
    if fitness is not None:
        yield fitness.describe()


def _about_splits(found: SplitsAudit) -> Iterator[str]:
    """Leakage and shift."""
    if "" in found.audits:
        return
    pairs, differing = len(found.leaking), len(found.disagreeing)
    yield f"near duplicates in two splits: {pairs} pairs, {differing} of them with different labels"
    for row in found.shifts:
        one, other = visible(row["split_1"]), visible(row["split_2"])
        yield (
            f"shift from {one} to {other}: Frechet distance {row['distance']:.4g}, "
            f"{row['expected']:.4g} expected of random splits (p = {row['p_value']:.3g})"
        )
