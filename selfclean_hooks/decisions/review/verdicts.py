"""Verdicts of a review on each sample; for near duplicates see `reviewed_sets.py`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.core.scores import LeakPairs, Scores, label_texts
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.decisions.review.matching import MatchedMark, match_marks
from selfclean_hooks.utils.arrays import BoolArray


@dataclass(frozen=True, eq=False)
class ReviewVerdicts:
    """Review decisions on N samples."""

    marks: Mapping[str, Mapping[int, Mark]]  # issue except near duplicates -> position -> the mark that counts
    confirmed: Mapping[str, BoolArray]  # issue: (N,)
    dismissed: Mapping[str, BoolArray]  # issue: (N,) rejected or relabelled
    no_leak: BoolArray  # (L,) rejected pairs with samples of other splits
    near_duplicates: tuple[MatchedMark, ...]  # in ascending precedence
    unmatched: tuple[Mark, ...]

    @property
    def relabelled(self) -> dict[int, str]:
        """Position -> new label."""
        marks = self.marks.get("label_errors", {})
        return {i: mark.label for i, mark in sorted(marks.items()) if mark.verdict == "relabelled"}


def review_verdicts(
    review: Review | None, scores: Scores, names: Sequence[str] | None, digests: Sequence[str] | None
) -> ReviewVerdicts:
    """The verdicts of a review on the samples of an audit."""
    n, leaks = len(scores), scores.leaks
    no_leak = np.zeros(0 if leaks is None else len(leaks), bool)
    own = ("", *(() if leaks is None else leaks.splits[:1]))
    marks = [] if review is None else [mark for mark in review.marks if mark.split in own]
    lost = [] if review is None else [mark for mark in review.marks if mark.split not in own]
    places, nowhere = match_marks(marks, scores, names, digests) if marks else ([], [])
    places.sort(key=lambda place: -place.rank)  # closer matches, then later marks, take precedence
    pairs = _LeakLookup.of(scores, [place.mark for place in places if place.mark.issue == "leakage"])
    held: dict[str, dict[int, Mark]] = defaultdict(dict)
    for place in (place for place in places if place.mark.issue != "near_duplicates"):
        mark, at = place.mark, place.position
        is_there = pairs.may_exist(place) if mark.issue == "leakage" else True
        if not is_there or (mark.issue == "unreadable" and at not in scores.errors):
            nowhere.append(mark)
        elif mark.issue == "leakage" and mark.verdict == "rejected":
            no_leak[pairs.pairs_of(place)] = True
        else:
            held[mark.issue][at] = mark
    near = tuple(place for place in places if place.mark.issue == "near_duplicates")
    confirmed, dismissed = _masks(held, n)
    return ReviewVerdicts(dict(held), confirmed, dismissed, no_leak, near, (*lost, *nowhere))


def _masks(held: Mapping[str, Mapping[int, Mark]], n: int) -> tuple[dict[str, BoolArray], dict[str, BoolArray]]:
    """Issue -> (N,) confirmed, and issue -> (N,) rejected or relabelled."""
    confirmed, dismissed = ({i: np.zeros(n, bool) for i in NAMES if i != "near_duplicates"} for _ in range(2))
    for issue, there in held.items():
        for at, mark in there.items():
            (confirmed if mark.verdict == "confirmed" else dismissed)[issue][at] = True
    return confirmed, dismissed


def corrected_labels(scores: Scores, labels: Mapping[int, str]) -> Scores:
    """The scores with corrected labels; a new class is added if classes have names.

    Targets are left unchanged.
    """
    if not labels or scores.targets is not None:
        return scores
    code = dict(zip(reversed(label_texts(scores)), reversed(scores.given_label.tolist()), strict=True))
    names = list(scores.class_names or ())
    code |= {name: number for number, name in enumerate(names)}
    is_named = scores.class_names is not None and int(scores.given_label.max(initial=-1)) < len(names)
    given = scores.given_label.copy()
    for i, label in labels.items():
        if label not in code:
            code[label] = len(names) if is_named else -1
            names.append(label)
        given[i] = code[label]
    return replace(scores, given_label=given, class_names=tuple(names) if is_named else scores.class_names)


def unknown_labels(scores: Scores, labels: Mapping[int, str]) -> tuple[str, ...]:
    """New labels that no sample or class of the data has, each once; for regression, those that are not numbers."""
    known = {*label_texts(scores), *(scores.class_names or ())}
    is_number = scores.targets is not None and scores.targets.ndim == 1
    unknown = (label for label in labels.values() if not (_is_finite(label) if is_number else label in known))
    return tuple(dict.fromkeys(unknown))


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True, eq=False)
class _LeakLookup:
    """Looks up pairs with samples of other splits by what identifies these samples."""

    leaks: LeakPairs | None
    known: Mapping[object, Sequence[int]]  # (split, digest), (split, name) and (split, position): pairs

    @classmethod
    def of(cls, scores: Scores, marks: Collection[Mark]) -> _LeakLookup:
        """Index the pairs that these marks may refer to."""
        leaks = scores.leaks
        known: dict[object, list[int]] = {key: [] for mark in marks for key in _other_sample_keys(mark)}
        if leaks is None or not known:
            return cls(leaks, {})
        digests, files = (texts or ("",) * len(leaks) for texts in (leaks.other_digests, leaks.other_names))
        identifiers = zip(digests, files, leaks.other_index.tolist(), strict=True)
        for pair, keys in enumerate(identifiers):
            for key in keys:
                if (leaks.other_split(pair), key) in known:
                    known[leaks.other_split(pair), key].append(pair)
        return cls(leaks, known)

    def candidates(self, mark: Mark) -> Iterator[int]:
        """Pairs whose other sample is the one referred to, some twice. See `matching.py`."""
        leaks = self.leaks
        if leaks is None:
            return
        for pair in (pair for key in _other_sample_keys(mark) for pair in self.known[key]):
            digest = leaks.other_digests[pair] if leaks.other_digests else ""
            name = leaks.other_names[pair] if leaks.other_names else ""
            if mark.other_digest and digest:
                fits = mark.other_digest == digest
            elif mark.other_sample and name:
                fits = mark.other_sample == name
            else:
                fits = mark.other_index == int(leaks.other_index[pair])
            if fits:
                yield pair

    def pairs_of(self, place: MatchedMark) -> list[int]:
        """The pairs that a matched mark is about."""
        leaks = self.leaks
        return [p for p in self.candidates(place.mark) if leaks is not None and leaks.index[p] == place.position]

    def may_exist(self, place: MatchedMark) -> bool:
        """Whether the sample of the other split still exists; if that is unknown, confirmed leakage is kept."""
        mark = place.mark
        if mark.verdict == "rejected":
            return bool(self.pairs_of(place))
        if self.leaks is None or mark.other_split not in self.leaks.splits[1:]:
            return True
        return any(True for _ in self.candidates(mark))  # the nearest pair of every sample there is listed


def _other_sample_keys(mark: Mark) -> Iterator[object]:
    for value in (mark.other_digest, mark.other_sample, mark.other_index):
        if value not in ("", -1):
            yield mark.other_split, value
