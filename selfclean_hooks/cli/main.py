"""The command line: demo, audit, pretrain, gate, report.

Exit status: 0 passed, 1 contaminated beyond a limit, 2 wrong usage, unreadable source or any other error.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from selfclean_hooks.cli.options import GateOptions, KeepOption
from selfclean_hooks.cli.outcome import apply_reviews, check_and_report, load_audit, write_report
from selfclean_hooks.cli.output import Format, complain
from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.review.file import read_reviews
from selfclean_hooks.errors import DataWarning, SelfCleanError

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: the same in every log and at every width
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Audit an image data set for near duplicates, off-topic samples and label errors. "
    "Exit status: 0 passed, 1 beyond a limit, 2 any error.",
)


class Method(str, Enum):
    """Which detectors score the samples."""

    default = "default"
    selfclean = "selfclean"


class Precision(str, Enum):
    """Of the forward pass."""

    full = "32"
    bf16 = "bf16"
    half = "16"


def _limit(issue: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--max-{issue}", metavar="[SPLIT=]AMOUNT", help=f"Fail if more: {what}."
    )
    return option


Texts = list[str] | None
MaxNearDuplicates = Annotated[Texts, _limit("near-duplicates", "surplus copies. A fraction (0.01, 1%) or count:5")]
MaxOffTopic = Annotated[Texts, _limit("off-topic", "off topic")]
MaxLabelErrors = Annotated[Texts, _limit("label-errors", "label errors")]
MaxLeakage = Annotated[Texts, _limit("leakage", "samples that another split holds too")]
MaxUnreadable = Annotated[Texts, _limit("unreadable", "unreadable")]
MaxTotal = Annotated[Texts, _limit("total", "samples with any issue")]
AllowNotRun = Annotated[
    Texts,
    typer.Option(metavar="ISSUE", help="Do not fail where the check of this issue could not run (no labels, say)."),
]
Threshold = Annotated[
    Texts, typer.Option(metavar="ISSUE=SCORE", help="Flag below this score, or auto, or none: label_errors=0.3.")
]
Keep = Annotated[KeepOption | None, typer.Option(help="Which copy of a duplicate set is kept.")]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Accepted findings: only others count; without limits, none may."),
]
UpdateBaseline = Annotated[bool, typer.Option("--update-baseline", help="Accept all findings: write FILE anew.")]
DecisionFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--decisions", metavar="FILE", help="What people decided in the report, as it exports it; may be repeated."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the audit and its report.")]
AsFormat = Annotated[Format, typer.Option("--format", help="What is printed on standard output.")]
Saved = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a saved audit.")]


@app.command()
def demo(output: Output = Path("selfclean-demo")) -> None:
    """Plant known issues in real images, audit them before a Lightning fit, and show the difference."""
    from selfclean_hooks.cli.demo import run as run_demo

    with _stopping_plainly():
        run_demo(output, Console())


@app.command()
def audit(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder of images (class folders or flat), a .npz (images or embeddings, optionally labels), "
            "a .csv or .parquet table (path, optionally label), a saved Hugging Face data set, or module:attribute. "
            "Or several splits: train=SOURCE val=SOURCE.",
        ),
    ],
    output: Output = Path("audit"),
    backbone: Annotated[
        str,
        typer.Option(
            help='A timm name, "auto", "self-supervised", a file of weights (of pretrain, or resnet18:FILE), or '
            "module:attribute (a module or function)."
        ),
    ] = "auto",
    method: Annotated[Method, typer.Option(help="Detectors; selfclean: as in the paper.")] = Method.default,
    threshold: Threshold = None,
    keep: Keep = None,
    max_near_duplicates: MaxNearDuplicates = None,
    max_off_topic: MaxOffTopic = None,
    max_label_errors: MaxLabelErrors = None,
    max_leakage: MaxLeakage = None,
    max_unreadable: MaxUnreadable = None,
    max_total: MaxTotal = None,
    allow_not_run: AllowNotRun = None,
    baseline: BaselineFile = None,
    update_baseline: UpdateBaseline = False,
    decisions: DecisionFiles = None,
    format: AsFormat = Format.table,
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep embeddings here between runs.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    precision: Annotated[Precision, typer.Option(help="Of the forward pass; bf16 and 16: mixed.")] = Precision.full,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model: pays for many images.")] = False,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
    max_items: Annotated[int, typer.Option(min=1, help="Findings of each issue that the report shows.")] = 500,
) -> None:
    """Audit SOURCE, save the result and check it against limits.

    Nothing is deleted: clean_indices.txt lists what would be left without the flagged samples.
    """
    from selfclean_hooks.audits.settings import AuditSettings
    from selfclean_hooks.cli.audit_sources import audit_sources, named_sources, open_sources
    from selfclean_hooks.cli.sources.python_object import is_attribute, load_attribute
    from selfclean_hooks.core.settings import EmbeddingSettings
    from selfclean_hooks.embedding.backbones.checkpoint import is_checkpoint
    from selfclean_hooks.utils.files import check_writable

    limits = {
        "near_duplicates": max_near_duplicates,
        "off_topic": max_off_topic,
        "label_errors": max_label_errors,
        "leakage": max_leakage,
        "unreadable": max_unreadable,
        "total": max_total,
    }
    asked = GateOptions(limits, allow_not_run, threshold, keep, baseline, update_baseline, format, decisions)
    reading = EmbeddingSettings("auto", 64, workers, 0, cache_dir, progress, precision.value, compile)
    with _stopping_plainly():
        named = named_sources(source)
        asked.check(named)
        check_writable(output)  # now and not after an hour
        sources = open_sources(named)
        policy = asked.policy(Policy("drop", "drop", "drop", "drop", leakage="drop"))
        is_object = is_attribute(backbone) and not is_checkpoint(backbone)
        encoder = load_attribute(backbone) if is_object else backbone
        thresholds = asked.thresholds_before(named)
        with _doubts_told_once():
            settings = AuditSettings(method.value, thresholds, policy, reading, max_items)
            found = audit_sources(sources, encoder, settings)
        raise typer.Exit(check_and_report(found, asked, output))


@app.command()
def pretrain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As of audit: labels are not looked at.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Encoder, for --backbone FILE.")],
    objective: Annotated[
        str, typer.Option(help="simclr, vicreg, barlow-twins, dino (two views are one thing) or mae (hidden patches).")
    ] = "simclr",
    encoder: Annotated[
        str, typer.Option(help='"auto" (small, sized to the data), "small", "small-vit", or a timm name.')
    ] = "auto",
    start: Annotated[
        str, typer.Option(metavar="WEIGHTS", help='Starting weights: "random", "pretrained" (timm\'s) or a checkpoint.')
    ] = "random",
    size: Annotated[int | None, typer.Option(help="Side of the pictures in pixels; else it follows the data.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures; else as many as are of use.")] = None,
    max_time: Annotated[str, typer.Option(metavar="TIME", help="End in good order by then: 90s, 10m, 1h30m.")] = "10m",
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 256,
    learning_rate: Annotated[float | None, typer.Option(help="The highest; else what suits the objective.")] = None,
    patience: Annotated[int, typer.Option(help="End once nothing changes for so many looks in a row; 0: never.")] = 3,
    seed: Annotated[int, typer.Option(help="The same one gives the same encoder on one machine.")] = 0,
    device: Annotated[str, typer.Option(help='"auto" or a torch device.')] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="How many, with a process each.")] = 1,
    precision: Annotated[Precision, typer.Option(help="Of the training; bf16 and 16: mixed.")] = Precision.full,
    log: Annotated[Path | None, typer.Option(metavar="DIR", help="Write metrics as CSV into a folder.")] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train an encoder on the pictures of SOURCE, without labels or network. Interrupted, the same command goes on."""
    from selfclean_hooks.cli.pretrain import run as run_training
    from selfclean_hooks.cli.pretrain import seconds_of
    from selfclean_hooks.embedding.pretrain.recipe import Recipe

    with _stopping_plainly():
        recipe = Recipe(
            objective, encoder, start, size, epochs, batch_size, seconds_of(max_time), learning_rate, patience, seed
        )
        told = run_training(source, output, recipe, device, devices, precision.value, log, progress)
        if told:
            Console().print(told, soft_wrap=True, markup=False, highlight=False)


@app.command()
def gate(
    folder: Saved,
    threshold: Threshold = None,
    keep: Keep = None,
    max_near_duplicates: MaxNearDuplicates = None,
    max_off_topic: MaxOffTopic = None,
    max_label_errors: MaxLabelErrors = None,
    max_leakage: MaxLeakage = None,
    max_unreadable: MaxUnreadable = None,
    max_total: MaxTotal = None,
    allow_not_run: AllowNotRun = None,
    baseline: BaselineFile = None,
    update_baseline: UpdateBaseline = False,
    decisions: DecisionFiles = None,
    format: AsFormat = Format.table,
) -> None:
    """Check a saved audit against limits; no model is loaded."""
    limits = {
        "near_duplicates": max_near_duplicates,
        "off_topic": max_off_topic,
        "label_errors": max_label_errors,
        "leakage": max_leakage,
        "unreadable": max_unreadable,
        "total": max_total,
    }
    asked = GateOptions(limits, allow_not_run, threshold, keep, baseline, update_baseline, format, decisions)
    with _stopping_plainly():
        raise typer.Exit(check_and_report(load_audit(folder), asked))


@app.command()
def report(
    folder: Saved,
    decisions: DecisionFiles = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write report.html anew from a saved audit; no model is loaded."""
    page = folder / "report.html"
    review = read_reviews(decisions) if decisions else None
    write_report(apply_reviews(load_audit(folder), review), folder)
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
        complain(str(error))
    except Exception as error:  # the promised exit status: a traceback would exit 1, which means contaminated
        import traceback

        traceback.print_exc()
        complain(f"unexpected {type(error).__name__}: {error}")
    return 2


def run() -> None:
    """Entry point of the installed command."""
    sys.exit(main())


@contextmanager
def _doubts_told_once() -> Iterator[None]:
    """Doubts about the representation are notes of the audit too, which are printed with the result."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the representation ", DataWarning)
        yield


@contextmanager
def _stopping_plainly() -> Iterator[None]:
    """An interrupt or a closed pipe is an error: typer would exit 1 or 130, and 1 means contaminated."""
    try:
        yield
    except KeyboardInterrupt:
        raise SelfCleanError("interrupted before the end: what was saved before is as it was") from None
    except BrokenPipeError:
        raise SelfCleanError("standard output was closed before the result was printed") from None
