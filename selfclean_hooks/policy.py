"""What a flag does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.duplicates import DuplicateSets, Keep, conflicting
from selfclean_hooks.errors import PolicyError, SettingError
from selfclean_hooks.flags import flags_of
from selfclean_hooks.reasons import NOTHING, reasons_of
from selfclean_hooks.review import Mark, Review
from selfclean_hooks.reviewed_sets import reviewed_sets
from selfclean_hooks.ruling import ruling_of
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import Thresholds, is_fraction

__all__ = ["NOTHING", "Action", "Decisions", "Policy", "decide"]

Action = Literal["ignore", "warn", "drop", "raise"]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Policy:
    """What is done about the flagged samples of each issue.

    "ignore", "warn", "drop" (leave out of the clean indices) or "raise" (stop). Of near duplicates one copy of each set
    is kept; no class is emptied; dropping more than `max_drop_fraction` of the samples is an error and not a mass drop.
    `leakage` is about the samples of the split trained on that another split holds too, where that was looked for.
    `keep` says which copy: the "first", the "most_central" (most near duplicates, least distance to them) or the
    "largest_image" (pixels). One that is dropped for another reason, or whose label most other copies do not carry, is
    kept only where there is no other.
    """

    near_duplicates: Action = "warn"
    off_topic: Action = "warn"
    label_errors: Action = "warn"
    unreadable: Action = "warn"
    max_drop_fraction: float = 0.5
    leakage: Action = "warn"
    keep: Keep = "first"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "max_drop_fraction":
                continue
            known = get_args(Keep if field.name == "keep" else Action)
            if getattr(self, field.name) not in known:
                what = "keep" if field.name == "keep" else f"the policy for {field.name}"
                raise SettingError(f"{what} must be one of {', '.join(known)}, got {getattr(self, field.name)!r}")
        if not is_fraction(self.max_drop_fraction):
            raise SettingError(f"max_drop_fraction must be in [0, 1], got {self.max_drop_fraction!r}")

    def action(self, issue: str) -> Action:
        """What is done about `issue`."""
        action: Action = getattr(self, issue)
        return action

    def without_drops(self) -> Policy:
        """The same for data that nothing may be dropped from: "drop" becomes "warn"."""
        dropping: dict[str, Any] = {issue: "warn" for issue, action in asdict(self).items() if action == "drop"}
        return replace(self, **dropping)


@dataclass(frozen=True, eq=False)
class Decisions:
    """What scores, thresholds, policy and the review of people lead to, per sample."""

    thresholds: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, Bools]  # issue: (N,) flagged, and not found to be fine by whoever looked at it
    duplicates: DuplicateSets
    conflicts: frozenset[int]  # numbers of the duplicate sets whose copies carry different labels
    dropped: Bools  # (N,) left out of the clean indices
    action: NDArray[Any]  # (N,) "keep", "warn", "drop" or "raise", the strongest where several apply
    reason: tuple[str, ...]  # in plain words
    policy: Policy
    pairs: Bools  # (P,) listed pairs of near duplicates, but those found to be none
    leaks: Bools  # (L,) the same of pairs with samples of other splits
    confirmed: Bools  # (N,) dropped, as a person confirmed a finding
    fine: Mapping[str, Bools]  # issue: (N,) a finding, had no person found it fine
    relabelled: Mapping[int, str]  # position: new label, given by a person
    marks: Mapping[str, Mapping[int, Mark]]  # issue: position: the mark that counts; of a leak only confirmed ones
    unmatched: tuple[Mark, ...]  # marks that match nothing here

    @property
    def sets(self) -> NDArray[np.int64]:
        """(N,) number of the duplicate set, -1: none."""
        return self.duplicates.number

    @cached_property
    def surplus(self) -> Bools:
        """(N,) in a duplicate set and not its kept copy."""
        return self.duplicates.surplus

    def counted(self, issue: str) -> Bools:
        """(N,) the samples that count as contamination: of a duplicate set all but the kept copy."""
        return self.surplus if issue == "near_duplicates" else self.flags[issue]

    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending: all samples that are not dropped.

        Raises:
            PolicyError: more than `max_drop_fraction` would be, beside what people confirmed.
        """
        dropped = self.dropped & ~self.confirmed
        if dropped.mean() > self.policy.max_drop_fraction:
            causes = {
                issue: int((self.counted(issue) & dropped).sum())
                for issue in self.flags
                if self.policy.action(issue) == "drop"
            }
            raise PolicyError(
                f"the policy would drop {dropped.sum()} of {len(dropped)} samples ({dropped.mean():.0%}), more than "
                f"max_drop_fraction={self.policy.max_drop_fraction} ("
                + ", ".join(f"{issue} {count}" for issue, count in causes.items() if count)
                + "). An issue that hits this much says more about the thresholds or the representation than about the "
                "data: look at the flags, lower the thresholds, or raise max_drop_fraction"
            )
        return (~self.dropped).nonzero()[0]


def decide(
    scores: Scores,
    thresholds: Thresholds,
    policy: Policy,
    names: Sequence[str] | None = None,
    digests: Sequence[str] | None = None,
    review: Review | None = None,
) -> Decisions:
    """Flags, duplicate sets, actions and reasons; all are derived, nothing is kept between calls.

    Args:
        scores: of N samples.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        names: (N,) file of each sample, "" where unknown; told in reasons.
        digests: (N,) content of each sample, "" where unknown; for finding the samples that people looked at.
        review: what people decided. What they found fine is no finding; what they confirmed is one, and is dropped.
    """
    ruling = ruling_of(review, scores, names, digests)
    found = flags_of(scores, thresholds, review, ruling)
    away = np.any([_dropped(found.flags, policy), *ruling.confirmed.values()], axis=0)
    last = 2 * away + np.isin(np.arange(len(scores)), list(found.doubts))  # better one in doubt than one to be dropped
    copies = reviewed_sets(scores, found.cuts["near_duplicates"], policy.keep, last, ruling.near)
    confirmed: Bools = np.any([copies.confirmed, *ruling.confirmed.values()], axis=0)
    surplus, flags = copies.duplicates.surplus, {"near_duplicates": copies.flags, **found.flags}
    dropped = away | confirmed | (surplus & (policy.near_duplicates == "drop"))
    rescued = _last_of_class(found.scores, dropped, confirmed)
    action = _actions({**flags, "near_duplicates": surplus}, policy)
    action[confirmed], action[rescued], dropped[rescued] = "drop", "keep", False
    marks = {**ruling.marks, "near_duplicates": copies.marks}
    return Decisions(
        thresholds=found.cuts,
        flags=flags,
        duplicates=copies.duplicates,
        conflicts=conflicting(copies.duplicates, found.scores),
        dropped=dropped,
        action=action,
        reason=reasons_of(scores, names, found, copies, rescued, marks),
        policy=policy,
        pairs=copies.pairs,
        leaks=found.leaks,
        confirmed=confirmed,
        fine={"near_duplicates": copies.fine, **found.fine},
        relabelled=ruling.relabelled,
        marks=marks,
        unmatched=(*ruling.lost, *copies.lost),
    )


def _dropped(flags: Mapping[str, Bools], policy: Policy) -> Bools:
    """What is dropped by itself, and not as a surplus copy."""
    issues = [issue for issue in flags if issue != "near_duplicates" and policy.action(issue) == "drop"]
    dropped: Bools = np.any([np.zeros_like(flags["unreadable"]), *(flags[issue] for issue in issues)], axis=0)
    return dropped


def _last_of_class(scores: Scores, dropped: Bools, confirmed: Bools) -> NDArray[np.int64]:
    """Readable samples to keep all the same, the least suspicious one of every class that would be emptied.

    Of those that no person confirmed: a class whose samples all were is left empty.
    """
    labels, readable = scores.given_label, ~np.isnan(scores.near_duplicate)
    worst = np.nanmin(np.stack([scores.off_topic, np.where(np.isnan(scores.label), 1, scores.label)]), axis=0)
    emptied = np.setdiff1d(labels[readable & dropped], labels[readable & ~dropped])
    rescued = []
    for label in emptied[emptied >= 0] if (labels >= 0).any() else emptied[:0]:
        members = (readable & (labels == label) & ~confirmed).nonzero()[0]
        rescued += [members[np.argmax(worst[members])]] if len(members) else []
    return np.array(rescued, np.int64)


def _actions(counted: Mapping[str, Bools], policy: Policy) -> NDArray[Any]:
    """The strongest action of every sample."""
    action = np.full(len(next(iter(counted.values()))), "keep", dtype="<U5")
    for name in ("warn", "drop", "raise"):
        for issue, hit in counted.items():
            if policy.action(issue) == name:
                action[hit] = name
    return action
