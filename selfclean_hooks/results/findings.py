"""The findings of an audit that are shown: all that are flagged, and those just above each threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.core.issues import PAIRS, SCORED, WITH_THRESHOLD
from selfclean_hooks.core.scores import label_texts, predicted_texts
from selfclean_hooks.decisions.settings import is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.tables import judged
from selfclean_hooks.utils.arrays import IntArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import A, AuditResult


@dataclass(frozen=True)
class Finding:
    """A sample, or the two of a pair: the kept copy and a surplus one, or samples of two splits."""

    indices: tuple[int, ...]  # positions; of a leak the second one is in another split
    thumbnails: tuple[bytes | None, ...]
    score: float
    is_flagged: bool
    words: tuple[str, ...] = ()  # given and predicted label, or the two splits


def findings(audit: AuditResult, issue: str, most: int | None = None, seen: bool = False) -> list[Finding]:
    """What `select_findings` shows of an issue, flagged ones first, each worst first.

    Args:
        audit: any.
        issue: "near_duplicates", "off_topic", "label_errors" or, where splits were compared, "leakage".
        most: how many; default: all that are selected.
        seen: only those of which all samples have a thumbnail.

    Returns:
        An empty list where there are none or the check did not run.

    Raises:
        SettingError: there is no such issue, or `most` is not a whole number of at least 1.
    """
    known = [name for name in audit.scores.issues if name in WITH_THRESHOLD]
    if issue not in known:
        raise SettingError(f"issue must be one of {', '.join(known)}, got {issue!r}")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise SettingError(f"most must be a whole number of at least 1, got {most!r}")
    if issue in audit.scores.not_run:
        return []
    found = select_findings(audit)
    if issue in PAIRS:
        every = _leak_findings(audit, found) if issue == "leakage" else _pair_findings(audit, found)
    else:
        every = _sample_findings(audit, issue, found)
    return list(islice((one for one in every if not seen or None not in one.thumbnails), most))


def _pair_findings(audit: AuditResult, found: Selection) -> Iterator[Finding]:
    s = audit.scores
    for kept, *surplus in found.sets:
        for i in surplus:
            yield Finding((kept, i), _thumbnails(audit, kept, i), float(s.near_duplicate[i]), True)
    for row in found.pairs.tolist():
        first, second = (int(i) for i in s.pair_index[row])
        yield Finding((first, second), _thumbnails(audit, first, second), float(s.pair_score[row]), False)


def _sample_findings(audit: AuditResult, issue: str, found: Selection) -> Iterator[Finding]:
    scores, hits = audit.scores.of(issue), audit.decisions.flags[issue]
    labels = (label_texts(audit.scores), predicted_texts(audit.scores)) if issue == "label_errors" else ()
    for i in found.samples[issue].tolist():
        words = tuple(texts[i] for texts in labels)
        yield Finding((i,), _thumbnails(audit, i), float(scores[i]), bool(hits[i]), words)


def _leak_findings(audit: AuditResult, found: Selection) -> Iterator[Finding]:
    leaks = audit.scores.leaks
    assert leaks is not None  # else it is no issue
    hits = is_below(leaks.score, audit.decisions.thresholds["leakage"])
    for pair in found.leaks.tolist():
        own, other, split = int(leaks.index[pair]), int(leaks.other_index[pair]), leaks.other_split(pair)
        both = audit.thumbnails.get(own), audit.leak_thumbnails.get((split, other))
        yield Finding((own, other), both, float(leaks.score[pair]), bool(hits[pair]), (leaks.splits[0], split))


def _thumbnails(audit: AuditResult, *positions: int) -> tuple[bytes | None, ...]:
    return tuple(audit.thumbnails.get(i) for i in positions)


MAX_ITEMS = 500  # findings shown of each issue
BEYOND = 2 * clean_in_a_row()  # shown above the threshold, at least: a review reaches its end
RECALL = 0.9  # of the issues that there are by estimate: so many are shown, above the threshold too
TRANCHE = 24  # copies shown of one set before those of others, at most


@dataclass(frozen=True, eq=False)
class Selection:
    """The findings that are shown, worst first: flagged and reviewed ones, then those above the threshold."""

    sets: tuple[tuple[int, ...], ...]  # positions of each duplicate set: its kept copy, then the surplus ones
    pairs: IntArray  # rows of `Scores.pair_index` above the threshold or rejected, of samples that share no set
    samples: Mapping[str, IntArray]  # issue of single samples: positions
    leaks: IntArray  # numbers of pairs in `Scores.leaks`
    left_out: Mapping[str, int]  # issue: number of flagged or reviewed findings that are not shown


def select_findings(audit: AuditResult, max_items: int | None = None) -> Selection:
    """All flagged findings and those next in rank above the threshold, up to `max_items`.

    Above the threshold there are as many as are to be inspected to find 90% of the estimated issues, at least half as
    many as are flagged, a fifth of `max_items`, and 116. Where the number of issues is unknown: half of `max_items`.

    Args:
        audit: with the thresholds, and the review, that are in force.
        max_items: most findings of one issue, at least 1 (near duplicates: surplus copies and pairs above the
            threshold); default: what the audit was made with, else 500.

    Raises:
        SettingError: `max_items` is not a whole number of at least 1.
    """
    most = checked_max_items(_max_items(audit) if max_items is None else max_items)
    sets, surplus, surplus_out = _sets(audit, most)
    known = [issue for issue in SCORED if issue not in PAIRS and issue in audit.scores.issues]
    worst = {issue: _worst(audit, issue, most) for issue in known}
    leaks, leaks_out = _leaks(audit, most)
    left_out = {"near_duplicates": surplus_out, **{issue: out for issue, (_, out) in worst.items()}}
    left_out |= {} if audit.scores.leaks is None else {"leakage": leaks_out}
    samples = {issue: positions for issue, (positions, _) in worst.items()}
    return Selection(sets, _pairs(audit, most, surplus), samples, leaks, left_out)


def with_max_items(audit: A, max_items: int) -> A:
    """The audit with another number of findings to show of each issue."""
    if max_items == _max_items(audit):
        return audit
    settings = {**audit.provenance.get("settings", {}), "max_items": int(max_items)}
    return replace(audit, provenance={**audit.provenance, "settings": settings})


def checked_max_items(max_items: object) -> int:
    """The number of findings to show of each issue.

    Raises:
        SettingError: it is not a whole number of at least 1.
    """
    if isinstance(max_items, bool) or not isinstance(max_items, (int, np.integer)) or max_items < 1:
        raise SettingError(f"max_items must be a whole number of at least 1, got {max_items!r}")
    return int(max_items)


def _max_items(audit: AuditResult) -> Any:
    return audit.provenance.get("settings", {}).get("max_items", MAX_ITEMS)


def _sets(audit: AuditResult, most: int) -> tuple[tuple[tuple[int, ...], ...], int, int]:
    """Sets with at most `most` surplus copies in total, how many these are, and how many are left out.

    Sets are sorted by their worst scores, the copies of each by distance to the kept one. Only the
    first `TRANCHE` of a huge set, or its share, are taken before those of other sets.
    """
    d, score = audit.decisions, audit.scores.near_duplicate
    surplus = d.surplus.nonzero()[0]
    number = d.sets[surplus]
    best = np.full(len(d.duplicates.kept), np.inf)
    np.fmin.at(best, number, score[surplus])
    order = np.lexsort((surplus, d.duplicates.distance[surplus], number, best[number]))
    surplus, number = surplus[order], number[order]
    starts = np.concatenate([[True], number[1:] != number[:-1]]).nonzero()[0] if len(number) else number
    within = np.arange(len(number)) - np.repeat(starts, np.diff([*starts, len(number)]))
    share = max(1, min(TRANCHE, most // max(1, len(starts))))
    taken = np.sort(np.argsort(within // share, kind="stable")[:most])
    members: dict[int, list[int]] = {}
    for i, of in zip(surplus[taken].tolist(), number[taken].tolist(), strict=True):
        members.setdefault(of, [int(d.duplicates.kept[of])]).append(i)
    return tuple(map(tuple, members.values())), len(taken), len(surplus) - len(taken)


def _pairs(audit: AuditResult, most: int, hits: int) -> IntArray:
    """Pairs above the threshold and rejected ones, nearest first, as many as `hits` surplus copies leave room for."""
    s, d = audit.scores, audit.decisions
    first, second = d.sets[s.pair_index].T
    beyond = ~d.pairs & ((first != second) | (first < 0))
    rows: IntArray = beyond.nonzero()[0]
    refused = int(is_below(s.pair_score[rows], d.thresholds["near_duplicates"]).sum())
    return rows[
        np.argsort(s.pair_score[rows], kind="stable")[
            : max(0, min(most - hits, refused + _beyond(audit, "near_duplicates", hits, most)))
        ]
    ]


def _worst(audit: AuditResult, issue: str, most: int) -> tuple[IntArray, int]:
    if issue not in audit.scores.ran:
        return np.empty(0, np.int64), 0
    d, scores = audit.decisions, audit.scores.of(issue)
    reviewed = np.isin(np.arange(len(scores)), list(d.marks.get(issue, ())))
    hits = d.flags[issue] | d.dismissed[issue] | reviewed
    return _top_ranked(scores, hits, most, _beyond(audit, issue, int(hits.sum()), most))


def _leaks(audit: AuditResult, most: int) -> tuple[IntArray, int]:
    leaks, d = audit.scores.leaks, audit.decisions
    if leaks is None:
        return np.empty(0, np.int64), 0
    hits = d.leaks | is_below(leaks.score, d.thresholds["leakage"])
    return _top_ranked(leaks.score, hits, most, _beyond(audit, "leakage", int(hits.sum()), most))


def _top_ranked(scores: NDArray[np.floating], hits: NDArray[np.bool_], most: int, beyond: int) -> tuple[IntArray, int]:
    """Positions of the hits, then of the others, each worst first; and how many hits are left out."""
    count, scored = int(hits.sum()), int((hits | ~np.isnan(scores)).sum())
    order = np.lexsort((np.arange(len(scores)), scores, ~hits))  # NaN comes last
    taken = min(most, count + beyond, scored)
    return order[:taken], max(0, count - taken)


def _beyond(audit: AuditResult, issue: str, hits: int, most: int) -> int:
    """How many are shown above the threshold, where there is room: issues that it misses lie right there."""
    calibration, wanted = audit.scores.calibration.get(issue), 0
    if calibration is not None and calibration.unknown:
        wanted = most // 2
    elif calibration is not None:
        wanted = calibration.review_effort(judged(audit, issue)[0], RECALL) - hits
    return max(BEYOND, math.ceil(hits / 2), most // 5, wanted)
