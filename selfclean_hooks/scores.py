"""Scores: all that an audit measured, as plain arrays. Flags, actions and clean indices are derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.calibration import Calibration
from selfclean_hooks.errors import DataError
from selfclean_hooks.thresholds import ISSUES

if TYPE_CHECKING:
    from selfclean_hooks.leaks import Leaks


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
    leaks: Leaks | None = None  # what other splits share with this one; None: not checked
    tree_scaled: NDArray[np.float32] | None = None  # (M,) scores of the tree's pairs; None: their distances
    reach: NDArray[np.float32] | None = None  # (N,) distance that makes up a sample's neighbourhood; None: not measured
    calibration: Mapping[str, Calibration] = field(default_factory=dict)  # issue: what its scores mean, where known
    # Labels that are no classes: numbers (N,) float64, NaN: none; or several labels a sample, (N, C) bool.
    targets: NDArray[Any] | None = None
    # (N,) float64: the number foretold, NaN: none; or of several labels 2 c + 1 where label c seems missing, 2 c where
    # it seems wrong, -1: none.
    foretold: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.near_duplicate)

    @property
    def tree_score(self) -> NDArray[np.float32]:
        """(M,) scores of the tree's pairs."""
        return self.tree_distance if self.tree_scaled is None else self.tree_scaled

    def of(self, issue: str) -> NDArray[np.float64]:
        """(N,) scores of near duplicates, off-topic samples or label errors."""
        return {"near_duplicates": self.near_duplicate, "off_topic": self.off_topic, "label_errors": self.label}[issue]

    @property
    def issues(self) -> tuple[str, ...]:
        """What there may be in a report: leakage only where it was looked for."""
        return (*ISSUES, *(() if self.leaks is None else ("leakage",)), "unreadable")


def as_vectors(vectors: Any) -> NDArray[np.floating]:
    """Check (N, D) vectors: real, finite, not all alike, at least two. Copies nothing that is a float array already."""
    array = any_array(vectors, "embeddings must be (N, D)")
    if array.ndim != 2:
        raise DataError(f"embeddings must be (N, D), got {array.shape}")
    if array.dtype.kind not in "fiub":
        raise DataError(f"embeddings must be real numbers, got dtype {array.dtype}")
    if len(array) < 2 or array.shape[1] == 0:
        raise DataError(
            f"an audit compares samples: it needs at least 2 embeddings of at least 1 dimension, got {array.shape}"
        )
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
    bad = not_finite(array)
    if len(bad):
        raise DataError(
            f"embeddings must be finite, got NaN or infinity in {len(bad)} of {len(array)} rows, index {listing(bad)}: "
            "leave these samples out or mend the encoder"
        )
    if all(bool((array[start : start + 4096] == array[0]).all()) for start in range(0, len(array), 4096)):
        raise DataError(
            f"all {len(array)} embeddings are identical: nothing can be compared. Check that the data set returns "
            "different samples, or choose another backbone"
        )
    return array


def spread(scores: Scores, positions: NDArray[np.int64], n: int, **changes: Any) -> Scores:
    """The scores of the samples at `positions` among n samples; the others (unreadable ones) get NaN and -1."""

    def of_samples(values: NDArray[Any], missing: float) -> NDArray[Any]:
        out = np.full(n, missing, values.dtype)
        out[positions] = values
        return out

    neighbor = np.where(scores.nearest_neighbor >= 0, positions[scores.nearest_neighbor], -1)
    return Scores(
        near_duplicate=of_samples(scores.near_duplicate, np.nan),
        off_topic=of_samples(scores.off_topic, np.nan),
        label=of_samples(scores.label, np.nan),
        nearest_neighbor=of_samples(neighbor, -1),
        given_label=of_samples(scores.given_label, -1),
        predicted_label=of_samples(scores.predicted_label, -1),
        pair_index=positions[scores.pair_index],
        pair_distance=scores.pair_distance,
        pair_score=scores.pair_score,
        tree_index=positions[scores.tree_index],
        tree_distance=scores.tree_distance,
        tree_scaled=scores.tree_scaled,
        reach=None if scores.reach is None else of_samples(scores.reach, np.nan),
        pairs_complete_below=scores.pairs_complete_below,
        automatic=scores.automatic,
        not_run=scores.not_run,
        pixels=None if scores.pixels is None else of_samples(scores.pixels, -1),
        targets=None if scores.targets is None else spread_labels(scores.targets, positions, n),
        foretold=None if scores.foretold is None else of_samples(scores.foretold, np.nan),
        leaks=None if scores.leaks is None else scores.leaks.spread(positions, n),
        calibration=scores.calibration,
        **changes,
    )


def spread_labels(labels: NDArray[Any], positions: NDArray[np.int64], n: int) -> NDArray[Any]:
    """The labels of the samples at `positions` among n samples; the others have none: -1, NaN, or none of several."""
    missing = {"i": -1, "f": np.nan, "b": False}[labels.dtype.kind]
    out = np.full((n, *labels.shape[1:]), missing, labels.dtype)
    out[positions] = labels
    return out


def listing(positions: Sequence[int] | NDArray[np.int64], most: int = 10) -> str:
    """Positions as text, the first `most` of them: "3, 17, 40 and 2 more"."""
    shown = ", ".join(str(int(p)) for p in positions[:most])
    return shown + (f" and {len(positions) - most} more" if len(positions) > most else "")


def any_array(values: Any, wanted: str) -> NDArray[Any]:
    """Anything like an array as one; tensors of a type that numpy lacks as float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        raise DataError(f"{wanted}, got {type(values).__name__} with items of different shapes") from None


def not_finite(array: NDArray[np.floating], chunk: int = 4096) -> NDArray[np.int64]:
    """Rows of (N, D) with NaN or infinity in them, found without an (N, D) of bools."""
    parts = [np.isfinite(array[start : start + chunk]).all(1) for start in range(0, len(array), chunk)]
    return (~np.concatenate(parts)).nonzero()[0]
