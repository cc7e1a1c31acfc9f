"""The findings of an issue one by one, with what there is to be seen of them: for contact sheets, plots, notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from selfclean_hooks.errors import SettingError
from selfclean_hooks.labels import label_texts, predicted_texts
from selfclean_hooks.shown import Shown, shown
from selfclean_hooks.thresholds import flagged

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit


@dataclass(frozen=True)
class Finding:
    """A sample, or the two of a pair: the kept copy and a surplus one, or samples of two splits."""

    indices: tuple[int, ...]  # positions; of a leak the second one is in another split
    pictures: tuple[bytes | None, ...]  # thumbnails or previews
    score: float
    is_flagged: bool
    words: tuple[str, ...] = ()  # given and predicted label, or the two splits


def findings(audit: Audit, issue: str, most: int | None = None, seen: bool = False) -> list[Finding]:
    """What `shown` shows of an issue, flagged ones first, each worst first.

    Args:
        audit: any.
        issue: "near_duplicates", "off_topic", "label_errors" or, where it was looked for, "leakage".
        most: how many; default: all that are shown.
        seen: only those of which all samples have a thumbnail.

    Returns:
        An empty list where there are none or the issue was not looked for.

    Raises:
        SettingError: there is no such issue, or `most` is no whole number of at least 1.
    """
    known = [name for name in audit.scores.issues if name != "unreadable"]
    if issue not in known:
        raise SettingError(f"issue must be one of {', '.join(known)}, got {issue!r}")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise SettingError(f"most must be a whole number of at least 1, got {most!r}")
    if issue in audit.scores.not_run:
        return []
    found = {"near_duplicates": _pairs, "leakage": _leaks, "off_topic": _off_topic, "label_errors": _labels}[issue]
    every = found(audit, shown(audit))
    return list(islice((one for one in every if not seen or None not in one.pictures), most))


def _pairs(audit: Audit, found: Shown) -> Iterator[Finding]:
    s = audit.scores
    for kept, *surplus in found.sets:
        for i in surplus:
            yield Finding((kept, i), _pictures(audit, kept, i), float(s.near_duplicate[i]), True)
    for row in found.pairs.tolist():
        first, second = (int(i) for i in s.pair_index[row])
        yield Finding((first, second), _pictures(audit, first, second), float(s.pair_score[row]), False)


def _off_topic(audit: Audit, found: Shown) -> Iterator[Finding]:
    hits = audit.decisions.flags["off_topic"]
    for i in found.off_topic.tolist():
        yield Finding((i,), _pictures(audit, i), float(audit.scores.off_topic[i]), bool(hits[i]))


def _labels(audit: Audit, found: Shown) -> Iterator[Finding]:
    s, hits = audit.scores, audit.decisions.flags["label_errors"]
    given, predicted = label_texts(s), predicted_texts(s)
    for i in found.labels.tolist():
        yield Finding((i,), _pictures(audit, i), float(s.label[i]), bool(hits[i]), (given[i], predicted[i]))


def _leaks(audit: Audit, found: Shown) -> Iterator[Finding]:
    leaks = audit.scores.leaks
    assert leaks is not None  # else it is no issue
    hits = flagged(leaks.score, audit.decisions.thresholds["leakage"])
    for pair in found.leaks.tolist():
        own, other, split = int(leaks.index[pair]), int(leaks.other_index[pair]), leaks.name(pair)
        both = audit.thumbnails.get(own), audit.leak_thumbnails.get((split, other))
        yield Finding((own, other), both, float(leaks.score[pair]), bool(hits[pair]), (leaks.splits[0], split))


def _pictures(audit: Audit, *positions: int) -> tuple[bytes | None, ...]:
    return tuple(audit.thumbnails.get(i) for i in positions)
