"""The command line: demo, audit, gate, report.

Exit status: 0 passed, 1 contaminated beyond a limit, 2 wrong usage, unreadable source or any other error.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from selfclean_hooks.errors import PolicyError, SelfCleanError
from selfclean_hooks.gate import Limits, Verdict
from selfclean_hooks.policy import Policy
from selfclean_hooks.thresholds import Thresholds

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: the same in every log and at every width
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Audit an image data set for near duplicates, off-topic samples and label errors. "
    "Exit status: 0 passed, 1 beyond a limit, 2 any error.",
)


class Format(str, Enum):
    """How the result is printed."""

    table = "table"
    json = "json"


class Method(str, Enum):
    """Which detectors score the samples."""

    default = "default"
    selfclean = "selfclean"


def _limit(issue: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--max-{issue}", min=0, max=1, metavar="F", help=f"Fail if more than this fraction: {issue.replace('-', ' ')}."
    )
    return option


MaxNearDuplicates = Annotated[float | None, _limit("near-duplicates")]
MaxOffTopic = Annotated[float | None, _limit("off-topic")]
MaxLabelErrors = Annotated[float | None, _limit("label-errors")]
MaxUnreadable = Annotated[float | None, _limit("unreadable")]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the audit and its report.")]
AsFormat = Annotated[Format, typer.Option("--format", help="What is printed on standard output.")]


@app.command()
def demo(output: Output = Path("selfclean-demo")) -> None:
    """Plant known issues in real images, audit them before a Lightning fit, and show the difference."""
    from selfclean_hooks.demo import run as run_demo

    with _stopping_plainly():
        run_demo(output, Console())


@app.command()
def audit(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder of images (class folders or flat), a .npz (images or embeddings, optionally labels), "
            "a .csv or .parquet table (path, optionally label), a saved Hugging Face data set, or module:attribute.",
        ),
    ],
    output: Output = Path("audit"),
    backbone: Annotated[str, typer.Option(help='A timm name, "auto" or "self-supervised".')] = "auto",
    method: Annotated[Method, typer.Option(help="Detectors; selfclean: as in the paper.")] = Method.default,
    max_near_duplicates: MaxNearDuplicates = None,
    max_off_topic: MaxOffTopic = None,
    max_label_errors: MaxLabelErrors = None,
    max_unreadable: MaxUnreadable = None,
    format: AsFormat = Format.table,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
) -> None:
    """Audit SOURCE, save the result and check it against limits.

    Nothing is deleted: clean_indices.txt lists what would be left without the flagged samples.
    """
    limits = Limits(max_near_duplicates, max_off_topic, max_label_errors, max_unreadable)
    with _stopping_plainly():
        found = _audit(source, output, backbone, method.value, workers, progress)
        _finish(found, limits, format, output)


@app.command()
def gate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a saved audit.")],
    max_near_duplicates: MaxNearDuplicates = None,
    max_off_topic: MaxOffTopic = None,
    max_label_errors: MaxLabelErrors = None,
    max_unreadable: MaxUnreadable = None,
    format: AsFormat = Format.table,
) -> None:
    """Check a saved audit against limits; no model is loaded."""
    from selfclean_hooks.audit import Audit

    limits = Limits(max_near_duplicates, max_off_topic, max_label_errors, max_unreadable)
    with _stopping_plainly():
        _finish(Audit.load(folder), limits, format)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a saved audit.")],
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write report.html anew from a saved audit; no model is loaded."""
    from selfclean_hooks.audit import Audit

    page = folder / "report.html"
    Audit.load(folder).to_html(page)
    Console().print(str(page), soft_wrap=True, markup=False, highlight=False)
    if open_:
        typer.launch(page.resolve().as_uri())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status and never raises for what a user can cause."""
    try:
        app(args=list(argv) if argv is not None else None, prog_name="selfclean-hooks", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if stop.code in (0, 1) and isinstance(stop.code, int) else 2
    except SelfCleanError as error:
        _complain(str(error))
    except Exception as error:  # the promised exit status: a traceback would exit 1, which means contaminated
        import traceback

        traceback.print_exc()
        _complain(f"unexpected {type(error).__name__}: {error}")
    return 2


def run() -> None:
    """Entry point of the installed command."""
    sys.exit(main())


@contextmanager
def _stopping_plainly() -> Iterator[None]:
    """An interrupt or a closed pipe is an error: typer would exit 1 or 130, and 1 means contaminated."""
    try:
        yield
    except KeyboardInterrupt:
        raise SelfCleanError("interrupted before the end: what was saved before is as it was") from None
    except BrokenPipeError:
        raise SelfCleanError("standard output was closed before the result was printed") from None


def _audit(source: str, output: Path, backbone: str, method: str, workers: int, progress: bool) -> Audit:
    from selfclean_hooks.audit import audit as audit_dataset
    from selfclean_hooks.audit import audit_embeddings
    from selfclean_hooks.sources import open_source
    from selfclean_hooks.storage import check_writable

    check_writable(output)  # now and not after an hour
    opened = open_source(source)
    policy = Policy("drop", "drop", "drop", "drop")
    if opened.vectors is not None:
        found = audit_embeddings(opened.vectors, opened.labels, method, policy=policy, progress=progress)
    else:
        found = audit_dataset(
            opened.dataset,
            backbone,
            method,
            Thresholds(),
            policy,
            num_workers=workers,
            progress=progress,
            labels=opened.labels,
        )
    return found.described(opened.name, opened.class_names, opened.notes)


def _finish(found: Audit, limits: Limits, format: Format, output: Path | None = None) -> None:
    """Save, print, and exit with what the verdict says."""
    verdict, problem = found.check(limits), ""
    if output is not None:
        try:
            found.save(output)
        except PolicyError as error:
            problem = f"{error}. clean_indices.txt was not written"
    if format is Format.json:
        from selfclean_hooks.report.as_json import as_json

        sys.stdout.write(as_json(found, verdict) + "\n")
    else:
        _show(found, verdict, output)
    if problem:
        _complain(problem)
    raise typer.Exit(1 if not verdict else 2 if problem else 0)


def _show(found: Audit, verdict: Verdict, output: Path | None) -> None:
    console = Console()
    table = Table(title=f"{len(found)} samples", title_justify="left")
    for column in ("issue", "flagged", "contamination", "threshold", "worst"):
        table.add_column(column, justify="left" if column in ("issue", "worst") else "right")
    for row in found.summary.itertuples():
        issue = str(row.issue)
        if row.action == "not run":
            table.add_row(issue, "not run", "", "", found.scores.not_run[issue])
            continue
        cut = float(str(row.threshold))
        threshold = "" if math.isnan(cut) else f"{cut:.4g}"
        worst = ", ".join(map(str, found.worst(issue)[:5].tolist()))
        table.add_row(issue, str(row.num_issues), f"{row.contamination:.2%}", threshold, worst)
    console.print(table)
    for note in found.provenance.get("notes", ()):
        _say(note)
    for reason in verdict.reasons:
        console.print(reason, style="green" if verdict else "red", soft_wrap=True, markup=False)
    if output is not None:
        console.print(f"report: {output / 'report.html'}", soft_wrap=True, markup=False, highlight=False)


def _say(text: str) -> None:
    Console(stderr=True).print(text, style="dim", soft_wrap=True, markup=False, highlight=False)


def _complain(text: str) -> None:
    Console(stderr=True).print(f"error: {text}", style="red", soft_wrap=True, markup=False, highlight=False)
