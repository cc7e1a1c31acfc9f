"""The command line: demo, audit, pretrain here; gate, report, apply, export in `saved_audit.py`, init in `project`.

Exit status: 0 passed, 1 contaminated beyond a limit, 2 wrong usage, unreadable source or any other error,
143 ended by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from selfclean_hooks import __version__
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.cli import process
from selfclean_hooks.cli.options.gate import GateOptions, with_gate_options
from selfclean_hooks.cli.options.reading import (
    OUTPUT,
    Backbone,
    BatchSize,
    CacheDir,
    Compile,
    Device,
    GroupColumn,
    GroupPattern,
    IgnoreLabel,
    ImageQuality,
    ImagesFolder,
    LabelColumn,
    MaxItems,
    Method,
    MethodOption,
    Output,
    PathColumn,
    Precision,
    PrecisionOption,
    Progress,
    Search,
    SearchOption,
    Seed,
    Sources,
    Workers,
)
from selfclean_hooks.cli.outcome import check_and_report
from selfclean_hooks.cli.output import (
    advise_on_time,
    complain,
    interrupts_as_errors,
    say,
    show,
    without_warnings_in_notes,
)
from selfclean_hooks.cli.output_folder import check_output_folder, encoder_in, removed_if_empty
from selfclean_hooks.cli.pretrain import pretrain
from selfclean_hooks.cli.project.init import init
from selfclean_hooks.cli.project.settings import Command
from selfclean_hooks.cli.saved_audit import apply, export, gate, report
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.decisions.settings import Action, Policy
from selfclean_hooks.errors import SelfCleanError
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.python_object import is_attribute, load_attribute
from selfclean_hooks.utils.text import console

app = typer.Typer(
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain text: the same in every log and at every width
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Audit an image data set for near duplicates, off-topic samples and label errors. "
    "Exit status: 0 passed, 1 beyond a limit, 2 any error.",
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        show(f"selfclean-hooks {__version__}")
        raise typer.Exit


@app.callback()
def _everywhere(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


@app.command(cls=Command)
def demo(output: Output = Path("selfclean-demo")) -> None:
    """Plant issues in real images; train with and without them.

    The audit of the images is saved, with its report.
    """
    from selfclean_hooks.cli.demo import run as run_demo

    with interrupts_as_errors(), removed_if_empty(output):
        run_demo(output, console())


@app.command(cls=Command)
@with_gate_options
def audit(
    source: Sources,
    *,
    output: Output = Path("audit"),
    backbone: Backbone = "auto",
    options: GateOptions,
    images: ImagesFolder = None,
    image_quality: ImageQuality = False,
    method: MethodOption = Method.default,
    search: SearchOption = Search.exact,
    device: Device = "auto",
    batch_size: BatchSize = 64,
    workers: Workers = 0,
    cache_dir: CacheDir = None,
    seed: Seed = 0,
    precision: PrecisionOption = Precision.full,
    compile: Compile = False,
    max_items: MaxItems = 500,
    report: Annotated[bool, typer.Option(help="Write report.html.", rich_help_panel=OUTPUT)] = True,
    progress: Progress = True,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    ignore_label: IgnoreLabel = None,
    group_pattern: GroupPattern = None,
) -> None:
    """Audit SOURCE, save the result and check it against limits.

    Nothing is deleted: clean_indices.txt and clean_files.txt list the samples that remain without the flagged ones;
    `selfclean-hooks apply` makes a data set of them. Options that are not given are taken from [tool.selfclean-hooks]
    in pyproject.toml; `selfclean-hooks init` writes one.

    Examples:

      selfclean-hooks audit photos/

      selfclean-hooks audit photos/ --max-near-duplicates 1% --max-label-errors 2%

      selfclean-hooks audit train=data/train val=data/val --max-leakage val=count:0

      selfclean-hooks audit table.csv --path-column image --label-column breed --cache-dir .cache
    """
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.cli.audit_sources import audit_sources, groups_of, label_of, named_sources, open_sources
    from selfclean_hooks.embedding.backbones.resolve import is_checkpoint
    from selfclean_hooks.results.display_names import with_display_names
    from selfclean_hooks.sources.remote.local_copy import local_sources
    from selfclean_hooks.sources.remote.origins import origins_of
    from selfclean_hooks.sources.remote.urls import without_secrets

    progress = progress and not options.quiet
    embedding = EmbeddingSettings(device, batch_size, workers, seed, cache_dir, progress, precision.value, compile)
    with interrupts_as_errors():
        with process.launched_processes() as is_first, removed_if_empty(output, is_first):
            texts = local_sources(source, progress)
            for text, copy in zip(source, texts, strict=True):
                if text != copy:
                    say(f"{without_secrets(text)} is read from its copy, {copy}")
            named = named_sources(texts, output)
            if len(named) > len(source):
                say(f"{texts[0]} holds splits: " + " ".join(f"{name}={text}" for name, text in named.items()))
            options.check(named)
            check_output_folder(output, named, named.values())  # fail fast
            columns = ColumnNames(path_column, tuple(label_column or ()), group_column)
            sources = open_sources(named, output, columns, None if images is None else str(images))
            quality: Action = "drop" if image_quality else "warn"
            policy = options.policy(Policy("drop", "drop", "drop", "drop", leakage="drop", image_quality=quality))
            is_object = is_attribute(backbone) and not is_checkpoint(backbone)
            encoder = load_attribute(backbone) if is_object else backbone
            ignored = None if ignore_label is None else label_of(ignore_label, sources)
            groups = groups_of(sources, group_column, group_pattern)
            kept = encoder_in(output, named)
            embedding = replace(embedding, kept_encoder=kept, ignore_label=ignored, group_key=groups)
            embedding = replace(embedding, image_quality=image_quality)
            settings = AuditSettings(
                method.value, options.thresholds_before(named), policy, embedding, max_items, search.value
            )
            with without_warnings_in_notes(), advise_on_time(texts[0], cache_dir, backbone):
                result = audit_sources(sources, encoder, settings)
            if origins := origins_of(source, texts):
                shown = {name: with_display_names(audit, origins) for name, audit in result.audits.items()}
                result = SplitsAudit(shown, result.shifts)
        if is_first:
            raise typer.Exit(check_and_report(result, options, output, is_new=True, report=report))


for _command in (pretrain, gate, report, apply, export, init):
    app.command(cls=Command)(_command)


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
