"""The commands on a saved audit: gate, report, apply, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.cli.options.gate import (
    DecisionFiles,
    GateOptions,
    Relabel,
    Saved,
    ThresholdTexts,
    with_gate_options,
)
from selfclean_hooks.cli.outcome import apply_reviews, check_and_report, load_audit, with_options, write_report
from selfclean_hooks.cli.output import interrupts_as_errors, say, show
from selfclean_hooks.decisions.review.file import read_reviews
from selfclean_hooks.report.formats import ExportFormat
from selfclean_hooks.storage.applied.new_folder import Mode


@with_gate_options
def gate(folder: Saved, options: GateOptions) -> None:
    """Check a saved audit against limits; no model is loaded.

    Examples:

      selfclean-hooks gate audit/ --max-near-duplicates 1% --max-label-errors 2%

      selfclean-hooks gate audit/ --decisions decisions.json -v

      selfclean-hooks gate audit/ --baseline accepted.jsonl --update-baseline
    """
    with interrupts_as_errors():
        raise typer.Exit(check_and_report(load_audit(folder), options, folder))


def report(
    folder: Saved,
    decisions: DecisionFiles = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Rewrite report.html from a saved audit; no model is loaded.

    Example:

      selfclean-hooks report audit/ --open
    """
    page = folder / "report.html"
    review = read_reviews(decisions) if decisions else None
    write_report(apply_reviews(load_audit(folder), review), folder)
    show(str(page))
    if browser:
        typer.launch(page.resolve().as_uri())


def apply(
    folder: Saved,
    to: Annotated[Path, typer.Option("--to", metavar="TARGET", help="A folder that is new or empty.")],
    decisions: DecisionFiles = None,
    threshold: ThresholdTexts = None,
    relabel: Relabel = False,
    mode: Annotated[
        Mode,
        typer.Option(
            help="link: hard links, copies where there can be none. copy: copies. list: only the lists. move: the "
            "folder of images itself is cleaned, what is dropped goes to TARGET/dropped/ISSUE."
        ),
    ] = Mode.link,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="[SPLIT=]SOURCE", help="The data, where it lies elsewhere now."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Move back what --mode move moved to TARGET.")] = False,
) -> None:
    """Write the data without what is dropped, with new labels.

    It has the form that it came in. A folder of images becomes a folder with the same names, an image with a new
    label in the folder of its class, and captions (1.txt beside 1.png) go with their images; a table, an .npz file
    or a saved Hugging Face data set becomes one of the same name. TARGET/dropped.csv has a reason for each sample
    that is left out, TARGET/relabelled.csv lists the new labels. The source stays as it is, but with --mode move,
    which --undo takes back. A source that changed since the audit is refused.

    Examples:

      selfclean-hooks apply audit/ --decisions decisions.json --to photos_clean

      selfclean-hooks apply audit/ --to aside --mode move

      selfclean-hooks apply audit/ --to aside --undo
    """
    from selfclean_hooks.cli.audit_sources import named_sources
    from selfclean_hooks.sources.remote.local_copy import local_sources

    with interrupts_as_errors("nothing was written"):
        if undo:
            count = Audit.undo(to, dry_run)
            show(f"nothing moved, {count} files would be moved back" if dry_run else f"{count} files moved back")
            return
        options = GateOptions(threshold, relabel=relabel, decisions=decisions)
        sources = named_sources(local_sources(source, progress=True)) if source else {}
        audit = apply_reviews(with_options(load_audit(folder), options), options.review())
        for part in audit.apply(to, mode.value, sources, dry_run):
            show(part.describe())
            for note in part.notes:
                say(note)
        show(f"nothing written, {to} would be new" if dry_run else f"written: {to}")


def export(
    folder: Saved,
    to: Annotated[ExportFormat, typer.Option("--to", help="What reads it.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="New file; fiftyone, hf: new folder.")],
    decisions: DecisionFiles = None,
) -> None:
    """Write a saved audit in the format of another tool.

    No model is loaded. csv, parquet: a row for each sample. cleanlab: the columns of Datalab, as CSV. croissant: the
    same rows (FILE.csv) with metadata of that standard. fiftyone: fields and tags, for
    fiftyone.types.LegacyFiftyOneDataset. label-studio: a task for each finding with the suggested verdict filled in,
    and the labelling interface (FILE.xml); --decisions reads what Label Studio exports (JSON). It shows the images
    where LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/ are set. hf: a
    Hugging Face data set saved on disk.

    Examples:

      selfclean-hooks export audit/ --to label-studio -o tasks.json

      selfclean-hooks apply audit/ --decisions label_studio_export.json --to photos_clean
    """
    with interrupts_as_errors("nothing was written"):
        review = read_reviews(decisions) if decisions else None
        for path in apply_reviews(load_audit(folder), review).export(to.value, output):
            show(f"written: {path}")
