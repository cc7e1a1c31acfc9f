"""Review decisions, one mark a finding; `decide` derives their consequences."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, TypeVar, get_args

from selfclean_hooks.core.issues import NAMES, PAIRS, WITH_THRESHOLD
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import is_fraction

Judgement = Literal["confirmed", "rejected", "relabelled"]
DIGEST = re.compile(r"[0-9a-f]{32}|")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Mark:
    """The decision about one finding.

    A sample is identified by its position, its file and the digest of its content, as far as these are known; see
    `matching.py` for how it is found again. A near duplicate refers to its kept copy as well, leakage to the sample of
    the other split.
    """

    issue: str
    verdict: Judgement
    index: int = -1  # position; -1: unknown
    sample: str = ""  # file
    digest: str = ""  # of the content, 32 hexadecimal digits
    other_index: int = -1
    other_sample: str = ""
    other_digest: str = ""
    other_split: str = ""  # leakage: where the other sample is
    split: str = ""
    label: str = ""  # the new one, where relabelled

    def __post_init__(self) -> None:
        """Check that the values are consistent.

        Raises:
            SettingError: they are not; the message says what was wanted and what came.
        """
        problem = next(_problems(self), None)
        if problem is not None:
            raise SettingError(problem)

    @property
    def finding(self) -> tuple[object, ...]:
        """Key of the finding: marks with the same key replace each other. Either sample of a pair may come first."""
        own = (self.split, *_sample_key(self.index, self.sample, self.digest))
        if self.issue not in PAIRS:
            return self.issue, own
        split = self.other_split if self.issue == "leakage" else self.split
        other = (split, *_sample_key(self.other_index, self.other_sample, self.other_digest))
        return self.issue, *sorted((own, other))

    @property
    def from_other_split(self) -> Mark:
        """The same leakage mark, from the side of the other split."""
        own = {"other_index": self.index, "other_sample": self.sample, "other_digest": self.digest}
        there = {"index": self.other_index, "sample": self.other_sample, "digest": self.other_digest}
        return replace(self, split=self.other_split, other_split=self.split, **own, **there)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """The sample, for people."""
        return self.sample or (f"sample {self.index}" if self.index >= 0 else self.digest)


@dataclass(frozen=True)
class Review:
    """The decisions of reviewers about one data set, or about several splits of one.

    Attributes:
        marks: one a finding, in the order they were made.
        thresholds: issue -> threshold set by the reviewer. In a merged review of several splits, keys of the split
            "val" are of the form "val:label_errors".
        seen: issue (same keys) -> how many findings were reviewed.
        split: of thresholds and seen.
        dataset: name of the data set.
    """

    marks: tuple[Mark, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    split: str = ""
    dataset: str = ""

    def __post_init__(self) -> None:
        """Keep the last of several marks about one finding.

        Raises:
            SettingError: a threshold or a count is invalid.
        """
        last: dict[object, Mark] = {}
        for mark in self.marks:
            last.pop(mark.finding, None)  # so that it takes the place of the last one
            last[mark.finding] = mark
        object.__setattr__(self, "marks", tuple(last.values()))
        for name, threshold in self.thresholds.items():
            if _issue_in(name) not in WITH_THRESHOLD or not is_fraction(threshold):
                wanted = f"a threshold must be a score in [0, 1] for one of {', '.join(WITH_THRESHOLD)}"
                raise SettingError(f"{wanted}, got {threshold!r:.80} for {name!r:.80}")
        for name, count in self.seen.items():
            if _issue_in(name) not in NAMES or not _is_count(count):
                wanted = f"seen must be a number of findings of one of {', '.join(NAMES)}"
                raise SettingError(f"{wanted}, got {count!r:.80} for {name!r:.80}")

    @classmethod
    def merge(cls, reviews: Iterable[Review]) -> Review:
        """Several reviews as one; where they differ the last one counts."""
        every = list(reviews)
        splits = {review.split for review in every}
        split = splits.pop() if len(splits) == 1 else ""
        thresholds: dict[str, float] = {}
        seen: dict[str, int] = {}
        for review in every:
            thresholds |= {
                review._qualified_name(name, split): threshold for name, threshold in review.thresholds.items()
            }
            for name, count in review.seen.items():
                key = review._qualified_name(name, split)
                seen[key] = max(count, seen.get(key, 0))
        marks = tuple(mark for review in every for mark in review.marks)
        dataset = next((review.dataset for review in every if review.dataset), "")
        return cls(marks, thresholds, seen, split, dataset)

    def of(self, split: str) -> Review:
        """The part about one split; leakage rejected on one side is rejected on the other."""
        own = tuple(mark for mark in self.marks if mark.split == split)
        there = [m for m in self.marks if m.issue == "leakage" and m.verdict == "rejected" and m.other_split == split]
        marks = (*(mark.from_other_split for mark in there if mark.split), *own)
        return Review(marks, self.thresholds_of(split), self._of(self.seen, split), split, self.dataset)

    def thresholds_of(self, *splits: str) -> dict[str, float]:
        """Issue -> threshold that was set in any of these splits."""
        return {issue: threshold for split in splits for issue, threshold in self._of(self.thresholds, split).items()}

    def without_thresholds(self, issues: Iterable[str]) -> Review:
        """The same without the thresholds of some issues."""
        left_out = set(issues)
        kept = {name: threshold for name, threshold in self.thresholds.items() if _issue_in(name) not in left_out}
        return replace(self, thresholds=kept)

    @property
    def counts(self) -> dict[str, int]:
        """Verdict -> number of marks, without zeros."""
        count = Counter(mark.verdict for mark in self.marks)
        return {verdict: count[verdict] for verdict in get_args(Judgement) if count[verdict]}

    def _of(self, values: Mapping[str, Value], split: str) -> dict[str, Value]:
        full = {self._qualified_name(name, ""): value for name, value in values.items()}
        start = f"{split}:" if split else ""
        return {_issue_in(name): value for name, value in full.items() if name == start + _issue_in(name)}

    def _qualified_name(self, name: str, split: str) -> str:
        """The name of a threshold in a review of `split`."""
        own = self.split if ":" not in name else ""
        return f"{own}:{name}" if own != split and own else name


def _problems(mark: Mark) -> Iterator[str]:
    """Everything that is inconsistent in a mark."""
    if mark.issue not in NAMES:
        yield f"the issue must be one of {', '.join(NAMES)}, got {mark.issue!r:.80}"
    if mark.verdict not in get_args(Judgement):
        yield f"the verdict must be one of {', '.join(get_args(Judgement))}, got {mark.verdict!r:.80}"
    for each in fields(mark):
        value = getattr(mark, each.name)
        if each.name in ("index", "other_index"):
            if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 2**53:
                yield f"{each.name} must be a position, 0 or more, got {value!r:.80}"
        elif not isinstance(value, str):
            yield f"{each.name} must be a string, got {value!r:.80}"
        elif "digest" in each.name and not DIGEST.fullmatch(value):
            yield f"{each.name} must be 32 hexadecimal digits or empty, got {value!r:.80}"
    if mark.index < 0 and not mark.sample and not mark.digest:
        yield "a mark must identify its sample by index, sample or digest, got none of them"
    yield from _problems_by_issue(mark)


def _problems_by_issue(mark: Mark) -> Iterator[str]:
    has_other = mark.other_index >= 0 or bool(mark.other_sample or mark.other_digest)
    if (mark.verdict == "relabelled") != bool(mark.label.strip()):
        yield f"a new label goes with the verdict relabelled, got the label {mark.label!r} with {mark.verdict!r}"
    if mark.verdict == "relabelled" and mark.issue != "label_errors":
        yield f"relabelled is a verdict on label_errors, got it for {mark.issue!r}"
    if has_other != (mark.issue in PAIRS):
        wanted = f"{' and '.join(PAIRS)} are about two samples, other issues about one"
        yield f"{wanted}, got {mark.issue!r} about {'two' if has_other else 'one'}"
    if bool(mark.other_split) != (mark.issue == "leakage"):
        yield f"other_split goes with leakage, got {mark.other_split!r} for {mark.issue!r}"


def _sample_key(index: int, sample: str, digest: str) -> tuple[str, str, int]:
    """What identifies a sample, even after it has moved."""
    return digest, sample, -1 if digest and sample else index


def _issue_in(name: str) -> str:
    return name.rpartition(":")[2]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < math.inf
