"""Match the marks of a review to the samples of an audit.

If the content of both is known, it must be identical; else, if both have a file, the file; else the position. So
without digests and names the data must be unchanged. Among several samples of the same content, the one with the same
file is preferred, then one whose folder and file have the same names, then the one at the same position, then any that
no other mark refers to.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from selfclean_hooks.core.scores import Scores, label_texts
from selfclean_hooks.decisions.review.marks import Mark

NUM_RANKS = 5  # same file and position, same file, same folder and file name, same position, any
SAME_POSITION, ANY = 3, 4


class SampleReference(NamedTuple):
    """A sample as a mark identifies it."""

    position: int
    sample: str
    digest: str


class MatchedMark(NamedTuple):
    """A mark and the sample it is about."""

    mark: Mark
    position: int
    other: int  # the kept copy, for near duplicates; else -1
    rank: int  # how close the match is, 0: the closest


@dataclass(frozen=True, eq=False)
class SampleIndex:
    """Index of samples by digest and by name."""

    n: int
    names: Sequence[str]
    digests: Sequence[str]
    labels: Sequence[str]
    of_digest: dict[str, list[int]] = field(default_factory=dict)
    of_name: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        scores: Scores,
        names: Sequence[str] | None,
        digests: Sequence[str] | None,
        wanted: Collection[SampleReference],
    ) -> SampleIndex:
        """Index the samples of an audit that references may match."""
        n, none = len(scores), ("",) * len(scores)
        by_digest: dict[str, list[int]] = {reference.digest: [] for reference in wanted if reference.digest}
        by_name: dict[str, list[int]] = {reference.sample: [] for reference in wanted if reference.sample}
        for known, texts in ((by_digest, digests or ()), (by_name, names or ())):
            for i, text in enumerate(texts):
                if text in known:
                    known[text].append(i)
        return cls(n, names or none, digests or none, label_texts(scores), by_digest, by_name)

    def matches(self, reference: SampleReference, i: int) -> bool:
        """Whether a sample can be the one referred to."""
        if reference.digest and self.digests[i]:
            return reference.digest == self.digests[i]
        if reference.sample and self.names[i]:
            return reference.sample == self.names[i]
        return reference.position == i

    def candidates(self, reference: SampleReference) -> Iterator[int]:
        """All samples that match, some twice."""
        yield from self.of_digest.get(reference.digest, ())
        yield from (i for i in self.of_name.get(reference.sample, ()) if self.matches(reference, i))
        if 0 <= reference.position < self.n and self.matches(reference, reference.position):
            yield reference.position

    def rank(self, reference: SampleReference, i: int) -> int:
        """How closely a candidate matches; 0 is the closest."""
        if reference.sample and reference.sample == self.names[i]:
            return 0 if reference.position == i else 1
        if reference.sample and self.names[i] and _folder_and_name(reference.sample) == _folder_and_name(self.names[i]):
            return 2
        return 3 if reference.position == i else 4

    def closest(self, reference: SampleReference, besides: int) -> int:
        """The closest match other than `besides`, the first of equally close ones; -1: there is none."""
        ranked = ((self.rank(reference, i), i) for i in self.candidates(reference) if i != besides)
        return min(ranked, default=(0, -1))[1]

    def may_have_label(self, reference: SampleReference, i: int) -> bool:
        """Whether the label agrees with the class folder of the file, where that folder is a known class."""
        folder = _folder_and_name(reference.sample)[:-1]
        return not folder or folder[0] not in self.known_labels or folder[0] == self.labels[i]

    @cached_property
    def known_labels(self) -> frozenset[str]:
        """Names of the labels."""
        return frozenset(self.labels)


def match_marks(
    marks: Sequence[Mark], scores: Scores, names: Sequence[str] | None, digests: Sequence[str] | None
) -> tuple[list[MatchedMark], list[Mark]]:
    """Match marks to samples, each sample to one mark of its kind; and the marks that match nothing.

    The closest matches are made first; among equally close ones, the later mark's.

    Args:
        marks: about the N samples of one split.
        scores: of these.
        names: (N,) their files, "" where unknown.
        digests: (N,) of their contents, "" where unknown.

    Returns:
        Matched marks in their order, and the unmatched ones.
    """
    wanted = {
        reference
        for mark in marks
        for reference in (_own_reference(mark), _kept_copy_reference(mark))
        if reference is not None
    }
    samples = SampleIndex.of(scores, names, digests, wanted)
    others = {
        number: _match_kept_copy(samples, mark) for number, mark in enumerate(marks) if mark.issue == "near_duplicates"
    }
    lost = {number for number, other in others.items() if other < 0}
    claimed, taken = set(others.values()), defaultdict[object, set[int]](set)
    fits = {n: _candidates_by_rank(samples, mark) for n, mark in enumerate(marks) if n not in lost}
    found: dict[int, MatchedMark] = {}
    for rank in range(NUM_RANKS):
        for number in sorted(fits.keys() - found.keys(), reverse=True):
            mark, other = marks[number], others.get(number, -1)
            used, reserved = taken[_slot(mark)], claimed if rank == ANY else {other}
            free = (i for i in fits[number][rank] if i not in used and i != other and i not in reserved)
            at = min(free, default=-1)
            if at >= 0:
                used.add(at)
                found[number] = MatchedMark(mark, at, other, rank)
    return [found[n] for n in sorted(found)], [mark for n, mark in enumerate(marks) if n not in found]


def _candidates_by_rank(samples: SampleIndex, mark: Mark) -> list[list[int]]:
    """Samples that the mark may be about, by rank."""
    reference = _own_reference(mark)
    ranked: list[list[int]] = [[] for _ in range(NUM_RANKS)]
    for i in samples.candidates(reference):
        rank = samples.rank(reference, i)
        if mark.issue != "label_errors" or rank < SAME_POSITION or samples.may_have_label(reference, i):
            ranked[rank].append(i)
    return ranked


def _match_kept_copy(samples: SampleIndex, mark: Mark) -> int:
    """The kept copy, another sample than the surplus one."""
    reference, beside = _own_reference(mark), SampleReference(mark.other_index, mark.other_sample, mark.other_digest)
    own, other = samples.closest(reference, -1), samples.closest(beside, -1)
    if own >= 0 and own == other and samples.rank(beside, other) > samples.rank(reference, own):
        return samples.closest(beside, own)
    return other


def _slot(mark: Mark) -> object:
    """No two marks in one slot are about the same sample."""
    return mark.issue, mark.other_split, mark.other_index, mark.other_sample, mark.other_digest


def _own_reference(mark: Mark) -> SampleReference:
    return SampleReference(mark.index, mark.sample, mark.digest)


def _kept_copy_reference(mark: Mark) -> SampleReference | None:
    return (
        SampleReference(mark.other_index, mark.other_sample, mark.other_digest)
        if mark.issue == "near_duplicates"
        else None
    )


@lru_cache(2**14)
def _folder_and_name(name: str) -> tuple[str, ...]:
    """Folder and file name, independent of where the folder is."""
    return tuple(re.split(r"[/\\]", name)[-2:])
