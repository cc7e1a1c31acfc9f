"""Figures of an audit. Needs matplotlib, whose settings and backend are left as they are: no pyplot."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from selfclean_hooks.core.issues import WITH_THRESHOLD
from selfclean_hooks.report.figures.contact_sheet import tile
from selfclean_hooks.report.text import issue_in_words
from selfclean_hooks.results.findings import Finding, findings
from selfclean_hooks.results.tables import calibration_rows
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

INK, SOFT, FAINT, BLUE, RED = "#1f2933", "#66727f", "#d5dbe1", "#7b93a8", "#c8452f"
ACROSS = 8  # images in a row
STRIP = 6  # in the overview
BINS = 60
SIDE = 160  # pixels of an image
PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}  # labels are data: no formulas


class Plot(Figure):
    """A figure that notebooks show by themselves, whether pyplot is loaded or not."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def plot(audit: AuditResult, issue: str | None = None, most: int = 24) -> Figure:
    """The worst findings of an issue as images under the histogram of the scores; see `Audit.plot`."""
    if issue is None:
        return _overview(audit)
    found = findings(audit, issue, most, seen=True)
    across = ACROSS // max((len(one.indices) for one in found), default=1)
    rows = math.ceil(len(found) / across)
    figure = Plot(figsize=(11, 2.2 + 1.75 * rows), facecolor="white", layout="constrained")
    heights = [2.2, 1.75 * rows] if rows else [2.2]
    top, *below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    top.suptitle(_headline(audit, issue), x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    _histogram(top.subplots(), audit, issue)
    for part in below:
        _grid(part, found, rows, across)
    return figure


def _overview(audit: AuditResult) -> Figure:
    """A row for each issue that ran: its histogram and its worst findings."""
    issues = [issue for issue in audit.scores.ran if issue in WITH_THRESHOLD]
    figure = Plot(figsize=(11, 2.1 * len(issues)), facecolor="white", layout="constrained")
    for part, issue in zip(figure.subfigures(len(issues), 1, squeeze=False)[:, 0], issues, strict=True):
        part.suptitle(_headline(audit, issue), x=0.01, ha="left", color=INK, fontsize=11, fontweight="bold")
        found = findings(audit, issue, STRIP, seen=True)
        across = STRIP // max((len(one.indices) for one in found), default=1)
        left, right = part.subfigures(1, 2, width_ratios=[1, 2.4])
        _histogram(left.subplots(), audit, issue)
        _grid(right, found[:across], 1, across)
    return figure


def _headline(audit: AuditResult, issue: str) -> str:
    """Label errors: 120 flagged (2.40%), an estimated 105 in total."""
    name = issue_in_words(issue).capitalize()
    if issue in audit.scores.not_run:
        return f"{name}: not run"
    count, share = int(audit.decisions.contamination_mask(issue).sum()), audit.contamination[issue]
    estimated = [row["estimated"] for row in calibration_rows(audit) if row["issue"] == issue and not row["unknown"]]
    return f"{name}: {count:,} flagged ({share:.2%})" + "".join(
        f", an estimated {value:,.0f} in total" for value in estimated
    )


def _histogram(axes: Axes, audit: AuditResult, issue: str) -> None:
    """Histogram of the scores; heights are square roots of counts: few low scores stay visible."""
    threshold, scores = audit.decisions.thresholds.get(issue, -math.inf), audit.scores.of(issue)
    scores = np.asarray(scores[~np.isnan(scores)], np.float64)
    end = max(float(scores.max(initial=0)), threshold) or 1.0
    counts, edges = np.histogram(scores, BINS, (0, end))
    colours = [RED if edge < threshold else BLUE for edge in edges[:-1]]
    axes.bar(edges[:-1], np.sqrt(counts), np.diff(edges), align="edge", color=colours, linewidth=0)
    if math.isfinite(threshold):
        axes.axvline(threshold, color=RED, linewidth=1)
        text = f" flagged below {threshold:.3g}" if threshold <= 0.6 * end else f"flagged below {threshold:.3g} "
        axes.text(
            threshold,
            0.97,
            text,
            color=RED,
            fontsize=8,
            va="top",
            ha="left" if threshold <= 0.6 * end else "right",
            transform=axes.get_xaxis_transform(),
        )
    axes.set_xlim(0, end)
    axes.set_yticks([])
    axes.set_xlabel("score, low is worse", color=SOFT, fontsize=8)
    axes.tick_params(colors=SOFT, labelsize=8)
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def _grid(part: SubFigure, found: Sequence[Finding], rows: int, across: int) -> None:
    places = chain.from_iterable(part.subplots(rows, across, squeeze=False))
    for number, axes in enumerate(places):
        axes.set_axis_off()
        if number < len(found):
            _draw_finding(axes, found[number])


def _draw_finding(axes: Axes, one: Finding) -> None:
    """The image, or both of a pair side by side, in a red frame if flagged, with its score and labels."""
    shown = np.concatenate([np.asarray(tile(content or b"", SIDE)) for content in one.thumbnails], axis=1)
    axes.imshow(shown, interpolation="antialiased", aspect="equal")
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(RED if one.is_flagged else FAINT)
        spine.set_linewidth(1.6 if one.is_flagged else 0.8)
    axes.set_title(" and ".join(f"#{i}" for i in one.indices) + f"   {one.score:.3g}", color=SOFT, fontsize=8, pad=3)
    if one.words:
        text = " \u2192 ".join(visible(word, 16) for word in one.words)
        axes.set_xlabel(text, color=INK, fontsize=8, labelpad=3, **PLAIN)
