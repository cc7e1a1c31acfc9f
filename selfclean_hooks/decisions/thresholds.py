"""Thresholds: where a score becomes a flag."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal

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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or isinstance(value, (FDR, Top)) or (isinstance(value, str) and value == "auto"):
                continue
            if not is_fraction(value):
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
