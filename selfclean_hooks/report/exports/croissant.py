"""All samples as CSV, described by Croissant (MLCommons, 1.0), the metadata that data sets on hubs carry as JSON-LD.

The standard has a record set for a table, and two fields of its RAI vocabulary for what an audit says as a whole:
`rai:dataLimitations`, what was found, and `rai:machineAnnotationTools`, by what. Both may be copied into the metadata
of the audited data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.exports.tables import samples_of, write_csv
from selfclean_hooks.utils.text import plain, visible

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

KEPT = ("citeAs", "column", "extract", "field", "fileObject", "key", "recordSet", "source")  # their names here, too
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: f"cr:{name}" for name in KEPT},
}
RECORDS = "samples"


def write_metadata(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Write the metadata, and beside it the table that it describes (FILE.csv).

    Raises:
        SettingError: the name is that of a table.
    """
    table = path.with_suffix(".csv")
    if table == path:
        raise SettingError(f"the metadata is JSON, got {path.name} as its name: the table {path.name} is written too")
    write_csv(audits, table)
    path.write_text(json.dumps(plain(metadata(audits, table)), indent=2, allow_nan=False), encoding="utf-8")


def metadata(audits: Mapping[str, AuditResult], table: Path) -> dict[str, Any]:
    """What Croissant says of the written table; all keys are those of the standard."""
    first = next(iter(audits.values())).provenance
    version = first.get("versions", {}).get("selfclean-hooks", "")
    of = visible(str(first.get("dataset", {}).get("name") or "a data set"))
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": f"Audit of {of}",
        "description": "Scores and findings of each sample: scores are in [0, 1], and low ones are worse.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        **({"datePublished": first["created"]} if "created" in first else {}),
        "rai:dataLimitations": [line for split, audit in audits.items() for line in _findings(split, audit)],
        "rai:machineAnnotationTools": f"selfclean-hooks {version}".strip(),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": table.name,
                "name": table.name,
                "contentUrl": table.name,
                "encodingFormat": "text/csv",
                "sha256": digest,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORDS,
                "name": RECORDS,
                "field": [_field(table.name, str(name), values) for name, values in samples_of(audits).items()],
            }
        ],
    }


def _field(table: str, name: str, values: pd.Series[Any]) -> dict[str, Any]:
    kinds = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}
    return {
        "@type": "cr:Field",
        "@id": f"{RECORDS}/{name}",
        "name": name,
        "dataType": kinds.get(values.dtype.kind, "sc:Text"),
        "source": {"fileObject": {"@id": table}, "extract": {"column": name}},
    }


def _findings(split: str, audit: AuditResult) -> Iterator[str]:
    """A sentence for each issue."""
    where = f"{visible(split)}: " if split else ""
    for issue, fraction in audit.contamination.items():
        count = int(audit.decisions.contamination_mask(issue).sum())
        yield f"{where}{BY_NAME[issue].title}: {count} of {len(audit)} samples ({fraction:.2%})."
    for issue, why in audit.scores.not_run.items():
        yield f"{where}{BY_NAME[issue].title}: not checked, {visible(why)}."
