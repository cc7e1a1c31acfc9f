"""Decisions: flags, duplicate sets, actions and clean indices from scores, thresholds, policy and review."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.scores import Scores, class_name
from selfclean_hooks.decisions.duplicate_sets import DuplicateSets, sets_with_label_conflicts
from selfclean_hooks.decisions.flags import compose_reasons, compute_flags
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.decisions.review.reviewed_sets import reviewed_sets
from selfclean_hooks.decisions.review.verdicts import review_verdicts
from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.utils.arrays import BoolArray, FloatArray

RELIABLE = 0.5  # probability from which a predicted label is used: it is right more often than not
# probability from which a flagged label is kept as it is: not much more than a chance, as people's wrong labels are
# more frequent than estimated (benchmarks/quality)
PROBABLY_RIGHT = 0.6


@dataclass(frozen=True, eq=False)
class Relabelling:
    """What becomes of the flagged labels of N samples."""

    replaced: BoolArray  # (N,) gets the predicted label
    dropped: BoolArray  # (N,) has no label to be relied on
    probability: FloatArray  # (N,) that the predicted label is right

    def without(self, dropped: BoolArray) -> Relabelling:
        """The same where samples (N,) are dropped for another reason."""
        return Relabelling(self.replaced & ~dropped, self.dropped, self.probability)

    def labels(self, scores: Scores) -> dict[int, str]:
        """Position -> predicted label."""
        return {i: class_name(scores, int(scores.predicted_label[i])) for i in self.replaced.nonzero()[0].tolist()}

    def reasons(self, scores: Scores) -> dict[int, str]:
        """Position -> what was done about the label, in words."""
        done = {
            i: f"relabelled as {label} ({self.probability[i]:.0%} likely)" for i, label in self.labels(scores).items()
        }
        return done | dict.fromkeys(self.dropped.nonzero()[0].tolist(), "dropped: no label is likely enough")


def relabelling(scores: Scores, doubtful: BoolArray) -> Relabelling:
    """What becomes of doubtful labels (N,) under the policy "relabel".

    The predicted label is right with the probability that the given one is wrong, times that of the prediction if so.
    """
    calibration = scores.calibration.get("label_errors")
    probability, right = np.zeros(len(scores)), np.zeros(len(scores))
    if calibration is not None and scores.prediction_confidence is not None:
        right = calibration.probability_clean(scores.label)
        probability = np.nan_to_num((1 - right) * scores.prediction_confidence)
    replaced = doubtful & (probability >= RELIABLE)
    return Relabelling(replaced, doubtful & ~replaced & ~(right >= PROBABLY_RIGHT), probability)


def why_not(scores: Scores) -> str:
    """Why labels of an audit cannot be replaced, and what to do; "": they can."""
    if scores.targets is not None:
        kind = "regression targets" if scores.targets.ndim == 1 else "several a sample"
        return f"the labels are {kind}, and only classes are replaced: choose 'warn' or 'drop'"
    if "label_errors" in scores.not_run or (scores.prediction_confidence is not None):
        return ""
    return "these scores say nothing about how likely the predicted labels are: audit again with method='default'"


@dataclass(frozen=True, eq=False)
class Decisions:
    """Flags and actions per sample, derived from scores, thresholds, policy and review."""

    thresholds: Mapping[str, float]  # issue: score below which it is flagged, -inf: none are
    flags: Mapping[str, BoolArray]  # issue: (N,) flagged, and not rejected in a review
    duplicates: DuplicateSets
    conflicts: frozenset[int]  # numbers of the duplicate sets whose copies carry different labels
    dropped: BoolArray  # (N,) left out of the clean indices
    action: NDArray[Any]  # (N,) "keep", "warn", "relabel", "drop" or "raise", the strongest where several apply
    reason: tuple[str, ...]  # in plain words
    policy: Policy
    pairs: BoolArray  # (P,) listed pairs of near duplicates, except rejected ones
    leaks: BoolArray  # (L,) the same for pairs with samples of other splits
    confirmed: BoolArray  # (N,) dropped because a reviewer confirmed a finding
    dismissed: Mapping[str, BoolArray]  # issue: (N,) would be flagged without the review
    relabelled: Mapping[int, str]  # position -> new label given by a reviewer
    replaced: Mapping[int, str]  # position -> predicted label, where the policy relabels
    marks: Mapping[
        str, Mapping[int, Mark]
    ]  # issue -> position -> the mark that counts; for leakage confirmed ones only
    unmatched: tuple[Mark, ...]  # marks that match no sample
    why_not_relabelled: str = ""  # why the policy "relabel" cannot be followed; "": it can, or is not asked for

    @property
    def sets(self) -> NDArray[np.int64]:
        """(N,) number of the duplicate set, -1: none."""
        return self.duplicates.number

    @cached_property
    def surplus(self) -> BoolArray:
        """(N,) in a duplicate set and not its kept copy."""
        return self.duplicates.surplus

    def contamination_mask(self, issue: str) -> BoolArray:
        """(N,) the samples that count as contamination: all but the kept copy of each duplicate set."""
        return self.surplus if issue == "near_duplicates" else self.flags[issue]

    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending: all samples that are not dropped.

        Raises:
            PolicyError: more than `max_drop_fraction` would be dropped or relabelled, not counting what reviewers
                confirmed; or labels cannot be replaced.
        """
        if self.why_not_relabelled:
            raise PolicyError(f"the policy for label_errors is 'relabel', but {self.why_not_relabelled}")
        dropped = self.dropped & ~self.confirmed
        changed = dropped | np.isin(np.arange(len(dropped)), list(self.replaced))
        if changed.mean() > self.policy.max_drop_fraction:
            causes = {
                issue: int((self.contamination_mask(issue) & changed).sum())
                for issue in self.flags
                if self.policy.action(issue) in ("drop", "relabel")
            }
            done = f"drop {dropped.sum()}" + (f" and relabel {len(self.replaced)}" if self.replaced else "")
            raise PolicyError(
                f"the policy would {done} of {len(dropped)} samples ({changed.mean():.0%}), more than "
                f"max_drop_fraction={self.policy.max_drop_fraction} ("
                + ", ".join(f"{issue} {count}" for issue, count in causes.items() if count)
                + "). An issue that hits this much says more about the thresholds or the representation than about the "
                "data: inspect the flags, lower the thresholds, or raise max_drop_fraction"
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
    """Flags, duplicate sets, actions and reasons; all derived, without state between calls.

    Args:
        scores: of N samples.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        names: (N,) file of each sample, "" where unknown; shown in reasons.
        digests: (N,) content of each sample, "" where unknown; matches reviewed samples.
        review: decisions of reviewers. What they rejected is not flagged; what they confirmed is flagged and dropped.
    """
    verdicts = review_verdicts(review, scores, names, digests)
    flagged = compute_flags(scores, thresholds, review, verdicts)
    relabels = policy.label_errors == "relabel"
    why = why_not(scores) if relabels else ""
    new = relabelling(scores, flagged.flags["label_errors"] & relabels & (why == ""))
    dropped_alone = np.any([_policy_drops(flagged.flags, policy), new.dropped, *verdicts.confirmed.values()], axis=0)
    last = 2 * dropped_alone + np.isin(
        np.arange(len(scores)), list(flagged.label_conflicts)
    )  # a doubtful label is better than a drop
    copies = reviewed_sets(scores, flagged.thresholds["near_duplicates"], policy.keep, last, verdicts.near_duplicates)
    confirmed: BoolArray = np.any([copies.confirmed, *verdicts.confirmed.values()], axis=0)
    surplus, flags = copies.duplicates.surplus, {"near_duplicates": copies.flags, **flagged.flags}
    dropped = dropped_alone | confirmed | (surplus & (policy.near_duplicates == "drop"))
    new = new.without(dropped)
    rescued = _rescue_emptied_classes(flagged.scores, dropped | new.replaced, confirmed)
    action = _strongest_actions({**flags, "near_duplicates": surplus}, policy, new)
    action[confirmed], action[rescued], dropped[rescued] = "drop", "keep", False
    new.replaced[rescued] = False
    marks = {**verdicts.marks, "near_duplicates": copies.marks}
    notes = new.reasons(scores) | dict.fromkeys(rescued.tolist(), "kept: its class would otherwise be empty")
    return Decisions(
        thresholds=flagged.thresholds,
        flags=flags,
        duplicates=copies.duplicates,
        conflicts=sets_with_label_conflicts(copies.duplicates, flagged.scores),
        dropped=dropped,
        action=action,
        reason=compose_reasons(scores, names, flagged, copies, notes, marks),
        policy=policy,
        pairs=copies.pairs,
        leaks=flagged.leaks,
        confirmed=confirmed,
        dismissed={"near_duplicates": copies.dismissed, **flagged.dismissed},
        relabelled=verdicts.relabelled,
        replaced=new.labels(scores),
        why_not_relabelled=why,
        marks=marks,
        unmatched=(*verdicts.unmatched, *copies.unmatched),
    )


def _policy_drops(flags: Mapping[str, BoolArray], policy: Policy) -> BoolArray:
    """What the policy drops for other reasons than being a surplus copy."""
    issues = [issue for issue in flags if issue != "near_duplicates" and policy.action(issue) == "drop"]
    dropped: BoolArray = np.any([np.zeros_like(flags["unreadable"]), *(flags[issue] for issue in issues)], axis=0)
    return dropped


def _rescue_emptied_classes(scores: Scores, dropped: BoolArray, confirmed: BoolArray) -> NDArray[np.int64]:
    """Samples to keep as they are: the least suspicious readable one of every class that would be emptied.

    Confirmed samples are not rescued: a class whose samples were all confirmed is left empty.
    """
    labels, readable = scores.given_label, ~np.isnan(scores.near_duplicate)
    worst = np.nanmin(np.stack([scores.off_topic, np.where(np.isnan(scores.label), 1, scores.label)]), axis=0)
    emptied = np.setdiff1d(labels[readable & dropped], labels[readable & ~dropped])
    rescued = []
    for label in emptied[emptied >= 0] if (labels >= 0).any() else emptied[:0]:
        members = (readable & (labels == label) & ~confirmed).nonzero()[0]
        rescued += [members[np.argmax(worst[members])]] if len(members) else []
    return np.array(rescued, np.int64)


def _strongest_actions(counted: Mapping[str, BoolArray], policy: Policy, new: Relabelling) -> NDArray[Any]:
    """The strongest action of every sample."""
    action = np.full(len(new.replaced), "keep", dtype="<U7")
    for name, relabelled in (("warn", None), ("relabel", new.replaced), ("drop", new.dropped), ("raise", None)):
        for issue, hit in counted.items():
            if policy.action(issue) == name:
                action[hit] = name
        if relabelled is not None:
            action[relabelled] = name
    return action
