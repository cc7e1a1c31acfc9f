"""Scores: everything an audit measured, as plain arrays, and labels among them as text. Decisions are derived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.core.issues import BY_NAME, ISSUES, Issue
from selfclean_hooks.core.labels import scatter_labels
from selfclean_hooks.utils.arrays import digits_in_common


@dataclass(frozen=True, eq=False)
class LeakPairs:
    """The nearest pairs of samples between one split and others, worst first.

    These are the nearest sample in the other split of every sample on both sides, and all further neighbours below the
    near-duplicate threshold. Unreadable samples are in no pair.
    """

    splits: tuple[str, ...]  # the audited split first, then the others
    sizes: tuple[int, ...]  # samples in each
    other: NDArray[np.int64]  # (P,) number of the other split in `splits`, from 1
    index: NDArray[np.int64]  # (P,) position in the audited split
    other_index: NDArray[np.int64]  # (P,) position in the other split
    distance: NDArray[np.float32]  # (P,) in [0, 1]; 0: the same content
    other_names: tuple[str, ...] | None = None  # (P,) file behind each sample of the other split, "" where unknown
    other_digests: tuple[str, ...] | None = None  # (P,) content of each sample of the other split, "" where unknown
    scaled_score: NDArray[np.float32] | None = None  # (P,) by the local scale in the training split; None: distance
    automatic: float = 0.0  # score below which "auto" flags: that of the training split, or of copies that are certain

    @classmethod
    def empty(cls) -> LeakPairs:
        """No pairs."""
        nothing = np.empty(0, np.int64)
        return cls((), (0,), nothing, nothing, nothing, nothing.astype(np.float32))

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.distance)

    @property
    def score(self) -> NDArray[np.float32]:
        """(P,) in [0, 1], low = near duplicates."""
        return self.distance if self.scaled_score is None else self.scaled_score

    @cached_property
    def worst(self) -> NDArray[np.float32]:
        """(N,) smallest score of the pairs that each sample of the audited split is in; NaN: not compared."""
        worst = np.full(self.sizes[0], np.nan, np.float32)
        np.fmin.at(worst, self.index, self.score)
        return worst

    def scatter(self, positions: NDArray[np.int64], n: int) -> LeakPairs:
        """The same where the samples of the audited split are those at `positions` among n."""
        return replace(self, index=positions[self.index], sizes=(n, *self.sizes[1:]))

    def other_split(self, pair: int) -> str:
        """The other split of a pair."""
        return self.splits[int(self.other[pair])]


class PairScales(NamedTuple):
    """What the distances of pairs are compared with, in the network and in the pixels; None: not measured."""

    local: NDArray[np.float32] | None = None  # (N,)
    pixel: NDArray[np.float32] | None = None  # (N,)


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured of N samples. Scores are in [0, 1], low = worse, NaN = not scored (unreadable or not run)."""

    near_duplicate: NDArray[np.float64]  # (N,) smallest score of its pairs
    off_topic: NDArray[np.float64]  # (N,)
    label: NDArray[np.float64]  # (N,)
    nearest_neighbor: NDArray[np.int64]  # (N,) -1: none
    given_label: NDArray[np.int64]  # (N,) class code, -1: none
    predicted_label: NDArray[np.int64]  # (N,) class code, -1: none
    pair_index: NDArray[np.int64]  # (P, 2) smaller position first; nearest first
    pair_distance: NDArray[np.float32]  # (P,)
    pair_score: NDArray[np.float32]  # (P,)
    tree_index: NDArray[np.int64]  # (M, 2) single-linkage tree
    tree_distance: NDArray[np.float32]  # (M,) ascending
    pairs_complete_below: float  # score below which every pair is listed
    automatic: Mapping[str, float]  # issue: score below which "auto" flags
    not_run: Mapping[str, str] = field(default_factory=dict)  # issue: why
    errors: Mapping[int, str] = field(default_factory=dict)  # position: why it could not be read
    class_names: tuple[str, ...] | None = None
    pixels: NDArray[np.int64] | None = None  # (N,) width x height, -1: unknown; None: no images
    leaks: LeakPairs | None = None  # near duplicates in other splits; None: not checked
    scaled_tree_score: NDArray[np.float32] | None = None  # (M,) scores of the tree's pairs; None: their distances
    local_scale: NDArray[np.float32] | None = None  # (N,) distance to an ordinary neighbour; None: not measured
    pixel_scale: NDArray[np.float32] | None = None  # (N,) what its image differs from that one's; None: no images
    mirrored: NDArray[np.bool_] | None = None  # (P,) whether the pair are mirror images; None: not looked at
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # issue: calibration, where estimated
    # Labels that are not classes, see `core.labels`: regression targets (N,), or several labels a sample (N, C).
    targets: NDArray[Any] | None = None
    # (N,) float64: the predicted regression target, NaN: none; for several labels a sample, 2 c + 1 where label c seems
    # missing, 2 c where it seems wrong, -1: none.
    predicted_target: NDArray[np.float64] | None = None
    # (N,) probability that the predicted label is right if the given one is wrong; NaN: none, or they are the same.
    prediction_confidence: NDArray[np.float64] | None = None
    extra: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # issue without a field of its own: (N,)
    aspects: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # issue: (N, A), see `Issue.aspects`

    def __len__(self) -> int:
        return len(self.near_duplicate)

    @property
    def pair_scales(self) -> PairScales:
        """What the distances of pairs are compared with."""
        return PairScales(self.local_scale, self.pixel_scale)

    @property
    def tree_score(self) -> NDArray[np.float32]:
        """(M,) scores of the tree's pairs."""
        return self.tree_distance if self.scaled_tree_score is None else self.scaled_tree_score

    def of(self, issue: str) -> NDArray[Any]:
        """(N,) scores of an issue that has a threshold; NaN where it was not looked for."""
        if issue == "leakage" and self.leaks is not None:
            return self.leaks.worst
        stem = BY_NAME[issue].score_field
        scores = getattr(self, stem) if hasattr(self, stem) else self.extra.get(issue, np.full(len(self), np.nan))
        return np.asarray(scores)

    @property
    def issues(self) -> tuple[str, ...]:
        """What there may be in a report: all that was looked for or says in `not_run` why not."""
        return tuple(issue.name for issue in ISSUES if self._is_known(issue))

    @property
    def ran(self) -> tuple[str, ...]:
        """Issues that were looked for."""
        return tuple(issue for issue in self.issues if issue not in self.not_run)

    @cached_property
    def target_digits(self) -> int:
        """Digits that tell regression targets apart."""
        return 6 if self.targets is None else 6 + digits_in_common(self.targets)

    def _is_known(self, issue: Issue) -> bool:
        if issue.name == "leakage":
            return self.leaks is not None
        if not issue.score_field or hasattr(self, issue.score_field):
            return True
        return issue.name in self.extra or issue.name in self.not_run


def scatter_scores(scores: Scores, positions: NDArray[np.int64], n: int, **changes: Any) -> Scores:
    """The scores of the samples at `positions` among n samples; the others (unreadable ones) get NaN and -1."""

    def of_samples(values: NDArray[Any], missing: float) -> NDArray[Any]:
        out = np.full(n, missing, values.dtype)
        out[positions] = values
        return out

    def optional(values: NDArray[Any] | None, missing: float) -> NDArray[Any] | None:
        return None if values is None else of_samples(values, missing)

    neighbor = np.where(scores.nearest_neighbor >= 0, positions[scores.nearest_neighbor], -1)
    return replace(
        scores,
        near_duplicate=of_samples(scores.near_duplicate, np.nan),
        off_topic=of_samples(scores.off_topic, np.nan),
        label=of_samples(scores.label, np.nan),
        nearest_neighbor=of_samples(neighbor, -1),
        given_label=of_samples(scores.given_label, -1),
        predicted_label=of_samples(scores.predicted_label, -1),
        pair_index=positions[scores.pair_index],
        tree_index=positions[scores.tree_index],
        local_scale=optional(scores.local_scale, np.nan),
        pixel_scale=optional(scores.pixel_scale, np.nan),
        pixels=optional(scores.pixels, -1),
        targets=None if scores.targets is None else scatter_labels(scores.targets, positions, n),
        predicted_target=optional(scores.predicted_target, np.nan),
        prediction_confidence=optional(scores.prediction_confidence, np.nan),
        extra={issue: of_samples(values, np.nan) for issue, values in scores.extra.items()},
        leaks=None if scores.leaks is None else scores.leaks.scatter(positions, n),
        **changes,
    )


MAX_LABELS = 12  # labels of one sample that are listed


def class_name(scores: Scores, code: int) -> str:
    """The name of a class: its code where it has none."""
    names = scores.class_names
    return names[code] if names and 0 <= code < len(names) else str(code)


def label_texts(scores: Scores) -> list[str]:
    """The given label of each sample."""
    targets = scores.targets
    if targets is None:
        return [class_name(scores, code) for code in scores.given_label.tolist()]
    if targets.ndim == 1:
        return _format_numbers(targets, scores.target_digits)
    return [_join_names(scores, row, i) for i, row in enumerate(targets)]


def predicted_texts(scores: Scores) -> list[str]:
    """The predicted label or target of each sample. "" where there is none."""
    targets, predicted = scores.targets, scores.predicted_target
    if targets is None or predicted is None:
        return [class_name(scores, code) for code in scores.predicted_label.tolist()]
    if targets.ndim == 1:
        return _format_numbers(predicted, scores.target_digits)
    better, rows = targets.copy(), (predicted >= 0).nonzero()[0]
    codes = predicted[rows].astype(np.int64)
    better[rows, codes // 2] = codes % 2
    return [_join_names(scores, row, i) for i, row in enumerate(better)]


def describe_label_issue(scores: Scores, i: int) -> str:
    """Why the label of a sample looks wrong."""
    targets, predicted = scores.targets, scores.predicted_target
    if targets is None or predicted is None:
        given, other = (class_name(scores, int(codes[i])) for codes in (scores.given_label, scores.predicted_label))
        return f"label {given} " + (f"looks like {other}" if other != given else "in doubt")
    if targets.ndim == 1:
        given, other = (f"{values[i]:.{scores.target_digits - 2}g}" for values in (targets, predicted))
        return f"target {given}, predicted {other}"
    code = int(predicted[i])
    if code < 0 or code % 2 == int(targets[i, code // 2]):
        return f"labels {_join_names(scores, targets[i], i)} in doubt"
    return f"label {class_name(scores, code // 2)} seems " + ("missing" if code % 2 else "wrong")


def _format_numbers(values: NDArray[np.float64], digits: int) -> list[str]:
    return ["" if np.isnan(value) else f"{value:.{digits}g}" for value in values.tolist()]


def _join_names(scores: Scores, labels: NDArray[Any], i: int) -> str:
    """The labels that sample i has, of (C,); "" where it is unreadable or all are unknown."""
    held, unknown = (labels == 1).nonzero()[0], int((labels == -1).sum()) if labels.dtype.kind == "i" else 0
    if i in scores.errors or unknown == len(labels):
        return ""
    text = ", ".join(class_name(scores, int(c)) for c in held[:MAX_LABELS]) or "none"
    text += f" and {len(held) - MAX_LABELS} more" if len(held) > MAX_LABELS else ""
    return text + (f" ({unknown} unknown)" if unknown else "")
