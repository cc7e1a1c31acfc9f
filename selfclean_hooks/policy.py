"""What a flag does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.errors import PolicyError, SettingError
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import ISSUES, Thresholds, flagged, is_fraction

Action = Literal["ignore", "warn", "drop", "raise"]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Policy:
    """What is done about the flagged samples of each issue.

    "ignore", "warn", "drop" (leave out of the clean indices) or "raise" (stop). Of near duplicates one copy of each set
    is kept; no class is emptied; dropping more than `max_drop_fraction` of the samples is an error and not a mass drop.
    `leakage` is about the samples of the split trained on that another split holds too, where that was looked for.
    """

    near_duplicates: Action = "warn"
    off_topic: Action = "warn"
    label_errors: Action = "warn"
    unreadable: Action = "warn"
    max_drop_fraction: float = 0.5
    leakage: Action = "warn"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "max_drop_fraction":
                continue
            if getattr(self, field.name) not in get_args(Action):
                raise SettingError(
                    f"the policy for {field.name} must be one of {', '.join(get_args(Action))}, "
                    f"got {getattr(self, field.name)!r}"
                )
        if not is_fraction(self.max_drop_fraction):
            raise SettingError(f"max_drop_fraction must be in [0, 1], got {self.max_drop_fraction!r}")

    def action(self, issue: str) -> Action:
        """What is done about `issue`."""
        action: Action = getattr(self, issue)
        return action


@dataclass(frozen=True, eq=False)
class Decisions:
    """What scores, thresholds and policy lead to, per sample."""

    thresholds: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, Bools]  # issue: (N,) flagged
    surplus: Bools  # (N,) in a duplicate set and not its kept copy
    sets: NDArray[np.int64]  # (N,) duplicate set, numbered by first member, -1: none
    dropped: Bools  # (N,) left out of the clean indices
    action: NDArray[Any]  # (N,) "keep", "warn", "drop" or "raise", the strongest where several apply
    reason: tuple[str, ...]  # in plain words, "" where there is nothing to say
    policy: Policy

    def counted(self, issue: str) -> Bools:
        """(N,) the samples that count as contamination: of a duplicate set all but the kept copy."""
        return self.surplus if issue == "near_duplicates" else self.flags[issue]

    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending: all samples that are not dropped."""
        dropped = self.dropped
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
        return (~dropped).nonzero()[0]


def decide(scores: Scores, thresholds: Thresholds, policy: Policy) -> Decisions:
    """Flags, duplicate sets, actions and reasons; all are derived, nothing is kept between calls."""
    cuts = {i: thresholds.resolve(i, scores.automatic[i]) if i in scores.automatic else -math.inf for i in ISSUES}
    by_issue = {"near_duplicates": scores.near_duplicate, "off_topic": scores.off_topic, "label_errors": scores.label}
    flags = {issue: flagged(score, cuts[issue]) for issue, score in by_issue.items()}
    if scores.leaks is not None:  # decided by the distance, as near duplicates are
        cuts["leakage"] = cuts["near_duplicates"]
    leaks = np.full(len(scores), np.nan) if scores.leaks is None else scores.leaks.nearest
    flags["leakage"] = flagged(leaks, cuts["near_duplicates"])
    flags["unreadable"] = np.isin(np.arange(len(scores)), list(scores.errors))
    sets = duplicate_sets(scores, cuts["near_duplicates"])
    dropped = np.zeros(len(scores), bool)
    for issue in ("off_topic", "label_errors", "leakage", "unreadable"):
        if policy.action(issue) == "drop":
            dropped |= flags[issue]
    surplus = (sets >= 0) & ~_first_of_set(sets, dropped)
    if policy.near_duplicates == "drop":
        dropped |= surplus
    rescued = _last_of_class(scores, dropped)
    counted = {**flags, "near_duplicates": surplus}
    action = _actions(counted, policy)
    action[rescued] = "keep"
    dropped[rescued] = False
    reasons = _reasons(scores, cuts, flags, sets, surplus, rescued)
    return Decisions(cuts, flags, surplus, sets, dropped, action, reasons, policy)


def duplicate_sets(scores: Scores, threshold: float) -> NDArray[np.int64]:
    """(N,) number of each sample's duplicate set, in order of first members; -1: none.

    A set is a connected component of the pairs below the threshold, read off the single-linkage tree: exact, however
    many pairs there are.
    """
    n = len(scores)
    near = flagged(scores.tree_distance, threshold)
    start, end = scores.tree_index[near].astype(np.int32).T  # older scipy searches graphs of int32 only
    _, component = connected_components(coo_array((np.ones(len(start)), (start, end)), shape=(n, n)), directed=False)
    size = np.bincount(component, minlength=1)[component]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    in_set = size > 1
    order = np.full(len(first), -1, np.int64)
    firsts = np.unique(first[inverse[in_set]])
    order[inverse[firsts]] = np.arange(len(firsts))
    return np.where(in_set, order[inverse], -1)


def _first_of_set(sets: NDArray[np.int64], dropped: Bools) -> Bools:
    """The copy of each set to keep: the first that is not dropped for another reason, else the first."""
    kept = np.zeros(len(sets), bool)
    members = (sets >= 0).nonzero()[0]
    members = members[np.lexsort((members, dropped[members], sets[members]))]
    kept[members[np.unique(sets[members], return_index=True)[1]]] = True
    return kept


def _last_of_class(scores: Scores, dropped: Bools) -> NDArray[np.int64]:
    """Readable samples to keep all the same, the least suspicious one of every class that would be emptied."""
    labels, readable = scores.given_label, ~np.isnan(scores.near_duplicate)
    worst = np.nanmin(np.stack([scores.off_topic, np.where(np.isnan(scores.label), 1, scores.label)]), axis=0)
    emptied = np.setdiff1d(labels[readable & dropped], labels[readable & ~dropped])
    rescued = []
    for label in emptied[emptied >= 0] if (labels >= 0).any() else emptied[:0]:
        members = (readable & (labels == label)).nonzero()[0]
        rescued.append(members[np.argmax(worst[members])])
    return np.array(rescued, np.int64)


def _actions(counted: Mapping[str, Bools], policy: Policy) -> NDArray[Any]:
    """The strongest action of every sample."""
    action = np.full(len(next(iter(counted.values()))), "keep", dtype="<U5")
    for name in ("warn", "drop", "raise"):
        for issue, hit in counted.items():
            if policy.action(issue) == name:
                action[hit] = name
    return action


def _reasons(
    scores: Scores,
    cuts: Mapping[str, float],
    flags: Mapping[str, Bools],
    sets: NDArray[np.int64],
    surplus: Bools,
    rescued: NDArray[np.int64],
) -> tuple[str, ...]:
    """Why each sample is flagged, in plain words."""
    reasons: dict[int, list[str]] = {}
    size = np.bincount(sets[sets >= 0], minlength=1)
    first = {int(sets[i]): int(i) for i in ((sets >= 0) & ~surplus).nonzero()[0]}

    def say(position: int, text: str) -> None:
        reasons.setdefault(position, []).append(text)

    for i in (sets >= 0).nonzero()[0].tolist():
        number, nearest = int(sets[i]), scores.near_duplicate[i]
        if surplus[i]:
            say(i, f"near duplicate of {first[number]} (set {number} of {size[number]}, nearest at {nearest:.4g})")
        else:
            say(i, f"kept copy of duplicate set {number} of {size[number]}")
    for i in flags["off_topic"].nonzero()[0].tolist():
        say(i, f"off topic (score {scores.off_topic[i]:.4g} below {cuts['off_topic']:.4g})")
    for i in flags["label_errors"].nonzero()[0].tolist():
        given, other = (_name(scores, codes[i]) for codes in (scores.given_label, scores.predicted_label))
        doubt = f"looks like {other}" if other != given else "in doubt"
        say(i, f"label {given} {doubt} (score {scores.label[i]:.4g} below {cuts['label_errors']:.4g})")
    for i, text in _leaked(scores, cuts["near_duplicates"]):
        say(i, text)
    for i, error in scores.errors.items():
        say(i, f"unreadable ({error})")
    for i in rescued.tolist():
        say(i, "kept all the same: its class would be empty")
    return tuple("; ".join(reasons.get(i, ())) for i in range(len(scores)))


def _leaked(scores: Scores, cut: float) -> Iterator[tuple[int, str]]:
    """Per sample and other split that holds it too, where its nearest there is."""
    leaks = scores.leaks
    if leaks is None:
        return
    seen = set()
    for pair in flagged(leaks.distance, cut).nonzero()[0].tolist():  # nearest first
        at, split = int(leaks.index[pair]), leaks.name(pair)
        if (at, split) not in seen:
            seen.add((at, split))
            yield at, f"also in {split} (index {leaks.other_index[pair]}, distance {leaks.distance[pair]:.4g})"


def _name(scores: Scores, code: int) -> str:
    return scores.class_names[code] if scores.class_names and 0 <= code < len(scores.class_names) else str(code)
