"""An audit as one self-contained HTML page: no script, no request, light and dark."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import PolicyError
from selfclean_hooks.previews import PNG, Preview, decoded
from selfclean_hooks.summary import calibration_rows, summary_rows
from selfclean_hooks.thresholds import flagged
from selfclean_hooks.thumbnails import PAIRS, lowest

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.leaks import Leaks

AT_LEAST = 12  # shown also where fewer are flagged: whoever reads sees what lies just above the threshold
UNREADABLE = 200
BINS = 60


@dataclass(frozen=True)
class Sample:
    """One sample as the page shows it."""

    index: int
    name: str
    picture: str  # data: URI, "" where there is none
    kept_copy: bool
    given: str
    predicted: str
    split: str = ""  # where samples of several are shown
    preview: Preview | None = None  # of what is no picture


@dataclass(frozen=True)
class Card:
    """One sample, or the two of a pair, with a score."""

    samples: tuple[Sample, ...]
    score: float
    is_flagged: bool


@dataclass(frozen=True)
class Histogram:
    """Bars (x, height, lies below the threshold), all in percent of the drawing; `line` is the threshold's x."""

    bars: tuple[tuple[float, float, bool], ...]
    line: float | None
    end: float  # score at the right edge


@dataclass(frozen=True)
class Section:
    """The worst of one issue."""

    issue: str
    cards: tuple[Card, ...]
    total: int  # samples or pairs flagged
    threshold: float
    histogram: Histogram

    @property
    def pictured(self) -> bool:
        """Whether there is anything to look at."""
        return any(sample.picture or sample.preview for card in self.cards for sample in card.samples)

    @property
    def previews(self) -> set[str]:
        """Kinds of what is shown in place of pictures: text and tables need wider cards."""
        shown = (sample.preview for card in self.cards for sample in card.samples)
        return {preview.kind for preview in shown if preview is not None}


def render(audit: Audit) -> str:
    """The page. Samples are shown with the pictures that the audit carries, without any as tables.

    Characters that cannot be encoded (from file names) are written as escapes, so the page always encodes to UTF-8.
    """
    sections = _pairs(audit), _off_topic(audit), _labels(audit), *_leakage(audit)
    errors = audit.scores.errors
    about = audit.provenance
    page = environment().get_template("report.html.jinja")
    text = page.render(
        n=len(audit),
        name=about.get("dataset", {}).get("name", ""),
        summary=summary_rows(audit),
        not_run=audit.scores.not_run,
        kept=_kept(audit),
        sections=[section for section in sections if section.issue not in audit.scores.not_run],
        unreadable=[(_sample(audit, i), errors[i]) for i in sorted(errors)[:UNREADABLE]],
        unreadable_total=len(errors),
        notes=about.get("notes", ()),
        rank_me=(about.get("encoder") or {}).get("rank_me"),
        fitness=audit.fitness,
        calibration=calibration_rows(audit),
        facts=list(_facts(_about(audit))),
    )
    return text.encode("utf-8", "backslashreplace").decode()


@cache
def environment() -> jinja2.Environment:
    """Where the templates of pages come from; what they are given is data and never markup."""
    loader = jinja2.PackageLoader("selfclean_hooks", "report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "percent": "{:.2%}".format, "score": "{:.4g}".format}
    environment.filters["words"] = lambda issue: issue.replace("_", " ")
    environment.tests["number"] = lambda value: isinstance(value, (int, float)) and math.isfinite(value)
    return environment


def _pairs(audit: Audit) -> Section:
    s, threshold = audit.scores, audit.decisions.thresholds["near_duplicates"]
    hits = flagged(s.pair_score, threshold)
    cards = [
        Card(tuple(_sample(audit, int(i)) for i in s.pair_index[p]), float(s.pair_score[p]), bool(hits[p]))
        for p in range(_shown(PAIRS, int(hits.sum()), len(hits)))
    ]
    histogram = _histogram(s.near_duplicate, threshold)
    return Section("near_duplicates", tuple(cards), int(hits.sum()), threshold, histogram)


def _off_topic(audit: Audit) -> Section:
    return _worst(audit, "off_topic", audit.scores.off_topic)


def _labels(audit: Audit) -> Section:
    return _worst(audit, "label_errors", audit.scores.label)


def _leakage(audit: Audit) -> tuple[Section, ...]:
    """The nearest pairs between splits; no section where no other split was given."""
    leaks = audit.scores.leaks
    if leaks is None:
        return ()
    threshold = audit.decisions.thresholds["leakage"]
    hits = flagged(leaks.score, threshold)
    cards = [
        Card(_leaked(audit, leaks, p), float(leaks.score[p]), bool(hits[p]))
        for p in range(_shown(PAIRS, int(hits.sum()), len(hits)))
    ]
    histogram = _histogram(leaks.worst, threshold)
    return (Section("leakage", tuple(cards), int(hits.sum()), threshold, histogram),)


def _leaked(audit: Audit, leaks: Leaks, pair: int) -> tuple[Sample, Sample]:
    """Both samples of a pair between splits, that of this one first."""
    split, index = leaks.name(pair), int(leaks.other_index[pair])
    own = replace(_sample(audit, int(leaks.index[pair])), kept_copy=False, split=leaks.splits[0])
    name = leaks.other_names[pair] if leaks.other_names else ""
    small = audit.leak_thumbnails.get((split, index))
    return own, Sample(index, name, _data_uri(small), False, "", "", split, decoded(small))


def _worst(audit: Audit, issue: str, scores: NDArray[np.float64]) -> Section:
    hits, threshold, worst = audit.decisions.flags[issue], audit.decisions.thresholds[issue], lowest(scores)
    shown = worst[: _shown(len(worst), int(hits.sum()), len(worst))]
    cards = tuple(Card((_sample(audit, int(i)),), float(scores[i]), bool(hits[i])) for i in shown)
    return Section(issue, cards, int(hits.sum()), threshold, _histogram(scores, threshold))


def _shown(most: int, hits: int, there: int) -> int:
    return min(most, max(hits, AT_LEAST), there)


def _sample(audit: Audit, i: int) -> Sample:
    decisions = audit.decisions
    return Sample(
        index=i,
        name=audit.names[i] if audit.names else "",
        picture=_data_uri(audit.thumbnails.get(i)),
        preview=decoded(audit.thumbnails.get(i)),
        kept_copy=bool(decisions.sets[i] >= 0 and not decisions.surplus[i]),
        given=_label(audit, int(audit.scores.given_label[i])),
        predicted=_label(audit, int(audit.scores.predicted_label[i])),
    )


def _data_uri(content: bytes | None) -> str:
    is_picture = content is not None and content.startswith(PNG)
    return "data:image/png;base64," + base64.b64encode(content).decode() if content and is_picture else ""


def _label(audit: Audit, code: int) -> str:
    names = audit.scores.class_names
    return names[code] if names and 0 <= code < len(names) else str(code)


def _histogram(scores: NDArray[np.floating], threshold: float) -> Histogram:
    """Heights are square roots of the counts: the few bad ones stay visible beside the many good ones."""
    scored = scores[~np.isnan(scores)]
    line = threshold if math.isfinite(threshold) else 0.0
    end = max(float(scored.max(initial=0)), line) or 1.0
    counts, edges = np.histogram(scored, BINS, (0, end))
    heights = 100 * np.sqrt(counts / max(1, counts.max()))
    bars = [(100 * edges[b] / end, heights[b], edges[b] < line) for b in counts.nonzero()[0]]
    rounded = tuple((round(float(x), 2), round(float(height), 2), bool(low)) for x, height, low in bars)
    return Histogram(rounded, round(100 * line / end, 2) if math.isfinite(threshold) else None, end)


def _kept(audit: Audit) -> str:
    try:
        return f"The policy keeps {len(audit.clean_indices):,} of {len(audit):,} samples."
    except PolicyError as error:
        return f"There is no clean list: {error}."


def _about(audit: Audit) -> dict[str, Any]:
    """What the page says of the audit's origin; thresholds and policy are those in force."""
    facts = {key: value for key, value in audit.provenance.items() if key not in ("notes", "fitness")}
    in_force = {"thresholds": audit.thresholds.written(), "policy": asdict(audit.policy)}
    return {**facts, "settings": {**facts.get("settings", {}), **in_force}}


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as rows: ("settings: policy: off topic", "warn")."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _facts(entry, f"{name}: {key}" if name else str(key))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        yield name.replace("_", " "), "none" if value is None else text
