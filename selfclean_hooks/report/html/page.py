"""The page of an audit, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from selfclean_hooks.errors import PolicyError
from selfclean_hooks.report.html.data import as_json
from selfclean_hooks.report.text import precision_of
from selfclean_hooks.results.findings import select_findings
from selfclean_hooks.results.tables import calibration_rows, summary_rows

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.result import AuditResult

PAGE = 24_000_000  # characters: what mail servers let through
IMAGES = 20_000_000  # characters of these at most for images
STYLES = ("styles/base.css", "styles/parts.css", "styles/gallery.css", "styles/print.css")
SAMPLED = 20  # samples whose files are looked for
SCRIPTS = (  # one scope, in this order
    "scripts/app/dom.js",
    "scripts/app/data.js",
    "scripts/views/thumbnail.js",
    "scripts/app/store.js",
    "scripts/review/review.js",
    "scripts/review/stopping_rule.js",
    "scripts/review/matching.js",
    "scripts/review/decisions.js",
    "scripts/views/threshold.js",
    "scripts/views/histogram.js",
    "scripts/review/filters.js",
    "scripts/review/listing.js",
    "scripts/review/confusion.js",
    "scripts/review/selection.js",
    "scripts/views/gallery.js",
    "scripts/views/zoom.js",
    "scripts/views/worst.js",
    "scripts/views/difference.js",
    "scripts/views/focus.js",
    "scripts/review/classes.js",
    "scripts/views/map.js",
    "scripts/views/lasso.js",
    "scripts/review/progress.js",
    "scripts/review/further.js",
    "scripts/app/dialogs.js",
    "scripts/app/keyboard.js",
    "scripts/app/tabs.js",
    "scripts/app/theme.js",
    "scripts/app/printing.js",
    "scripts/app/main.js",
)


def render(
    audit: AuditResult,
    max_items: int | None = None,
    verdict: Verdict | None = None,
    back: str = "",
    place: Path | None = None,
) -> str:
    """The page. Samples are shown with the thumbnails that the audit carries.

    Characters that cannot be encoded (from file names) are written as escapes, so the page always encodes to UTF-8.

    Args:
        audit: what is shown.
        max_items: findings of each issue at most; default: as many as the audit was made with.
        verdict: shown on the page, if given.
        back: address of the page of all splits, relative to this one; "": there is none.
        place: where the page is to be; it then links to the files of the samples, if these lie near enough.

    Raises:
        SettingError: `max_items` is less than 1.
    """
    findings = select_findings(audit, max_items)
    page = environment().get_template("report.html.jinja")
    text = page.render(**facts_of(audit, verdict), back=back, data=Markup("@data@"))
    text = text.encode("utf-8", "backslashreplace").decode()
    before, after = text.rsplit("@data@", 1)  # the last one: names may hold anything
    data = as_json(audit, findings, IMAGES, PAGE - len(text), files_beside(audit, place))
    return f"{before}{data}{after}"


def files_beside(audit: AuditResult, place: Path | None) -> str | None:
    """The address, relative to a page, that the names of samples begin at; None where it would not lead to files.

    It only ever leads upwards: a page that is mailed says nothing of the folders of its author.
    """
    if place is None or not audit.names or not any(map(os.path.isfile, islice(audit.names, SAMPLED))):
        return None
    here, folder = Path.cwd(), Path(os.path.abspath(place)).parent
    if any(map(os.path.isabs, islice(audit.names, SAMPLED))) or not folder.is_relative_to(here):
        return None
    return "../" * len(folder.relative_to(here).parts)


@cache
def environment() -> jinja2.Environment:
    """The templates of pages. Values are escaped: data never becomes markup."""
    loader = jinja2.PackageLoader("selfclean_hooks", "report/html/templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "percent": "{:.2%}".format, "score": "{:.4g}".format}
    environment.filters["precision"] = precision_of
    environment.filters["words"] = lambda issue: issue.replace("_", " ")
    environment.tests["number"] = lambda value: isinstance(value, (int, float)) and math.isfinite(value)
    style, script = source(STYLES), source(SCRIPTS)
    environment.globals |= {
        "style": Markup(style),
        "script": Markup(script),
        "policy": Markup(content_policy(style, script)),
    }
    return environment


def source(names: tuple[str, ...]) -> str:
    """Files of this folder as one text; scripts share one scope of their own."""
    folder = files("selfclean_hooks") / "report" / "html"
    text = "\n".join((folder / name).read_text(encoding="utf-8") for name in names)
    return f'(() => {{\n"use strict";\n{text}\n}})();' if names[0].endswith(".js") else text


def content_policy(style: str, script: str) -> str:
    """Content security policy: only this style, this script and images that the page itself holds."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; img-src data: blob:; "
        "connect-src 'none'; form-action 'none'; base-uri 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


UNREADABLE = 200
LEFT_OUT = ("notes", "fitness", "copies")  # shown elsewhere on the page; or nobody's business


def facts_of(audit: AuditResult, verdict: Verdict | None) -> dict[str, Any]:
    """The values of the template."""
    about, errors, names = audit.provenance, audit.scores.errors, audit.names
    return {
        "n": len(audit),
        "name": about.get("dataset", {}).get("name", ""),
        "summary": list(_summary(audit)),
        "not_run": audit.scores.not_run,
        "kept": _kept(audit),
        "verdict": verdict,
        "notes": about.get("notes", ()),
        "rank_me": (about.get("encoder") or {}).get("rank_me"),
        "fitness": audit.fitness,
        "unreadable": [(i, names[i] if names else "", errors[i]) for i in sorted(errors)[:UNREADABLE]],
        "unreadable_total": len(errors),
        "facts": list(_facts(_about(audit))),
    }


def _summary(audit: AuditResult) -> Iterator[dict[str, Any]]:
    """One row an issue, with Wilson's interval and the estimated total."""
    estimates = {row["issue"]: row for row in calibration_rows(audit)}
    intervals = audit.intervals
    for row in summary_rows(audit):
        yield {**row, "interval": intervals.get(row["issue"]), "estimate": estimates.get(row["issue"])}


def _kept(audit: AuditResult) -> str:
    try:
        return f"The policy keeps {len(audit.clean_indices):,} of {len(audit):,} samples."
    except PolicyError as error:
        return f"There is no clean list: {error}."


def _about(audit: AuditResult) -> dict[str, Any]:
    """Provenance of the audit; thresholds and policy are those in force."""
    facts = {key: value for key, value in audit.provenance.items() if key not in LEFT_OUT}
    in_force = {"thresholds": audit.thresholds.to_dict(), "policy": asdict(audit.policy)}
    return {**facts, "settings": {**facts.get("settings", {}), **in_force}}


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as rows: ("settings: policy: off topic", "warn")."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _facts(entry, f"{name}: {key}" if name else str(key))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        yield name.replace("_", " "), "none" if value is None else text
