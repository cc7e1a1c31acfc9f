"""The command line: demo, audit, pretrain here; gate, report, apply, export in `saved_audit.py`.

Exit status: 0 passed, 1 contaminated beyond a limit, 2 wrong usage, unreadable source or any other error,
143 ended by SIGTERM.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from selfclean_hooks.cli import process
from selfclean_hooks.cli.options import GateOptions, with_gate_options
from selfclean_hooks.cli.outcome import check_and_report
from selfclean_hooks.cli.output import complain, interrupts_as_errors, say
from selfclean_hooks.cli.saved_audit import apply, export, gate, report
from selfclean_hooks.decisions.settings import Policy
from selfclean_hooks.errors import DataWarning, SelfCleanError
from selfclean_hooks.utils.text import console

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
    """Floating-point precision of a model."""

    full = "32"
    bf16 = "bf16"
    half = "16"


Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the audit and its report.")]
PathColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of a table that holds the images or their paths.")
]


@app.command()
def demo(output: Output = Path("selfclean-demo")) -> None:
    """Plant known issues in real images, audit them before a Lightning fit, and show the difference."""
    from selfclean_hooks.cli.demo import run as run_demo

    with interrupts_as_errors():
        run_demo(output, console())


@app.command()
@with_gate_options
def audit(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder of images (class folders or flat), a .npz (images or embeddings, optionally labels), "
            "a .csv, .tsv or .parquet table (path or images, optionally label), a saved Hugging Face data set, or "
            "module:attribute. Or several splits: train=SOURCE val=SOURCE, or a folder that holds train and val.",
        ),
    ],
    *,
    output: Output = Path("audit"),
    backbone: Annotated[
        str,
        typer.Option(
            help='A timm name, "auto", "self-supervised", a file of weights (from pretrain, or resnet18:FILE), or '
            "module:attribute (a module or function)."
        ),
    ] = "auto",
    method: Annotated[Method, typer.Option(help="Detectors; selfclean: as in the paper.")] = Method.default,
    options: GateOptions,
    cache_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep embeddings here between runs.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    precision: Annotated[
        Precision, typer.Option(help="Of the forward pass; bf16 and 16: mixed precision.")
    ] = Precision.full,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the model: pays off for many images.")] = False,
    progress: Annotated[bool, typer.Option(help="Show progress bars.")] = True,
    max_items: Annotated[int, typer.Option(min=1, help="Findings of each issue shown in the report.")] = 500,
    path_column: PathColumn = None,
    label_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Column of a table that holds the labels; given several times: a class each, of 0 and 1.",
        ),
    ] = None,
) -> None:
    """Audit SOURCE, save the result and check it against limits.

    Nothing is deleted: clean_indices.txt and clean_files.txt list the samples that remain without the flagged ones;
    `selfclean-hooks apply` makes a data set of them.
    """
    from selfclean_hooks.audits.settings import AuditSettings
    from selfclean_hooks.cli.audit_sources import audit_sources, named_sources, open_sources
    from selfclean_hooks.cli.output_folder import check_output_folder, encoder_in
    from selfclean_hooks.core.settings import EmbeddingSettings
    from selfclean_hooks.embedding.backbones.resolve import is_checkpoint
    from selfclean_hooks.sources.columns import ColumnNames
    from selfclean_hooks.sources.python_object import is_attribute, load_attribute

    embedding = EmbeddingSettings("auto", 64, workers, 0, cache_dir, progress, precision.value, compile)
    with interrupts_as_errors():
        named = named_sources(source, output)
        if len(named) > len(source):
            say(f"{source[0]} holds splits: " + " ".join(f"{name}={text}" for name, text in named.items()))
        options.check(named)
        check_output_folder(output, named, named.values())  # fail fast
        sources = open_sources(named, output, ColumnNames(path_column, tuple(label_column or ())))
        policy = options.policy(Policy("drop", "drop", "drop", "drop", leakage="drop"))
        is_object = is_attribute(backbone) and not is_checkpoint(backbone)
        encoder = load_attribute(backbone) if is_object else backbone
        embedding = replace(embedding, kept_encoder=encoder_in(output, named))
        settings = AuditSettings(method.value, options.thresholds_before(named), policy, embedding, max_items)
        with _without_warnings_in_notes():
            result = audit_sources(sources, encoder, settings)
        raise typer.Exit(check_and_report(result, options, output))


@app.command()
def pretrain(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As for audit; labels are ignored.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Encoder file, for --backbone FILE.")],
    objective: Annotated[
        str, typer.Option(help="simclr, vicreg, barlow-twins, dino (augmented views) or mae (masked patches).")
    ] = "simclr",
    encoder: Annotated[
        str, typer.Option(help='"auto" (small, sized to the data), "small", "small-vit", or a timm name.')
    ] = "auto",
    start: Annotated[
        str, typer.Option(metavar="WEIGHTS", help='Starting weights: "random", "pretrained" (timm\'s) or a checkpoint.')
    ] = "random",
    size: Annotated[int | None, typer.Option(help="Image side in pixels; default: chosen from the data.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images; default: until convergence.")] = None,
    max_time: Annotated[
        str, typer.Option(metavar="TIME", help="Stop unfinished, with a warning, after this time: 90s, 10m, 1h30m.")
    ] = "6h",
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 256,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate; default: depends on the objective.")] = None,
    patience: Annotated[int, typer.Option(help="Stop after so many checks without change; 0: never.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same encoder on one machine.")] = 0,
    device: Annotated[str, typer.Option(help='"auto" or a torch device.')] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Number of devices, one process each.")] = 1,
    precision: Annotated[Precision, typer.Option(help="Of training; bf16 and 16: mixed precision.")] = Precision.full,
    log: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for metrics as CSV.")] = None,
    path_column: PathColumn = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Train an encoder on the images of SOURCE, without labels or network access. Run again to resume."""
    from selfclean_hooks.cli.pretrain import run as run_training
    from selfclean_hooks.cli.pretrain import seconds_of
    from selfclean_hooks.embedding.pretrain.recipe import Recipe

    with interrupts_as_errors():
        recipe = Recipe(
            objective, encoder, start, size, epochs, batch_size, seconds_of(max_time), learning_rate, patience, seed
        )
        with _without_warnings_in_notes():
            message = run_training(source, output, recipe, device, devices, precision.value, log, progress, path_column)
        if message:
            console().print(message, soft_wrap=True, markup=False, highlight=False)


app.command()(gate)
app.command()(report)
app.command()(apply)
app.command()(export)


@process.steady_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status and never raises for what a user can cause."""
    try:
        with process.terminations_as_interrupts():
            app(args=list(argv) if argv is not None else None, prog_name="selfclean-hooks", standalone_mode=True)
    except SystemExit as stop:
        return stop.code if stop.code in (0, 1, process.TERMINATED) and isinstance(stop.code, int) else 2
    except SelfCleanError as error:
        complain(str(error))
    except Exception as error:  # a traceback would exit 1, which means contaminated
        import traceback

        traceback.print_exc()
        complain(f"unexpected {type(error).__name__}: {error}")
    return 2


class _Callable(ModuleType):
    """This module, called as the function of its name: as `selfclean_hooks.cli.main(argv)` was in version 0.1.0."""

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        return main(argv)


sys.modules[__name__].__class__ = _Callable


def run() -> None:
    """Entry point of the installed command."""
    process.open_standard_files()
    sys.exit(main())


@contextmanager
def _without_warnings_in_notes() -> Iterator[None]:
    """Warnings about the representation and its training are printed with the result too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the (representation|training) ", DataWarning)
        yield
