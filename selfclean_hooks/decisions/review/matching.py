"""Which samples of an audit the marks of a review are about.

Where the content of both is known it must be the same. Else, where both have a file, the file must be; else the
position. So without digests and names the data must be as they were. Of several samples of one content that of the same
file comes first, then one whose file lies in a folder and has a name called alike, then that of the same position, then
any that no other mark is about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

from selfclean_hooks.core.label_text import label_texts
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.decisions.review.marks import Mark

NUM_RANKS = 5  # the same file and position, the same file, alike, the same position, any
SAME_POSITION, ANY = 3, 4


class SampleReference(NamedTuple):
    """A sample as a mark tells it."""

    place: int
    sample: str
    digest: str


class MatchedMark(NamedTuple):
    """Where a mark belongs."""

    mark: Mark
    position: int
    other: int  # of near duplicates; -1 for other issues
    rank: int  # how close the match is, 0: the closest


@dataclass(frozen=True, eq=False)
class SampleIndex:
    """What samples are known by, for looking some of them up."""

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
        """Those of an audit, ready for whoever is wanted."""
        n, none = len(scores), ("",) * len(scores)
        by_digest: dict[str, list[int]] = {who.digest: [] for who in wanted if who.digest}
        by_name: dict[str, list[int]] = {who.sample: [] for who in wanted if who.sample}
        for known, texts in ((by_digest, digests or ()), (by_name, names or ())):
            for i, text in enumerate(texts):
                if text in known:
                    known[text].append(i)
        return cls(n, names or none, digests or none, label_texts(scores), by_digest, by_name)

    def may_be(self, who: SampleReference, i: int) -> bool:
        """Whether a sample can be the one that was told."""
        if who.digest and self.digests[i]:
            return who.digest == self.digests[i]
        if who.sample and self.names[i]:
            return who.sample == self.names[i]
        return who.place == i

    def candidates(self, who: SampleReference) -> Iterator[int]:
        """All that can be the one, some twice."""
        yield from self.of_digest.get(who.digest, ())
        yield from (i for i in self.of_name.get(who.sample, ()) if self.may_be(who, i))
        if 0 <= who.place < self.n and self.may_be(who, who.place):
            yield who.place

    def rank(self, who: SampleReference, i: int) -> int:
        """How close a candidate is."""
        if who.sample and who.sample == self.names[i]:
            return 0 if who.place == i else 1
        if who.sample and self.names[i] and _folder_and_name(who.sample) == _folder_and_name(self.names[i]):
            return 2
        return 3 if who.place == i else 4

    def best(self, who: SampleReference, besides: int) -> int:
        """The closest one but `besides`, the first of those equally close; -1: there is none."""
        ranked = ((self.rank(who, i), i) for i in self.candidates(who) if i != besides)
        return min(ranked, default=(0, -1))[1]

    def had_label(self, who: SampleReference, i: int) -> bool:
        """Whether the label may be the one there was: of a file in the folder of a class that is known."""
        folder = _folder_and_name(who.sample)[:-1]
        return not folder or folder[0] not in self.known_labels or folder[0] == self.labels[i]

    @cached_property
    def known_labels(self) -> frozenset[str]:
        """What labels are called."""
        return frozenset(self.labels)


def match_marks(
    marks: Sequence[Mark], scores: Scores, names: Sequence[str] | None, digests: Sequence[str] | None
) -> tuple[list[MatchedMark], list[Mark]]:
    """Where marks belong, each sample for one mark of its kind, and the marks that belong nowhere.

    The closest matches are made first; of equally close ones that of the later mark.

    Args:
        marks: about the N samples of one split.
        scores: of these.
        names: (N,) their files, "" where unknown.
        digests: (N,) of their contents, "" where unknown.

    Returns:
        Places in order of the marks, and the other marks.
    """
    wanted = {who for mark in marks for who in (_own_reference(mark), _kept_copy_reference(mark)) if who is not None}
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
            used, asked_for = taken[_slot(mark)], claimed if rank == ANY else {other}
            free = (i for i in fits[number][rank] if i not in used and i != other and i not in asked_for)
            at = min(free, default=-1)
            if at >= 0:
                used.add(at)
                found[number] = MatchedMark(mark, at, other, rank)
    return [found[n] for n in sorted(found)], [mark for n, mark in enumerate(marks) if n not in found]


def _candidates_by_rank(samples: SampleIndex, mark: Mark) -> list[list[int]]:
    """Samples that the mark may be about, by how closely they match."""
    who = _own_reference(mark)
    ranked: list[list[int]] = [[] for _ in range(NUM_RANKS)]
    for i in samples.candidates(who):
        rank = samples.rank(who, i)
        if mark.issue != "label_errors" or rank < SAME_POSITION or samples.had_label(who, i):
            ranked[rank].append(i)
    return ranked


def _match_kept_copy(samples: SampleIndex, mark: Mark) -> int:
    """The copy that was kept, another sample than the surplus one."""
    who, beside = _own_reference(mark), SampleReference(mark.other_index, mark.other_sample, mark.other_digest)
    own, other = samples.best(who, -1), samples.best(beside, -1)
    if own >= 0 and own == other and samples.rank(beside, other) > samples.rank(who, own):
        return samples.best(beside, own)
    return other


def _slot(mark: Mark) -> object:
    """Of marks in one slot no two are about the same sample."""
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
    """Folder and name of a file, wherever the folder lies."""
    return tuple(re.split(r"[/\\]", name)[-2:])
