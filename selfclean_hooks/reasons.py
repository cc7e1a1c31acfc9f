"""Why a sample is flagged, dropped or kept, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.duplicates import DuplicateSets
from selfclean_hooks.labels import class_name, doubt_of, label_texts
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import flagged

if TYPE_CHECKING:
    from selfclean_hooks.flags import Flags
    from selfclean_hooks.review import Mark
    from selfclean_hooks.reviewed_sets import ReviewedSets

Bools = NDArray[np.bool_]
Marks = Mapping[str, Mapping[int, "Mark"]]
NOTHING = "no issue found"
SHOWN = 5  # labels in a reason
WORDS = {
    "near_duplicates": "near duplicate",
    "off_topic": "off topic",
    "label_errors": "label",
    "leakage": "leakage",
    "unreadable": "unreadable",
}


def reasons_of(
    scores: Scores,
    names: Sequence[str] | None,
    found: Flags,
    copies: ReviewedSets,
    rescued: NDArray[np.int64],
    marks: Marks,
) -> tuple[str, ...]:
    """Why each of N samples is flagged, and what people said of it.

    Args:
        scores: with the labels given.
        names: (N,) files, "" where unknown.
        found: what is flagged of single samples.
        copies: sets of near duplicates.
        rescued: positions of what is kept as the last of its class.
        marks: issue: position: what was decided there.
    """
    reasons: dict[int, list[str]] = {}
    told = (
        _copies(scores, names, copies.flags, copies.duplicates),
        _off_topic(scores, found),
        _labels(scores, found),
        _leaked(scores, found.leaks),
        ((i, f"unreadable ({error})") for i, error in scores.errors.items() if found.flags["unreadable"][i]),
        _looked_at(scores, marks, found),
        ((i, "kept all the same: its class would be empty") for i in rescued.tolist()),
    )
    for each in told:
        for i, text in each:
            reasons.setdefault(i, []).append(text)
    return tuple("; ".join(reasons.get(i, (NOTHING,))) for i in range(len(scores)))


def _off_topic(scores: Scores, found: Flags) -> Iterator[tuple[int, str]]:
    cut = found.cuts["off_topic"]
    for i in (flagged(scores.off_topic, cut) & found.flags["off_topic"]).nonzero()[0].tolist():
        yield i, f"off topic (score {scores.off_topic[i]:.4g} below {cut:.4g})"


def _labels(scores: Scores, found: Flags) -> Iterator[tuple[int, str]]:
    cut, flags = found.cuts["label_errors"], found.flags["label_errors"]
    for i in (flagged(scores.label, cut) & flags).nonzero()[0].tolist():
        yield i, f"{doubt_of(scores, i)} (score {scores.label[i]:.4g} below {cut:.4g})"
    told = {id(labels): _counted(found.scores, labels) for labels in found.doubts.values()}
    for i, labels in found.doubts.items():
        if flags[i]:
            yield i, f"its copies carry different labels: {told[id(labels)]}"


def _looked_at(scores: Scores, marks: Marks, found: Flags) -> Iterator[tuple[int, str]]:
    """What people said, issue by issue."""
    given = label_texts(scores) if marks else []
    for issue, word in WORDS.items():
        for i, mark in marks.get(issue, {}).items():
            if mark.verdict == "relabelled":
                yield i, f"looked at: label {given[i]} is to be {mark.label}"
            else:
                yield i, f"confirmed by review ({word})" if mark.verdict == "confirmed" else f"looked at: fine ({word})"
    fine = found.fine["leakage"].nonzero()[0].tolist()
    yield from ((i, f"looked at: fine ({WORDS['leakage']})") for i in fine)


def _copies(
    scores: Scores, names: Sequence[str] | None, near: Bools, duplicates: DuplicateSets
) -> Iterator[tuple[int, str]]:
    """Per near duplicate, which set it is in."""

    def called(i: int) -> str:
        return f"{i}, {names[i]}" if names is not None and names[i] else str(i)

    size = np.bincount(duplicates.number[duplicates.number >= 0], minlength=1)
    for i in (near | (duplicates.number >= 0)).nonzero()[0].tolist():
        if duplicates.number[i] < 0:
            pair = int((scores.pair_index == i).any(1).argmax())  # the worst one
            other = int(scores.pair_index[pair].sum()) - i
            yield (
                i,
                f"near duplicate of {called(other)} (distance {scores.pair_distance[pair]:.4g}), but of no kept copy",
            )
            continue
        number, kept = duplicates.of(i)
        if i == kept:
            yield i, f"kept copy of duplicate set {number} ({size[number]} copies)"
        else:
            apart = f", distance {duplicates.distance[i]:.4g}" if not math.isnan(duplicates.distance[i]) else ""
            where = f"set {number}, {size[number]} copies{apart}"
            yield i, f"near duplicate of {called(kept)} ({where})"


def _leaked(scores: Scores, near: Bools) -> Iterator[tuple[int, str]]:
    """Per sample and other split that holds it too, where its nearest there is."""
    leaks = scores.leaks
    if leaks is None:
        return
    seen = set()
    for pair in near.nonzero()[0].tolist():  # worst first
        at, split = int(leaks.index[pair]), leaks.name(pair)
        if (at, split) not in seen:
            seen.add((at, split))
            name = leaks.other_names[pair] if leaks.other_names else ""
            place = f"index {leaks.other_index[pair]}" + (f", {name}" if name else "")
            yield at, f"also in {split} ({place}, distance {leaks.distance[pair]:.4g})"


def _counted(scores: Scores, labels: Mapping[int, int]) -> str:
    """Labels with how often they are there, the most frequent first."""
    common = sorted(labels.items(), key=lambda label: (-label[1], label[0]))
    shown = ", ".join(f"{class_name(scores, code)} ({count})" for code, count in common[:SHOWN])
    return shown + (f" and {len(common) - SHOWN} more" if len(common) > SHOWN else "")
