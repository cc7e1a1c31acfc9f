"""The result on standard output in the chosen format, notes on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from selfclean_hooks.cli.process import TERMINATED, SteadyStream, Terminated
from selfclean_hooks.report.formats import Format, as_text
from selfclean_hooks.utils.text import console, visible

if TYPE_CHECKING:
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.gate.verdict import Verdict


MAX_LENGTH = 4000  # characters of a line with text from outside


def print_result(result: SplitsAudit, verdict: Verdict, format: Format, place: Path | None) -> None:
    """Print the result.

    Args:
        result: the audits; that of a single data set is the split "".
        verdict: on them.
        format: of standard output.
        place: folder that the audit was saved in; None if it was not.
    """
    if format is Format.table:
        _print_table(result, verdict, place)
    else:
        if isinstance(sys.stdout, SteadyStream):
            sys.stdout.encode("utf-8")  # for file names, in any locale
        sys.stdout.write(as_text(format, result.audits, verdict, result.shifts).rstrip("\n") + "\n")
        sys.stdout.flush()
    for note in dict.fromkeys(note for audit in result.audits.values() for note in audit.provenance.get("notes", ())):
        say(note)


def show(text: str) -> None:
    """Print a line on standard output."""
    console().print(visible(text, MAX_LENGTH), soft_wrap=True, markup=False, highlight=False)


def say(text: str) -> None:
    """Print a note on standard error."""
    console(stderr=True).print(visible(text, MAX_LENGTH), style="dim", soft_wrap=True, markup=False, highlight=False)


def complain(text: str) -> None:
    """Print an error on standard error."""
    lines = [visible(line, MAX_LENGTH) for line in text.split("\n")]
    if any(line.startswith("::") for line in lines):  # CI runners would take it for a command
        lines = [" ".join(lines)]
    text = "\n".join(lines)
    console(stderr=True).print(f"error: {text}", style="red", soft_wrap=True, markup=False, highlight=False)


@contextmanager
def interrupts_as_errors(outcome: str = "earlier audits in the folder are unchanged") -> Iterator[None]:
    """Raise an error for an interrupt: typer would exit 1 or 130, and 1 means contaminated. `outcome`: what is left."""
    try:
        yield
    except KeyboardInterrupt as stop:
        is_terminated = isinstance(stop, Terminated)
        complain(f"{'terminated' if is_terminated else 'interrupted'} before the end: {str(stop) or outcome}")
        raise typer.Exit(TERMINATED if is_terminated else 2) from None


def _print_table(result: SplitsAudit, verdict: Verdict, place: Path | None) -> None:
    from selfclean_hooks.report.table import calibration_table, show

    screen = console()
    show(result.audits, verdict, screen)
    bars = screen.is_terminal and screen.encoding.lower().startswith("utf")
    estimates = calibration_table(result.audits, bars=bars)
    if estimates is not None:
        if verdict.reasons:
            screen.print()
        screen.print(estimates)
        screen.print()
    report = [] if place is None else [f"report: {visible(str(place / 'report.html'), MAX_LENGTH)}"]
    for line in (*_quality_lines(result), *_split_lines(result), *report):
        screen.print(line, soft_wrap=True, markup=False, highlight=False)


def _quality_lines(result: SplitsAudit) -> Iterator[str]:
    """Quality of the representation of the training data."""
    fitness = next(iter(result.audits.values())).fitness
    if fitness is not None:
        yield fitness.describe()


def _split_lines(result: SplitsAudit) -> Iterator[str]:
    """Leakage and shift between splits."""
    if "" in result.audits:
        return
    pairs, differing = len(result.leaking), len(result.disagreeing)
    yield f"near duplicates in two splits: {pairs} pairs, {differing} of them with different labels"
    for row in result.shifts:
        one, other = visible(row["split_1"]), visible(row["split_2"])
        yield (
            f"shift from {one} to {other}: Frechet distance {row['distance']:.4g}, "
            f"{row['expected']:.4g} expected of random splits (p = {row['p_value']:.3g})"
        )
