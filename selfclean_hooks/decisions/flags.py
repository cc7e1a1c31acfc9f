"""Flags, and the reasons for them in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfclean_hooks.core.issues import BY_NAME, ISSUES, PAIRS, SCORED
from selfclean_hooks.core.scores import Scores, class_name, describe_label_issue, label_texts
from selfclean_hooks.decisions.duplicate_sets import DuplicateSets, label_conflicts
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.decisions.review.reviewed_sets import ReviewedSets
from selfclean_hooks.decisions.review.verdicts import ReviewVerdicts, corrected_labels
from selfclean_hooks.decisions.settings import Thresholds, is_below
from selfclean_hooks.utils.arrays import BoolArray


@dataclass(frozen=True, eq=False)
class Flags:
    """Flags of N samples for every issue but near duplicates, and what they are based on."""

    thresholds: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, BoolArray]  # issue: (N,)
    dismissed: Mapping[str, BoolArray]  # issue: (N,) would be flagged without the review
    label_conflicts: Mapping[int, Mapping[int, int]]  # see `label_conflicts`
    leaks: BoolArray  # (L,) pairs with samples of other splits that are near duplicates
    scores: Scores  # with the labels that reviewers gave


def compute_flags(scores: Scores, thresholds: Thresholds, review: Review | None, verdicts: ReviewVerdicts) -> Flags:
    """What is below the thresholds or was confirmed, and was not rejected.

    Args:
        scores: of N samples.
        thresholds: where a score becomes a flag.
        review: decisions of reviewers, or None.
        verdicts: what they amount to for these samples.
    """
    resolved, now = resolve_thresholds(scores, thresholds, review), corrected_labels(scores, verdicts.relabelled)
    conflicts = label_conflicts(now, resolved["near_duplicates"]) if resolved["label_errors"] > -math.inf else {}
    every = np.arange(len(scores))
    leaks = np.zeros(0, bool)
    raw = {issue: is_below(scores.of(issue), resolved[issue]) for issue in SCORED if issue not in PAIRS}
    raw["label_errors"] |= np.isin(every, list(conflicts))
    raw["leakage"] = np.zeros(len(scores), bool)
    if scores.leaks is not None:
        leaks = is_below(scores.leaks.score, resolved["leakage"])
        raw["leakage"][scores.leaks.index[leaks]] = True
        leaks &= ~verdicts.no_leak
    raw["unreadable"] = np.isin(every, list(scores.errors))
    unresolved = {**raw, "leakage": np.zeros(len(scores), bool)}
    if scores.leaks is not None:
        unresolved["leakage"][scores.leaks.index[leaks]] = True
    flags = {
        issue: (hits | verdicts.confirmed[issue]) & ~verdicts.dismissed[issue] for issue, hits in unresolved.items()
    }
    dismissed = {issue: hits & ~flags[issue] for issue, hits in raw.items()}
    dismissed["label_errors"][list(verdicts.relabelled)] = False
    return Flags(resolved, flags, dismissed, conflicts, leaks, now)


def resolve_thresholds(scores: Scores, thresholds: Thresholds, review: Review | None) -> dict[str, float]:
    """Issue -> score below which it is flagged; leakage as near duplicates, unless a reviewer set its own threshold."""
    resolved = dict.fromkeys(SCORED, -math.inf)
    for issue, automatic in scores.automatic.items():
        resolved[issue] = thresholds.resolve(issue, automatic, scores.of(issue), scores.calibration.get(issue))
    if scores.leaks is not None:
        is_auto = thresholds.near_duplicates == "auto"
        resolved["leakage"] = scores.leaks.automatic if is_auto else resolved["near_duplicates"]
        moved = {} if review is None else review.thresholds_of("", *scores.leaks.splits[:1])
        resolved["leakage"] = moved.get("leakage", resolved["leakage"])
    return resolved


Marks = Mapping[str, Mapping[int, Mark]]
NO_ISSUE = "no issue found"
MAX_LABELS = 5  # labels in a reason


def compose_reasons(
    scores: Scores,
    names: Sequence[str] | None,
    found: Flags,
    copies: ReviewedSets,
    notes: Mapping[int, str],
    marks: Marks,
) -> tuple[str, ...]:
    """Why each of N samples is flagged, and what reviewers decided.

    Args:
        scores: with the labels given.
        names: (N,) files, "" where unknown.
        found: what is flagged, apart from near duplicates.
        copies: sets of near duplicates.
        notes: position -> what the policy did there besides.
        marks: issue -> position -> what was decided there.
    """
    reasons: dict[int, list[str]] = {}
    sources = (
        _near_duplicate_reasons(scores, names, copies.flags, copies.duplicates),
        *(_score_reasons(scores, found, issue) for issue in SCORED if issue not in (*PAIRS, "label_errors")),
        _label_reasons(scores, found),
        _leakage_reasons(scores, found.leaks),
        ((i, f"unreadable ({error})") for i, error in scores.errors.items() if found.flags["unreadable"][i]),
        _review_reasons(scores, marks, found),
        notes.items(),
    )
    for source in sources:
        for i, text in source:
            reasons.setdefault(i, []).append(text)
    return tuple("; ".join(reasons.get(i, (NO_ISSUE,))) for i in range(len(scores)))


def _score_reasons(scores: Scores, found: Flags, issue: str) -> Iterator[tuple[int, str]]:
    threshold, values = found.thresholds[issue], scores.of(issue)
    for i in (is_below(values, threshold) & found.flags[issue]).nonzero()[0].tolist():
        what = aspects_below(scores, issue, i, threshold) or BY_NAME[issue].noun
        yield i, f"{what} (score {values[i]:.4g} below {threshold:.4g})"


def aspects_below(scores: Scores, issue: str, i: int, threshold: float) -> str:
    """The aspects of an issue that are below the threshold, "dark, blurry"; "" where it has none."""
    of = scores.aspects.get(issue)
    names = zip(BY_NAME[issue].aspects, () if of is None else of[i].tolist(), strict=False)
    return ", ".join(name.replace("_", " ") for name, score in names if is_below(score, threshold))


def _label_reasons(scores: Scores, found: Flags) -> Iterator[tuple[int, str]]:
    threshold, flags = found.thresholds["label_errors"], found.flags["label_errors"]
    for i in (is_below(scores.label, threshold) & flags).nonzero()[0].tolist():
        yield i, f"{describe_label_issue(scores, i)} (score {scores.label[i]:.4g} below {threshold:.4g})"
    counts = {id(labels): _count_labels(found.scores, labels) for labels in found.label_conflicts.values()}
    for i, labels in found.label_conflicts.items():
        if flags[i]:
            yield i, f"its copies carry different labels: {counts[id(labels)]}"


def _review_reasons(scores: Scores, marks: Marks, found: Flags) -> Iterator[tuple[int, str]]:
    """What reviewers decided, issue by issue."""
    given = label_texts(scores) if marks else []
    for issue in ISSUES:
        word = issue.noun
        for i, mark in marks.get(issue.name, {}).items():
            if mark.verdict == "relabelled":
                yield i, f"reviewed: label {given[i]} corrected to {mark.label}"
            else:
                yield (
                    i,
                    f"confirmed by review ({word})"
                    if mark.verdict == "confirmed"
                    else f"reviewed: not an issue ({word})",
                )
    fine = found.dismissed["leakage"].nonzero()[0].tolist()
    yield from ((i, f"reviewed: not an issue ({BY_NAME['leakage'].noun})") for i in fine)


def _near_duplicate_reasons(
    scores: Scores, names: Sequence[str] | None, near: BoolArray, duplicates: DuplicateSets
) -> Iterator[tuple[int, str]]:
    """Per near duplicate, which set it is in."""

    def sample_text(i: int) -> str:
        return f"{i}, {names[i]}" if names is not None and names[i] else str(i)

    size = np.bincount(duplicates.number[duplicates.number >= 0], minlength=1)
    for i in (near | (duplicates.number >= 0)).nonzero()[0].tolist():
        if duplicates.number[i] < 0:
            pair = int((scores.pair_index == i).any(1).argmax())  # the worst one
            other = int(scores.pair_index[pair].sum()) - i
            yield (
                i,
                f"{_words(scores, i, other)} of {sample_text(other)} (distance {scores.pair_distance[pair]:.4g}), "
                "but not of a kept copy",
            )
            continue
        number, kept = duplicates.of(i)
        if i == kept:
            yield i, f"kept copy of duplicate set {number} ({size[number]} copies)"
        else:
            apart = f", distance {duplicates.distance[i]:.4g}" if not math.isnan(duplicates.distance[i]) else ""
            where = f"set {number}, {size[number]} copies{apart}"
            yield i, f"{_words(scores, i, kept)} of {sample_text(kept)} ({where})"


def _words(scores: Scores, one: int, other: int) -> str:
    """What two near duplicates are to each other."""
    if scores.mirrored is None or not scores.mirrored.any():
        return "near duplicate"
    turned = scores.pair_index[scores.mirrored]
    return "mirrored near duplicate" if (turned == sorted((one, other))).all(1).any() else "near duplicate"


def _leakage_reasons(scores: Scores, near: BoolArray) -> Iterator[tuple[int, str]]:
    """Per sample and other split with a near duplicate of it, the nearest one there."""
    leaks = scores.leaks
    if leaks is None:
        return
    seen = set()
    for pair in near.nonzero()[0].tolist():  # worst first
        at, split = int(leaks.index[pair]), leaks.other_split(pair)
        if (at, split) not in seen:
            seen.add((at, split))
            name = leaks.other_names[pair] if leaks.other_names else ""
            place = f"index {leaks.other_index[pair]}" + (f", {name}" if name else "")
            yield at, f"also in {split} ({place}, distance {leaks.distance[pair]:.4g})"


def _count_labels(scores: Scores, labels: Mapping[int, int]) -> str:
    """Labels with their counts, the most frequent first."""
    common = sorted(labels.items(), key=lambda label: (-label[1], label[0]))
    shown = ", ".join(f"{class_name(scores, code)} ({count})" for code, count in common[:MAX_LABELS])
    return shown + (f" and {len(common) - MAX_LABELS} more" if len(common) > MAX_LABELS else "")
