"""The page of several splits, which leads to theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from selfclean_hooks.report.html.page import environment

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.result import AuditResult
    from selfclean_hooks.results.splits import SplitsResult

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
