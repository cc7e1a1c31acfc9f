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
    array = _array(vectors, "embeddings must be (N, D)")
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


def as_labels(labels: Any, n: int) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Class codes (N,) and, where the labels were words, the class names. None stays None."""
    if labels is None:
        return None, None
    array = _array(labels, f"labels must be one class per sample, shape ({n},)")
    if array.shape != (n,):
        raise DataError(f"labels must be one class per sample, shape ({n},), got {array.shape}")
    if array.dtype.kind in "iub":
        return array.astype(np.int64), None
    if array.dtype.kind == "f":
        odd = (~np.isfinite(array) | (array != np.trunc(np.nan_to_num(array)))).nonzero()[0]
        if len(odd):
            raise DataError(
                f"labels must be classes (integers or words), got {array[odd[0]].item()!r} at index {odd[0]} "
                f"({len(odd)} of {n} labels are none): leave labels out where the targets are no classes"
            )
        return array.astype(np.int64), None
    if array.dtype.kind in "US" and isinstance(labels, (list, tuple)):
        array = np.array(labels, object)  # an array of words may have been made of words and numbers
    if array.dtype.kind in "US" or all(isinstance(label, str) for label in array):
        names, codes = np.unique(array.astype(str), return_inverse=True)
        return codes.astype(np.int64), tuple(map(str, names))
    kinds = [type(label).__name__ for label in array]
    first = {kind: kinds.index(kind) for kind in kinds}
    raise DataError(
        "labels must be classes, all integers or all words, got "
        + ", ".join(f"{kind} (first {array[at]!r} at index {at})" for kind, at in first.items())
    )


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
        leaks=None if scores.leaks is None else scores.leaks.spread(positions, n),
        calibration=scores.calibration,
        **changes,
    )


def label_texts(scores: Scores) -> list[str]:
    """What the given label of each sample is called."""
    names, codes = scores.class_names or (), scores.given_label.tolist()
    return [names[code] if 0 <= code < len(names) else str(code) for code in codes]


def listing(positions: Sequence[int] | NDArray[np.int64], most: int = 10) -> str:
    """Positions as text, the first `most` of them: "3, 17, 40 and 2 more"."""
    shown = ", ".join(str(int(p)) for p in positions[:most])
    return shown + (f" and {len(positions) - most} more" if len(positions) > most else "")


def _array(values: Any, wanted: str) -> NDArray[Any]:
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
