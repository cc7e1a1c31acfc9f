"""Duplicate sets after review.

A mark is about a surplus copy and the copy kept instead. If both are in one set, it applies to whichever of them is
surplus there now (the one it names, if both are). A rejected copy leaves its set: it is kept, and nothing else changes.
A confirmed one stays, or joins the set of the other if the threshold no longer puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfclean_hooks.core.scores import Scores
from selfclean_hooks.decisions.duplicate_sets import DuplicateSets, duplicate_sets
from selfclean_hooks.decisions.review.marks import Mark
from selfclean_hooks.decisions.review.matching import MatchedMark
from selfclean_hooks.decisions.settings import Keep, is_below
from selfclean_hooks.utils.arrays import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class ReviewedSets:
    """Sets, flags and pairs after review."""

    duplicates: DuplicateSets
    flags: BoolArray  # (N,) near duplicate of some sample
    pairs: BoolArray  # (P,) listed pairs of near duplicates
    dismissed: BoolArray  # (N,) would be surplus without the review
    marks: Mapping[int, Mark]  # position of a surplus copy -> the mark that counts
    unmatched: tuple[Mark, ...]

    @property
    def confirmed(self) -> BoolArray:
        """(N,) surplus, confirmed in the review."""
        confirmed = np.zeros(len(self.flags), bool)
        confirmed[[i for i, mark in self.marks.items() if mark.verdict == "confirmed"]] = True
        return confirmed


def reviewed_sets(
    scores: Scores, threshold: float, keep: Keep, last: IntArray, near: Sequence[MatchedMark]
) -> ReviewedSets:
    """Duplicate sets with the review applied.

    Args:
        scores: N samples.
        threshold: score below which two are near duplicates.
        keep: which copy of a set is kept.
        last: (N,) copies to keep only where there are no others; higher values later.
        near: matched marks about near duplicates, in ascending precedence.
    """
    flags, pairs = is_below(scores.near_duplicate, threshold), is_below(scores.pair_score, threshold)
    sets = duplicate_sets(scores, threshold, keep, last)
    if not near:
        return ReviewedSets(sets, flags, pairs, np.zeros(len(scores), bool), {}, ())
    sets = _keep_other_than_confirmed(sets, scores, threshold, keep, last, near)
    about, lost = _assign_marks(sets, near)
    rejected = {i: place for i, place in about.items() if place.mark.verdict == "rejected"}
    owner, apart = _remove_rejected(sets, rejected)
    cyclic = _join_confirmed(owner, {i: place for i, place in about.items() if i not in rejected})
    marks = {i: place.mark for i, place in sorted(about.items()) if i not in cyclic}
    fine = np.isin(np.arange(len(scores)), list(rejected))
    pairs &= ~_is_in(scores.pair_index, apart, len(scores))
    flags = _unflag_rejected(scores, threshold, flags, apart) & ~fine
    flags[[i for i, mark in marks.items() if mark.verdict == "confirmed"]] = True
    lost += [about[i].mark for i in cyclic]
    return ReviewedSets(_rebuild_sets(owner, sets, scores), flags, pairs, fine, marks, tuple(lost))


def _keep_other_than_confirmed(
    sets: DuplicateSets, scores: Scores, threshold: float, keep: Keep, last: IntArray, near: Sequence[MatchedMark]
) -> DuplicateSets:
    """Sets that do not keep copies confirmed as surplus of samples in other sets, where another can be kept."""
    away: set[int] = set()
    while True:
        apart = {p.position for p in near if p.mark.verdict == "confirmed" and _surplus_of_pair(sets, p) < 0}
        more = (apart & set(sets.kept.tolist())) - away
        if not more:
            return sets
        away |= more
        later = last.astype(np.int64)
        later[list(away)] += later.max(initial=0) + 1
        sets = duplicate_sets(scores, threshold, keep, later)


def _surplus_of_pair(sets: DuplicateSets, place: MatchedMark) -> int:
    """Which of the two is surplus; -1: they are in no set together."""
    number, other = sets.number[[place.position, place.other]]
    if number < 0 or number != other:
        return -1
    return place.position if sets.kept[number] != place.position else place.other


def _assign_marks(sets: DuplicateSets, near: Sequence[MatchedMark]) -> tuple[dict[int, MatchedMark], list[Mark]]:
    """Position of a surplus copy -> the mark that applies; and the marks about pairs that are no longer duplicates."""
    about: dict[int, MatchedMark] = {}
    lost = []
    for place in near:
        target = _surplus_of_pair(sets, place)
        if target >= 0 or place.mark.verdict == "confirmed":
            about[target if target >= 0 else place.position] = place
        else:
            lost.append(place.mark)
    return about, lost


def _remove_rejected(sets: DuplicateSets, rejected: Mapping[int, MatchedMark]) -> tuple[IntArray, IntArray]:
    """(N,) kept copy of each sample's set, -1: none; and (K, 2) rejected pairs."""
    owner = np.where(sets.number >= 0, np.append(sets.kept, -1)[sets.number], -1)
    apart = [(i, int(owner[i])) for i in rejected] + [(place.position, place.other) for place in rejected.values()]
    owner[list(rejected)] = -1
    return owner, np.array(apart, np.int64).reshape(-1, 2)


def _join_confirmed(owner: IntArray, confirmed: Mapping[int, MatchedMark]) -> list[int]:
    """Join confirmed copies, and their sets, to the set of the other sample; `owner` is changed.

    Returns:
        Those left unchanged, as one copy of a cycle has to stay.
    """
    cyclic = []
    for i, place in confirmed.items():
        if owner[i] not in (-1, i):
            continue
        kept = int(owner[place.other]) if owner[place.other] >= 0 else place.other
        if kept == i:
            cyclic.append(i)
            continue
        owner[owner == i] = kept
        owner[[i, kept]] = kept
    return cyclic


def _rebuild_sets(owner: IntArray, before: DuplicateSets, scores: Scores) -> DuplicateSets:
    """Sets of at least two, in order of their first members."""
    alone = (owner == np.arange(len(owner))) & (np.bincount(owner[owner >= 0], minlength=len(owner)) == 1)
    owner = np.where(alone, -1, owner)
    was = np.where(before.number >= 0, np.append(before.kept, -1)[before.number], -1)
    distance = np.where(owner >= 0, before.distance, np.float32("nan"))
    distance[owner == np.arange(len(owner))] = 0
    for i in ((owner >= 0) & (owner != was) & (owner != np.arange(len(owner)))).nonzero()[0].tolist():
        distance[i] = _listed_distance(scores, i, int(owner[i]))
    owners, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    order = np.argsort(np.where(owners < 0, -1, first), kind="stable")  # samples in no set come first
    none = int((owners < 0).any())
    number = np.empty(len(owners), np.int64)
    number[order] = np.arange(len(owners)) - none
    return DuplicateSets(number[inverse], owners[order][none:], distance)


def _listed_distance(scores: Scores, i: int, j: int) -> float:
    """Distance of a listed pair; NaN if it is not listed."""
    rows = (scores.pair_index == sorted((i, j))).all(1).nonzero()[0]
    return float(scores.pair_distance[rows[0]]) if len(rows) else float("nan")


def _is_in(index: IntArray, pairs: IntArray, n: int) -> BoolArray:
    """(P,) whether a pair is among others, in either order of its samples."""
    codes = [np.sort(each, axis=1) @ np.array([n, 1]) for each in (index, pairs)]
    return np.isin(codes[0], codes[1])


def _unflag_rejected(scores: Scores, threshold: float, flags: BoolArray, apart: IntArray) -> BoolArray:
    """The flags without samples all of whose near duplicates were rejected."""
    index, score = np.concatenate([scores.tree_index, scores.pair_index]), [scores.tree_score, scores.pair_score]
    near = is_below(np.concatenate(score), threshold) & ~_is_in(index, apart, len(scores))
    has_other = np.zeros(len(scores), bool)
    has_other[index[near]] = True
    flags, beside = flags.copy(), np.unique(apart)
    flags[beside] &= has_other[beside]
    return flags
