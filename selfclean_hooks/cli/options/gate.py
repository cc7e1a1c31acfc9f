"""The options that `audit` and `gate` share: declared once, written out in the signatures that typer reads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from selfclean_hooks.cli.amounts import issues_of, limits_of, thresholds_of
from selfclean_hooks.cli.options.reading import FLAGS, LIMITS, OUTPUT
from selfclean_hooks.cli.output import quiet
from selfclean_hooks.core.issues import ISSUES, SCORED
from selfclean_hooks.decisions.review.file import read_reviews
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Limits
from selfclean_hooks.report.formats import Format
from selfclean_hooks.utils.files import check_writable

LIMIT = "max_"  # fields of `GateOptions` that are limits, before the name of the issue


class KeepOption(str, Enum):
    """Which copy of a duplicate set is kept."""

    first = "first"
    most_central = "most_central"
    largest_image = "largest_image"


def _limit(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        metavar="[SPLIT=]AMOUNT", help=f"Fail if more than AMOUNT samples {what}.", rich_help_panel=LIMITS
    )
    return option


Saved = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a saved audit.")]
Texts = list[str] | None
DecisionFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--decisions",
        metavar="FILE",
        help="Review decisions exported from the report; may be given several times.",
        rich_help_panel=FLAGS,
    ),
]
ThresholdTexts = Annotated[
    Texts,
    typer.Option(
        metavar="ISSUE=SCORE",
        help="Flag below this score, or auto, or none: label_errors=0.3.",
        rich_help_panel=FLAGS,
    ),
]
Relabel = Annotated[
    bool,
    typer.Option(
        "--relabel/--no-relabel",
        help="Replace flagged labels by the predicted ones where these are probably right, drop the others.",
        rich_help_panel=FLAGS,
    ),
]


@dataclass(frozen=True)
class GateOptions:
    """How an audit is checked and printed; texts as they were written. Each field is an option of the command line."""

    threshold: ThresholdTexts = None
    keep: Annotated[
        KeepOption | None, typer.Option(help="Which copy of a duplicate set is kept.", rich_help_panel=FLAGS)
    ] = None
    relabel: Relabel = False
    max_near_duplicates: Annotated[Texts, _limit("are surplus copies: a fraction (0.01, 1%) or count:5")] = None
    max_off_topic: Annotated[Texts, _limit("are off topic")] = None
    max_label_errors: Annotated[Texts, _limit("have a label error")] = None
    max_leakage: Annotated[Texts, _limit("also occur in another split")] = None
    max_group_leakage: Annotated[Texts, _limit("have a group that is in another split too")] = None
    max_image_quality: Annotated[Texts, _limit("are of poor quality (with --image-quality)")] = None
    max_unreadable: Annotated[Texts, _limit("are unreadable")] = None
    max_total: Annotated[Texts, _limit("have any issue")] = None
    allow_not_run: Annotated[
        Texts,
        typer.Option(
            metavar="ISSUE",
            help="Do not fail if this issue could not be checked, for lack of labels say.",
            rich_help_panel=LIMITS,
        ),
    ] = None
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ignore findings listed in FILE; without limits, any new finding fails.",
            rich_help_panel=LIMITS,
        ),
    ] = None
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Accept all findings: rewrite FILE.", rich_help_panel=LIMITS)
    ] = False
    decisions: DecisionFiles = None
    format: Annotated[Format, typer.Option(help="Format of standard output.", rich_help_panel=OUTPUT)] = Format.table
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Thresholds, intervals, estimates and the quality of the representation too.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="The result alone: its last line, or FORMAT.", rich_help_panel=OUTPUT),
    ] = False

    def check(self, splits: Collection[str]) -> None:
        """Validate everything before hours of work.

        Raises:
            SettingError: an option is not valid.
            AuditFileError: the baseline or a file of decisions cannot be read.
        """
        self.limits_of(splits)
        self.thresholds(Thresholds())
        self.review()
        self.accepted()

    def limits_of(self, splits: Collection[str]) -> dict[str, Limits]:
        """Limits by split."""
        given = {name: value for name, value in vars(self).items() if name.startswith(LIMIT)}
        texts = {name.removeprefix(LIMIT): value or () for name, value in given.items()}
        return limits_of(texts, self.allow_not_run or (), splits)

    def thresholds(self, before: Thresholds) -> Thresholds:
        """`before`, with the thresholds of the command line in place of its own."""
        return thresholds_of(self.threshold or (), before)

    def review(self) -> Review | None:
        """The review decisions, without thresholds that the command line sets too; None where no file was given.

        Raises:
            AuditFileError: a file holds no decisions.
        """
        if not self.decisions:
            return None
        issues = issues_of(self.threshold or ())
        same_threshold = [issue.name for issue in ISSUES if issue.threshold in issues]  # leakage: of near duplicates
        return read_reviews(self.decisions).without_thresholds([*issues, *same_threshold])

    def thresholds_before(self, splits: Collection[str]) -> Thresholds:
        """Thresholds to audit with: those that a reviewer of one data set moved, so that all pairs are listed."""
        review = self.review()
        moved = {} if review is None or "" not in splits else review.thresholds_of("")
        of_issues: dict[str, Any] = {issue: threshold for issue, threshold in moved.items() if issue in SCORED}
        return self.thresholds(Thresholds(**of_issues))

    def policy(self, before: Policy) -> Policy:
        """`before`, keeping the copy of a duplicate set and relabelling as the command line asks for."""
        after = replace(before, keep=self.keep.value) if self.keep is not None else before
        return replace(after, label_errors="relabel") if self.relabel else after

    def accepted(self) -> Baseline | None:
        """The baseline as it is; None where there is none (yet)."""
        if self.baseline is None:
            if self.update_baseline:
                raise SettingError("--update-baseline writes the file that --baseline FILE names: give both")
            return None
        if self.update_baseline:
            check_writable(self.baseline.parent)  # before anything else is written
        return None if self.update_baseline and not self.baseline.exists() else Baseline.read(self.baseline)


def with_gate_options(command: Callable[..., None]) -> Callable[..., None]:
    """Write out the parameter `options: GateOptions` of a command as one option for each field."""
    kinds = get_type_hints(GateOptions, include_extras=True)
    written_out = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name])
        for field in fields(GateOptions)
    ]
    shown = [
        each
        for parameter in signature(command, eval_str=True).parameters.values()
        for each in (written_out if parameter.name == "options" else [parameter.replace(kind=Parameter.KEYWORD_ONLY)])
    ]

    @wraps(command)
    def call(**arguments: Any) -> None:
        options = GateOptions(**{field.name: arguments.pop(field.name) for field in fields(GateOptions)})
        with quiet(options.quiet):
            command(options=options, **arguments)

    call.__signature__ = signature(command).replace(parameters=shown)  # type: ignore[attr-defined]
    return call
