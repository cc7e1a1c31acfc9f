"""What a flag does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.duplicates import DuplicateSets, Keep, conflicting, contradicted, duplicate_sets
from selfclean_hooks.errors import PolicyError, SettingError
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import ISSUES, Thresholds, flagged, is_fraction

Action = Literal["ignore", "warn", "drop", "raise"]
Bools = NDArray[np.bool_]
NOTHING = "no issue found"
SHOWN = 5  # labels in a reason


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
    """What scores, thresholds and policy lead to, per sample."""

    thresholds: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, Bools]  # issue: (N,) flagged
    duplicates: DuplicateSets
    conflicts: frozenset[int]  # numbers of the duplicate sets whose copies carry different labels
    dropped: Bools  # (N,) left out of the clean indices
    action: NDArray[Any]  # (N,) "keep", "warn", "drop" or "raise", the strongest where several apply
    reason: tuple[str, ...]  # in plain words
    policy: Policy

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


def decide(scores: Scores, thresholds: Thresholds, policy: Policy, names: Sequence[str] | None = None) -> Decisions:
    """Flags, duplicate sets, actions and reasons; all are derived, nothing is kept between calls.

    Args:
        scores: of N samples.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        names: (N,) file of each sample, "" where unknown; told in reasons.
    """
    cuts = _cuts(scores, thresholds)
    flags = {issue: flagged(scores.of(issue), cuts[issue]) for issue in ISSUES}
    leaks = np.full(len(scores), np.nan) if scores.leaks is None else scores.leaks.worst
    flags["leakage"] = flagged(leaks, cuts.get("leakage", -math.inf))
    flags["unreadable"] = np.isin(np.arange(len(scores)), list(scores.errors))
    near = cuts["near_duplicates"]
    doubts = contradicted(scores, near) if cuts["label_errors"] > -math.inf else {}
    doubted = np.isin(np.arange(len(scores)), list(doubts))
    flags["label_errors"] |= doubted
    last = 2 * _dropped(flags, policy) + doubted  # better a copy in doubt than one that is dropped
    duplicates = duplicate_sets(scores, near, policy.keep, last)
    surplus = duplicates.surplus
    dropped = _dropped(flags, policy) | (surplus & (policy.near_duplicates == "drop"))
    rescued = _last_of_class(scores, dropped)
    action = _actions({**flags, "near_duplicates": surplus}, policy)
    action[rescued] = "keep"
    dropped[rescued] = False
    reasons = _reasons(scores, names, cuts, flags, duplicates, doubts, rescued)
    return Decisions(cuts, flags, duplicates, conflicting(duplicates, scores), dropped, action, reasons, policy)


def _cuts(scores: Scores, thresholds: Thresholds) -> dict[str, float]:
    """Issue: score below which it is flagged; leakage is decided as near duplicates are."""
    cuts = dict.fromkeys(ISSUES, -math.inf)
    for issue, automatic in scores.automatic.items():
        cuts[issue] = thresholds.resolve(issue, automatic, scores.of(issue), scores.calibration.get(issue))
    if scores.leaks is not None:
        is_auto = thresholds.near_duplicates == "auto"
        cuts["leakage"] = scores.leaks.automatic if is_auto else cuts["near_duplicates"]
    return cuts


def _dropped(flags: Mapping[str, Bools], policy: Policy) -> Bools:
    """What is dropped by itself, and not as a surplus copy."""
    issues = [issue for issue in flags if issue != "near_duplicates" and policy.action(issue) == "drop"]
    dropped: Bools = np.any([np.zeros_like(flags["unreadable"]), *(flags[issue] for issue in issues)], axis=0)
    return dropped


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
    names: Sequence[str] | None,
    cuts: Mapping[str, float],
    flags: Mapping[str, Bools],
    duplicates: DuplicateSets,
    doubts: Mapping[int, Mapping[int, int]],
    rescued: NDArray[np.int64],
) -> tuple[str, ...]:
    """Why each sample is flagged, in plain words."""
    reasons: dict[int, list[str]] = {}

    def say(position: int, text: str) -> None:
        reasons.setdefault(position, []).append(text)

    for i, text in _copies(scores, names, flags["near_duplicates"], duplicates):
        say(i, text)
    for i in flags["off_topic"].nonzero()[0].tolist():
        say(i, f"off topic (score {scores.off_topic[i]:.4g} below {cuts['off_topic']:.4g})")
    for i in flagged(scores.label, cuts["label_errors"]).nonzero()[0].tolist():
        given, other = (_name(scores, codes[i]) for codes in (scores.given_label, scores.predicted_label))
        doubt = f"looks like {other}" if other != given else "in doubt"
        say(i, f"label {given} {doubt} (score {scores.label[i]:.4g} below {cuts['label_errors']:.4g})")
    told = {id(labels): _counted(scores, labels) for labels in doubts.values()}
    for i, labels in doubts.items():
        say(i, f"its copies carry different labels: {told[id(labels)]}")
    for i, text in _leaked(scores, cuts.get("leakage", -math.inf)):
        say(i, text)
    for i, error in scores.errors.items():
        say(i, f"unreadable ({error})")
    for i in rescued.tolist():
        say(i, "kept all the same: its class would be empty")
    return tuple("; ".join(reasons.get(i, (NOTHING,))) for i in range(len(scores)))


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
            where = f"set {number}, {size[number]} copies, distance {duplicates.distance[i]:.4g}"
            yield i, f"near duplicate of {called(kept)} ({where})"


def _leaked(scores: Scores, cut: float) -> Iterator[tuple[int, str]]:
    """Per sample and other split that holds it too, where its nearest there is."""
    leaks = scores.leaks
    if leaks is None:
        return
    seen = set()
    for pair in flagged(leaks.score, cut).nonzero()[0].tolist():  # worst first
        at, split = int(leaks.index[pair]), leaks.name(pair)
        if (at, split) not in seen:
            seen.add((at, split))
            name = leaks.other_names[pair] if leaks.other_names else ""
            place = f"index {leaks.other_index[pair]}" + (f", {name}" if name else "")
            yield at, f"also in {split} ({place}, distance {leaks.distance[pair]:.4g})"


def _counted(scores: Scores, labels: Mapping[int, int]) -> str:
    """Labels with how often they are there, the most frequent first."""
    common = sorted(labels.items(), key=lambda label: (-label[1], label[0]))
    shown = ", ".join(f"{_name(scores, code)} ({count})" for code, count in common[:SHOWN])
    return shown + (f" and {len(common) - SHOWN} more" if len(common) > SHOWN else "")


def _name(scores: Scores, code: int) -> str:
    return scores.class_names[code] if scores.class_names and 0 <= code < len(scores.class_names) else str(code)
