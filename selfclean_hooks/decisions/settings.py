"""Settings of the decisions. Thresholds: where a score becomes a flag. Policy: what a flag does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import is_fraction


@dataclass(frozen=True)
class FDR:
    """As many flags as possible with an estimated false discovery rate of at most `q` (0 <= q < 1)."""

    q: float

    def __post_init__(self) -> None:
        if not is_fraction(self.q) or self.q == 1:
            raise SettingError(f"FDR takes the fraction of flags that may be wrong, in [0, 1), got {self.q!r}")

    def __str__(self) -> str:
        return f"fdr:{self.q:g}"


@dataclass(frozen=True)
class Top:
    """The worst `fraction` of all samples, in [0, 1], whatever their scores; all samples of one score or none."""

    fraction: float

    def __post_init__(self) -> None:
        if not is_fraction(self.fraction):
            raise SettingError(f"Top takes a fraction of the samples in [0, 1], got {self.fraction!r}")

    def __str__(self) -> str:
        return f"top:{self.fraction:g}"


Threshold = float | FDR | Top | Literal["auto"] | None


@dataclass(frozen=True)
class Thresholds:
    """What is flagged, per issue.

    "auto": what the detector judges best (see `selfclean_hooks/detectors/README.md`). `FDR(0.1)`: as many as possible
    with at most 10% of the flags wrong, as estimated. `Top(0.05)`: the worst 5%. A score in [0, 1]: whatever is below
    it. None: nothing. For near duplicates the score is that of a pair. Exact copies (score 0) are flagged by every
    threshold but None.
    """

    near_duplicates: Threshold = "auto"
    off_topic: Threshold = "auto"
    label_errors: Threshold = "auto"
    group_leakage: Threshold = "auto"
    image_quality: Threshold = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_word = value is None or (isinstance(value, str) and value == "auto")
            if not is_word and not isinstance(value, (FDR, Top)) and not is_fraction(value):
                raise SettingError(
                    f'the threshold of {field.name} must be "auto", a score in [0, 1], FDR(...), Top(...) or None, '
                    f"got {value!r}"
                )

    def resolve(
        self, issue: str, automatic: float, scores: NDArray[np.floating], calibration: Calibration | None = None
    ) -> float:
        """The score below which `issue` is flagged; -inf if nothing is to be flagged.

        Args:
            issue: which.
            automatic: what "auto" stands for.
            scores: (N,) of that issue.
            calibration: of these scores; FDR needs it.

        Raises:
            SettingError: FDR is asked for, and the scores have no calibration.
        """
        value = getattr(self, issue)
        if value is None:
            return -math.inf
        if isinstance(value, str):
            return automatic
        if isinstance(value, Top):
            return _score_at_fraction(scores, value.fraction)
        if not isinstance(value, FDR):
            return float(value)
        if calibration is None:
            raise SettingError(
                f"the threshold {value} of {issue} needs calibrated scores: audit with "
                'method="default", or give a score'
            )
        return calibration.fdr_threshold(scores, value.q)

    def is_fixed(self, issue: str) -> bool:
        """Whether the threshold of `issue` is a given score or None, independent of the data."""
        value = getattr(self, issue)
        return value is None or isinstance(value, Real)

    def to_dict(self) -> dict[str, float | str | None]:
        """The settings as numbers and strings; the inverse of `from_dict`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {issue: str(value) if isinstance(value, (FDR, Top)) else value for issue, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Thresholds:
        """The inverse of `to_dict`.

        Raises:
            SettingError: a value is not a threshold.
        """
        return cls(**{issue: parse_threshold(value) for issue, value in values.items()})


def parse_threshold(value: Any) -> Any:
    """A threshold from a string such as "fdr:0.1" or "top:5%"; anything else is returned unchanged."""
    kind, colon, number = value.partition(":") if isinstance(value, str) else ("", "", "")
    kind_class = {"fdr": FDR, "top": Top}.get(kind)
    if kind_class is None or not colon:
        return value
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        return value
    return kind_class(share)


def _score_at_fraction(scores: NDArray[np.floating], fraction: float) -> float:
    """The score below which at most that fraction of the samples lies."""
    ordered = np.sort(np.asarray(scores, np.float64)[~np.isnan(scores)])
    count = int(fraction * len(ordered) + 1e-9)
    return float(ordered[count]) if count < len(ordered) else math.nextafter(1, 2)


def is_below(score: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """True where a score is below the threshold, or exactly 0 unless the threshold is -inf. NaN is never flagged."""
    exact = np.asarray(score, np.float64)  # numpy would round the threshold to the precision of the scores
    return np.asarray((exact < threshold) | ((exact == 0) & (threshold > -math.inf)))


def required_pair_score(thresholds: Thresholds) -> float:
    """The score below which every pair is needed."""
    value = thresholds.near_duplicates
    return float(value) if isinstance(value, Real) else 0.0


Keep = Literal["first", "most_central", "largest_image"]
Action = Literal["ignore", "warn", "drop", "raise"]
LabelAction = Literal["ignore", "warn", "relabel", "drop", "raise"]


@dataclass(frozen=True)
class Policy:
    """What is done about the flagged samples of each issue.

    "ignore", "warn", "drop" (leave out of the clean indices) or "raise" (stop). One copy of each set of near
    duplicates is kept; no class is emptied; dropping more than `max_drop_fraction` of the samples is an error and not
    a mass drop, and so is relabelling that many.
    `label_errors="relabel"` gives flagged samples their predicted label where that is probably right, drops them where
    no label is, and leaves the rest as they are; the given labels stay on record. It is for one class a sample, in
    training data only.
    `leakage` and `group_leakage` are for training samples with near duplicates, or of groups, in other splits too.
    `keep` says which copy: the "first", the "most_central" (most near duplicates, least distance to them) or the
    "largest_image" (pixels). One that is dropped for another reason, or whose label most other copies do not carry, is
    kept only where there is no other.
    """

    near_duplicates: Action = "warn"
    off_topic: Action = "warn"
    label_errors: LabelAction = "warn"
    unreadable: Action = "warn"
    max_drop_fraction: float = 0.5
    leakage: Action = "warn"
    keep: Keep = "first"
    group_leakage: Action = "warn"
    image_quality: Action = "warn"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "max_drop_fraction":
                continue
            known = get_args({"keep": Keep, "label_errors": LabelAction}.get(field.name, Action))
            if getattr(self, field.name) not in known:
                what = "keep" if field.name == "keep" else f"the policy for {field.name}"
                raise SettingError(f"{what} must be one of {', '.join(known)}, got {getattr(self, field.name)!r}")
        if not is_fraction(self.max_drop_fraction):
            raise SettingError(f"max_drop_fraction must be in [0, 1], got {self.max_drop_fraction!r}")

    def action(self, issue: str) -> LabelAction:
        """What is done about `issue`."""
        action: LabelAction = getattr(self, issue)
        return action

    @property
    def changes_data(self) -> bool:
        """Whether samples are dropped or relabelled for any issue."""
        return not {"drop", "relabel"}.isdisjoint(map(str, asdict(self).values()))

    def without_changes(self) -> Policy:
        """The same for data that must stay as it is: "drop" and "relabel" become "warn"."""
        changing: dict[str, Any] = {i: "warn" for i, action in asdict(self).items() if action in ("drop", "relabel")}
        return replace(self, **changing)


def split_policies(policy: Policy | Mapping[str, Policy] | None, splits: Iterable[str]) -> dict[str, Policy]:
    """A policy for every split, the training split first.

    Raises:
        SettingError: there is no such split, or samples would be dropped from another one than the first.
    """
    first, *rest = splits
    if not isinstance(policy, Mapping):
        policy = check_policy(policy)
        return {first: policy, **dict.fromkeys(rest, policy.without_changes())}
    unknown = [name for name in policy if name not in (first, *rest)]
    if unknown:
        names = ", ".join([first, *rest])
        raise SettingError(f"policies must be given by the name of a split ({names}), got {unknown[0]!r}")
    policies = {name: check_policy(policy.get(name)) for name in (first, *rest)}
    for name in rest:
        if policies[name] != policies[name].without_changes():
            drops = "drop" in asdict(policies[name]).values()
            said, done = ("drop", "dropped only from") if drops else ("relabel", "relabelled only in")
            raise SettingError(
                f"the policy of {name!r} says {said!r}: samples are {done} the training split ({first!r}): results on "
                "the others would no longer be comparable. Choose 'warn' or 'raise'"
            )
    return policies


def check_policy(policy: Policy | None) -> Policy:
    """The policy, the default for None; raises a SettingError for anything else."""
    policy = Policy() if policy is None else policy
    if not isinstance(policy, Policy):
        raise SettingError(f"policy must be a Policy, as Policy(near_duplicates=...), got {policy!r}")
    return policy
