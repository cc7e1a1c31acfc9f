"""The formats of results and of exports, one row each; the module that writes one is imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.files import staging_beside

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.result import AuditResult

Write = Callable[[Mapping[str, "AuditResult"], Path], None]  # audits by split, "" for one data set, and the new path


class Format(str, Enum):
    """How the result is printed."""

    table = "table"  # by `report.table`, for the console
    json = "json"
    metrics = "metrics"
    junit = "junit"
    sarif = "sarif"
    markdown = "markdown"


WRITERS = {  # format: function that takes audits and verdict, and whether it takes the shift between splits too
    Format.json: ("selfclean_hooks.report.as_json:as_json", True),
    Format.metrics: ("selfclean_hooks.report.as_json:as_metrics", False),
    Format.junit: ("selfclean_hooks.report.junit:as_junit", False),
    Format.sarif: ("selfclean_hooks.report.sarif:as_sarif", False),
    Format.markdown: ("selfclean_hooks.report.markdown:as_markdown", True),
}


def as_text(
    format: Format, audits: Mapping[str, AuditResult], verdict: Verdict, shift: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The result in a format that programs read.

    Args:
        format: any but the table.
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
        shift: distances of splits, a mapping for each two of them; formats without a place for it leave it out.
    """
    name, takes_shift = WRITERS[format]
    text: str = resolve_name(name)(audits, verdict, *((shift,) if takes_shift else ()))
    return text


class ExportFormat(str, Enum):
    """What another tool reads."""

    csv = "csv"
    parquet = "parquet"
    cleanlab = "cleanlab"
    croissant = "croissant"
    fiftyone = "fiftyone"
    label_studio = "label-studio"
    hf = "hf"


EXPORTERS = {
    ExportFormat.csv: "selfclean_hooks.report.exports.tables:write_csv",
    ExportFormat.parquet: "selfclean_hooks.report.exports.tables:write_parquet",
    ExportFormat.cleanlab: "selfclean_hooks.report.exports.tables:write_datalab_columns",
    ExportFormat.croissant: "selfclean_hooks.report.exports.croissant:write_metadata",
    ExportFormat.fiftyone: "selfclean_hooks.report.exports.datasets:write_fiftyone",
    ExportFormat.label_studio: "selfclean_hooks.report.exports.label_studio:write_tasks",
    ExportFormat.hf: "selfclean_hooks.report.exports.datasets:write_huggingface",
}


def export(audits: Mapping[str, AuditResult], format: str, path: Path) -> list[Path]:
    """Write audits in the format of another tool. See `Audit.export`.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        format: one of `ExportFormat`.
        path: of the new file or folder; nothing is replaced.

    Returns:
        What was written.

    Raises:
        SettingError: there is no such format, something is there, or the format needs what the audit lacks.
        AuditFileError: it cannot be written.
    """
    try:
        write: Write = resolve_name(EXPORTERS[ExportFormat(format)])
    except ValueError:
        names = ", ".join(each.value for each in ExportFormat)
        raise SettingError(f"the format must be one of {names}, got {format!r}") from None
    _check_free(path)
    with staging_beside(path) as staging:
        write(audits, staging / path.name)
        made = sorted(staging.iterdir())
        for each in made:
            _check_free(path.parent / each.name)
        for each in made:
            os.rename(each, path.parent / each.name)
    return [path.parent / each.name for each in made]


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise SettingError(f"{path} is there already: give another name, or remove it")
