"""The page of an audit, readable without scripts, and the page of several splits, which leads to theirs."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from selfclean_hooks.errors import PolicyError
from selfclean_hooks.report.html.data import as_json
from selfclean_hooks.results.findings import select_findings
from selfclean_hooks.results.tables import calibration_rows, summary_rows

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.result import AuditResult
    from selfclean_hooks.results.splits import SplitsResult

PAGE = 24_000_000  # characters: what mail servers let through
IMAGES = 20_000_000  # characters of these at most for images
STYLES = ("styles/base.css", "styles/parts.css", "styles/gallery.css", "styles/print.css")
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
    "scripts/views/gallery.js",
    "scripts/views/difference.js",
    "scripts/views/focus.js",
    "scripts/review/classes.js",
    "scripts/views/map.js",
    "scripts/views/lasso.js",
    "scripts/review/progress.js",
    "scripts/app/dialogs.js",
    "scripts/app/keyboard.js",
    "scripts/app/tabs.js",
    "scripts/app/theme.js",
    "scripts/app/printing.js",
    "scripts/app/main.js",
)


def render(audit: AuditResult, max_items: int | None = None, verdict: Verdict | None = None, back: str = "") -> str:
    """The page. Samples are shown with the thumbnails that the audit carries.

    Characters that cannot be encoded (from file names) are written as escapes, so the page always encodes to UTF-8.

    Args:
        audit: what is shown.
        max_items: findings of each issue at most; default: as many as the audit was made with.
        verdict: shown on the page, if given.
        back: address of the page of all splits, relative to this one; "": there is none.

    Raises:
        SettingError: `max_items` is less than 1.
    """
    findings = select_findings(audit, max_items)
    page = environment().get_template("report.html.jinja")
    text = page.render(**facts_of(audit, verdict), back=back, data=Markup("@data@"))
    text = text.encode("utf-8", "backslashreplace").decode()
    before, after = text.rsplit("@data@", 1)  # the last one: names may hold anything
    data = as_json(audit, findings, IMAGES, PAGE - len(text))
    return f"{before}{data}{after}"


@cache
def environment() -> jinja2.Environment:
    """The templates of pages. Values are escaped: data never becomes markup."""
    loader = jinja2.PackageLoader("selfclean_hooks", "report/html/templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "percent": "{:.2%}".format, "score": "{:.4g}".format}
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
LEFT_OUT = ("notes", "fitness")  # shown elsewhere on the page


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


MAX_PAIRS = 100  # of leakage, on the page


def render_splits(
    found: SplitsResult[Any],
    places: Mapping[str, str],
    leakage: Sequence[Mapping[str, Any]],
    verdict: Verdict | None = None,
) -> str:
    """The page.

    Args:
        found: the audits.
        places: the folder of each split, beside the page.
        leakage: `found.leaking` with the samples and labels of both sides.
        verdict: shown on the page, if given.
    """
    worst = sorted(leakage, key=lambda row: not _differ(row))[:MAX_PAIRS]  # pairs with two labels first
    issues = list(dict.fromkeys(issue for audit in found.audits.values() for issue in audit.scores.issues))
    text = (
        environment()
        .get_template("splits.html.jinja")
        .render(
            splits=list(found.audits),
            issues=issues,
            rows=[
                {
                    "name": name,
                    "link": _page(places[name]),
                    "samples": len(audit),
                    "cells": [_cell(audit, issue) for issue in issues],
                }
                for name, audit in found.audits.items()
            ],
            shift=found.shifts,
            leakage=[_linked(row, places) for row in worst],
            verdict=verdict,
            leakage_total=len(leakage),
            disagreements=len(found.disagreeing),
        )
    )
    return text.encode("utf-8", "backslashreplace").decode()


def _page(place: str) -> str:
    return quote(place) + "/report.html"


def _linked(row: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """A pair with the addresses of its thumbnails, in the pages of both splits."""
    links = {f"link_{side}": f"{_page(places[row[f'split_{side}']])}#leakage/{row[f'index_{side}']}" for side in "12"}
    return {**row, **links}


def _differ(row: Mapping[str, Any]) -> bool:
    """Whether both samples of a pair have labels, and other ones."""
    return bool(row["label_1"] and row["label_2"] and row["label_1"] != row["label_2"])


def _cell(audit: AuditResult, issue: str) -> dict[str, Any]:
    if issue not in audit.contamination:
        return {"why": audit.scores.not_run.get(issue, "not run"), "found": 0, "share": 0.0}
    return {
        "why": "",
        "found": int(audit.decisions.contamination_mask(issue).sum()),
        "share": audit.contamination[issue],
    }
