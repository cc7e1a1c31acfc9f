"""An audit in a notebook: a table and the worst findings. Without scripts; data is escaped."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from selfclean_hooks.core.issues import WITH_THRESHOLD
from selfclean_hooks.data.previews import Preview, Table, Text, decode_preview, image_kind
from selfclean_hooks.report.html.page import environment
from selfclean_hooks.report.text import name_of
from selfclean_hooks.results.findings import Finding, findings
from selfclean_hooks.results.tables import calibration_rows, summary_rows
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult
    from selfclean_hooks.results.splits import SplitsResult

STRIP = 8  # images of an issue
MOST = 190_000  # bytes of all images: base64 adds a third, and notebooks store it
WORDS = 60  # characters of a text or name


@dataclass(frozen=True)
class Thumbnail:
    """One image of a strip."""

    source: str  # data: URI, "" where it is not an image
    text: str  # shown in its place
    caption: str  # index, name


@dataclass(frozen=True)
class Strip:
    """The worst of one issue."""

    issue: str
    findings: tuple[tuple[tuple[Thumbnail, ...], str, bool], ...]  # thumbnails, caption, flagged


def as_html(audit: AuditResult) -> str:
    """HTML fragment: counts, intervals, thresholds, the worst findings, representation quality."""
    estimated = {row["issue"]: row for row in calibration_rows(audit)}
    rows: list[dict[str, Any]] = [
        {**row, "interval": audit.intervals.get(row["issue"]), "estimated": estimated.get(row["issue"])}
        for row in summary_rows(audit)
    ]
    page = environment().get_template("notebook.html.jinja")
    text = page.render(
        name=visible(str(audit.provenance.get("dataset", {}).get("name", ""))),
        n=len(audit),
        rows=rows,
        strips=_strips(audit),
        not_run={issue: visible(why) for issue, why in audit.scores.not_run.items()},
        fitness="" if audit.fitness is None else audit.fitness.describe(),
    )
    return text.encode("utf-8", "backslashreplace").decode()


def splits_as_html(found: SplitsResult[Any]) -> str:
    """HTML fragment: one row a split, what splits share, then every split to be opened."""
    issues = list(dict.fromkeys(issue for audit in found.audits.values() for issue in audit.scores.issues))
    page = environment().get_template("notebook_splits.html.jinja")
    text = page.render(
        issues=issues,
        splits=[(visible(name), audit, Markup(as_html(audit))) for name, audit in found.audits.items()],
        shared=len(found.leaking),
        disagreeing=len(found.disagreeing),
    )
    return text.encode("utf-8", "backslashreplace").decode()


def _strips(audit: AuditResult) -> list[Strip]:
    """As many thumbnails as fit into `MOST`, the worst of every issue first."""
    issues = [issue for issue in audit.scores.ran if issue in WITH_THRESHOLD]
    worst = {issue: findings(audit, issue, STRIP, seen=True) for issue in issues}
    room, chosen = MOST, {issue: list[Finding]() for issue in issues}
    for place in range(STRIP):
        for issue in issues:
            one = worst[issue][place] if place < len(worst[issue]) else None
            if one is None or len(chosen[issue]) * len(one.indices) >= STRIP:
                continue
            room -= sum(map(len, filter(None, one.thumbnails)))
            if room >= 0:
                chosen[issue].append(one)
    return [Strip(issue, tuple(_shown(audit, one) for one in found)) for issue, found in chosen.items() if found]


def _shown(audit: AuditResult, one: Finding) -> tuple[tuple[Thumbnail, ...], str, bool]:
    names = [
        name_of(audit, one.indices[0]),
        *("" if len(one.words) > 1 else name_of(audit, i) for i in one.indices[1:]),
    ]
    captions = [visible(f"#{i} {name}".strip(), WORDS) for i, name in zip(one.indices, names, strict=True)]
    thumbnails = tuple(_thumbnail(content or b"", name) for content, name in zip(one.thumbnails, captions, strict=True))
    labels = " \u2192 ".join(visible(word, WORDS // 2) for word in one.words)
    return thumbnails, labels or f"{one.score:.3g}", one.is_flagged


def _thumbnail(content: bytes, caption: str) -> Thumbnail:
    if kind := image_kind(content):
        return Thumbnail(f"data:image/{kind};base64,{base64.b64encode(content).decode()}", "", caption)
    return Thumbnail("", visible(_text(decode_preview(content)), WORDS), caption)


def _text(shown: Preview | None) -> str:
    """Text in place of an image."""
    if isinstance(shown, Text):
        return shown.text
    if isinstance(shown, Table):
        return "; ".join(f"{name}: {value}" for name, value in shown.rows)
    return "" if shown is None else "a signal"
