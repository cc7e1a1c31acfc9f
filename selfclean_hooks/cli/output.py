"""The result on standard output in the chosen format, notes on standard error."""

from __future__ import annotations

import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from selfclean_hooks.cli.process import TERMINATED, SteadyStream, Terminated
from selfclean_hooks.errors import DataWarning
from selfclean_hooks.report.formats import Format, as_text
from selfclean_hooks.report.text import in_one_line
from selfclean_hooks.utils.text import console, duration, visible

if TYPE_CHECKING:
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.gate.verdict import Verdict


LONG = 60.0  # seconds after which the next run should be faster
MAX_LENGTH = 4000  # characters of a line with text from outside
_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)


@contextmanager
def quiet(is_quiet: bool) -> Iterator[None]:
    """Within the block, no notes, tables and warnings about the data: only the result and errors."""
    before = _is_quiet.set(is_quiet)
    try:
        with warnings.catch_warnings():
            if is_quiet:
                warnings.simplefilter("ignore", DataWarning)
            yield
    finally:
        _is_quiet.reset(before)


def print_result(
    result: SplitsAudit,
    verdict: Verdict,
    format: Format,
    report: Path | None,
    next_step: str | None,
    verbose: bool = False,
) -> None:
    """Print the result; of a table, the last line is the verdict.

    Args:
        result: the audits; that of a single data set is the split "".
        verdict: on them.
        format: of standard output.
        report: the page that was written; None: there is none.
        next_step: a command; "": none; None: the verdict is not the result, an error follows.
        verbose: all columns and estimates of a table.
    """
    if format is Format.table:
        if not _is_quiet.get():
            _print_table(result, verdict, report, verbose)
    else:
        if isinstance(sys.stdout, SteadyStream):
            sys.stdout.encode("utf-8")  # for file names, in any locale
        sys.stdout.write(as_text(format, result.audits, verdict, result.shifts).rstrip("\n") + "\n")
        sys.stdout.flush()
    for note in dict.fromkeys(note for audit in result.audits.values() for note in audit.provenance.get("notes", ())):
        say(note)
    if format is Format.table and next_step is not None:
        line = in_one_line(verdict) + (f" | next: {next_step}" if next_step else "")
        show(line, "green" if verdict.passed else "red")


def show(text: str, style: str = "") -> None:
    """Print a line on standard output."""
    console().print(visible(text, MAX_LENGTH), style=style, soft_wrap=True, markup=False, highlight=False)


def say(text: str) -> None:
    """Print a note on standard error, unless quiet."""
    if _is_quiet.get():
        return
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


@contextmanager
def advise_on_time(source: str, cache_dir: Path | None, backbone: str) -> Iterator[None]:
    """Where the block takes long, say what makes it shorter the next time."""
    started = time.monotonic()
    yield
    seconds = time.monotonic() - started
    advice = [] if cache_dir else ["--cache-dir DIR keeps embeddings, then only new images are embedded"]
    if backbone in ("auto", "self-supervised"):
        file = "encoder.safetensors"
        advice.append(f"`selfclean-hooks pretrain {shlex.quote(source)} -o {file}` trains once for --backbone {file}")
    if seconds > LONG and advice:
        say(f"this took {duration(seconds)}. Faster the next time: {'; '.join(advice)}")


@contextmanager
def without_warnings_in_notes() -> Iterator[None]:
    """Warnings about the representation and its training are printed with the result too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the (representation|training) ", DataWarning)
        yield


def _print_table(result: SplitsAudit, verdict: Verdict, report: Path | None, verbose: bool) -> None:
    from selfclean_hooks.report.table import calibration_table, show

    screen = console()
    show(result.audits, verdict, screen, brief=not verbose)
    bars = screen.is_terminal and screen.encoding.lower().startswith("utf")
    estimates = calibration_table(result.audits, bars=bars) if verbose else None
    if estimates is not None:
        if verdict.reasons:
            screen.print()
        screen.print(estimates)
        screen.print()
    details = (*(_quality_lines(result) if verbose else ()), *_split_lines(result))
    page = [] if report is None else [f"report: {visible(str(report), MAX_LENGTH)}"]
    for line in (*details, *page):
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
