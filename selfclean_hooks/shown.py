"""Which findings of an audit are shown to people: all that are flagged, and what lies just beyond each cut."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import SettingError
from selfclean_hooks.thresholds import flagged

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

MAX_ITEMS = 500  # findings shown of each issue
BEYOND = 48  # shown beyond the cut, at least
TRANCHE = 24  # copies shown of one set before those of others, at most
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shown:
    """The findings that are shown, worst first: flagged ones and those that people looked at, then what lies beyond."""

    sets: tuple[tuple[int, ...], ...]  # positions of each duplicate set: its kept copy, then the surplus ones
    pairs: Ints  # rows of `Scores.pair_index` beyond the cut, or refused, of samples that are in no set together
    off_topic: Ints  # positions
    labels: Ints  # positions
    leaks: Ints  # numbers of pairs in `Scores.leaks`
    left_out: Mapping[str, int]  # issue: flagged, or looked at, and not shown (samples; of leakage pairs)


def shown(audit: Audit, max_items: int | None = None) -> Shown:
    """The findings that are shown: all flagged ones and half as many beyond the cut (at least 48), up to `max_items`.

    Args:
        audit: with the thresholds, and the review, that are in force.
        max_items: most findings of one issue, at least 1 (of near duplicates surplus copies and pairs beyond the cut);
            default: what the audit was made with, else 500.

    Raises:
        SettingError: `max_items` is no whole number of at least 1.
    """
    most = checked_max_items(_asked(audit) if max_items is None else max_items)
    sets, surplus, surplus_out = _sets(audit, most)
    off_topic, off_topic_out = _worst(audit, "off_topic", most)
    labels, labels_out = _worst(audit, "label_errors", most)
    leaks, leaks_out = _leaks(audit, most)
    left_out = {"near_duplicates": surplus_out, "off_topic": off_topic_out, "label_errors": labels_out}
    left_out |= {} if audit.scores.leaks is None else {"leakage": leaks_out}
    return Shown(sets, _pairs(audit, most - surplus, surplus), off_topic, labels, leaks, left_out)


def with_max_items(audit: Audit, max_items: int) -> Audit:
    """The audit, of which so many findings of each issue are shown from now on."""
    if max_items == _asked(audit):
        return audit
    settings = {**audit.provenance.get("settings", {}), "max_items": int(max_items)}
    return replace(audit, provenance={**audit.provenance, "settings": settings})


def checked_max_items(max_items: object) -> int:
    """The number of findings to show of each issue.

    Raises:
        SettingError: it is no whole number of at least 1.
    """
    if isinstance(max_items, bool) or not isinstance(max_items, (int, np.integer)) or max_items < 1:
        raise SettingError(f"max_items must be a whole number of at least 1, got {max_items!r}")
    return int(max_items)


def _asked(audit: Audit) -> Any:
    return audit.provenance.get("settings", {}).get("max_items", MAX_ITEMS)


def _sets(audit: Audit, most: int) -> tuple[tuple[tuple[int, ...], ...], int, int]:
    """Sets with at most so many surplus copies in all, how many these are, and how many are left out.

    Sets are in order of their worst scores; of each the nearest copies to the kept one come first. Of a huge set only
    the first `TRANCHE`, or what its share is, are taken before other sets had their turn.
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


def _pairs(audit: Audit, room: int, hits: int) -> Ints:
    """Pairs beyond the cut and those that a person found to be none, nearest first."""
    s, d = audit.scores, audit.decisions
    first, second = d.sets[s.pair_index].T
    beyond = ~d.pairs & ((first != second) | (first < 0))
    rows: Ints = beyond.nonzero()[0]
    refused = int(flagged(s.pair_score[rows], d.thresholds["near_duplicates"]).sum())
    return rows[np.argsort(s.pair_score[rows], kind="stable")[: max(0, min(room, refused + _beyond(hits)))]]


def _worst(audit: Audit, issue: str, most: int) -> tuple[Ints, int]:
    if issue in audit.scores.not_run:
        return np.empty(0, np.int64), 0
    d, scores = audit.decisions, audit.scores.of(issue)
    looked_at = np.isin(np.arange(len(scores)), list(d.marks.get(issue, ())))
    return _cut(scores, d.flags[issue] | d.fine[issue] | looked_at, most)


def _leaks(audit: Audit, most: int) -> tuple[Ints, int]:
    leaks, d = audit.scores.leaks, audit.decisions
    if leaks is None:
        return np.empty(0, np.int64), 0
    return _cut(leaks.score, d.leaks | flagged(leaks.score, d.thresholds["leakage"]), most)


def _cut(scores: NDArray[np.floating], hits: NDArray[np.bool_], most: int) -> tuple[Ints, int]:
    """Places of the hits, then of those beyond, each worst first; and how many hits are left out."""
    count, scored = int(hits.sum()), int((hits | ~np.isnan(scores)).sum())
    order = np.lexsort((np.arange(len(scores)), scores, ~hits))  # NaN comes last
    taken = min(most, count + _beyond(count), scored)
    return order[:taken], max(0, count - taken)


def _beyond(hits: int) -> int:
    return max(BEYOND, math.ceil(hits / 2))
