"""The table of methods, and a run of one: neighbours and tree are computed once, then each issue is scored."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.core.labels import Labels, class_codes, has_label, is_classes
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.detectors.label_errors.detector import EnsembleLabelErrors
from selfclean_hooks.detectors.near_duplicates.detector import ScaledNearDuplicates
from selfclean_hooks.detectors.off_topic.detector import BranchOffTopic
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Detector, Finding, Geometry
from selfclean_hooks.detectors.selfclean import LabelErrors, NearDuplicates, OffTopic
from selfclean_hooks.neighbors.approximate_search import NeighborSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows, pair_distance_quantile
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.memory import release_freed, release_mapped
from selfclean_hooks.utils.text import Tick
from selfclean_hooks.utils.torch_settings import on_cpu


@dataclass(frozen=True)
class Method:
    """One detector per issue, and what they need."""

    detectors: tuple[Detector, ...]
    neighbors: int  # how many nearest neighbours of every sample
    by_class: bool  # whether also the nearest of the same and of another class
    targets: bool  # whether its label detector accepts regression targets and several labels a sample


METHODS = {
    "default": Method(
        (ScaledNearDuplicates(), BranchOffTopic(), EnsembleLabelErrors()), 20, by_class=False, targets=True
    ),
    "selfclean": Method((NearDuplicates(), OffTopic(), LabelErrors()), 12, by_class=True, targets=False),
}


@np.errstate(under="ignore")  # a user may let numpy raise where small numbers become 0
def score(
    vectors: NDArray[np.floating] | UnitRows,
    labels: Labels | None,
    *,
    method: str = "default",
    pairs_below: float = 0.0,
    why_no_labels: str = "there are no labels",
    miniatures: NDArray[np.uint8] | None = None,
    search: NeighborSearch = nearest_neighbors,
    tick: Tick | None = None,
) -> Scores:
    """Scores of N checked vectors; O(N) memory.

    Args:
        vectors: (N, D) finite; or unit rows that are made already.
        labels: classes (-1: none), regression targets or several labels a sample, see `core.labels`; or None.
        method: a key of `methods.METHODS`.
        pairs_below: every pair with a score below this is listed.
        why_no_labels: reason given for label errors where labels are None.
        miniatures: (N, 32, 32, 3) RGB of the samples, where all are images: near duplicates are compared by them too.
        search: of neighbours that vote alone, exact or an `ApproximateSearch`.
        tick: progress, called with (steps done, all steps).
    """
    chosen = METHODS[method]
    codes = class_codes(labels)
    values, classes = _encode_classes(codes)
    targets = labels if codes is None and chosen.targets else None
    classes = combination_codes(targets) if targets is not None and targets.ndim == 2 else classes
    why = _why_no_label_scores(labels, why_no_labels, method, chosen.targets)
    not_run = {"label_errors": why} if why else {}
    with on_cpu():
        x = UnitRows.of(vectors)
        if not isinstance(vectors, UnitRows):
            release_mapped(vectors)
        lists_all_pairs = len(x) * (len(x) - 1) // 2 <= MIN_PAIRS
        k = len(x) - 1 if lists_all_pairs else chosen.neighbors
        neighbors = nearest_neighbors(x, k, classes if chosen.by_class else None, tick=tick)
        tree = minimum_spanning_tree(x, neighbors)
        neighbors = replace(neighbors, bounds=None)  # they hold a copy of all rows
        release_freed(len(x))
        geometry = Geometry(
            x, classes, neighbors, tree, pair_distance_quantile(x), targets, pairs_below, miniatures, search
        )
        findings: dict[str, Finding] = {}
        for detector in chosen.detectors:
            if detector.issue not in not_run:
                findings[detector.issue] = found = detector(geometry)
                geometry = geometry if found.copies is None else replace(geometry, copies=found.copies)
                release_freed(len(x))
    return _assemble(geometry, findings, not_run, labels, codes, values)


def _assemble(
    geometry: Geometry,
    findings: dict[str, Finding],
    not_run: dict[str, str],
    labels: Labels | None,
    codes: IntArray | None,
    values: IntArray,
) -> Scores:
    """The findings of all detectors as one value; `values` are the codes of the classes."""
    n, near, by_label = len(geometry.x), findings["near_duplicates"], findings.get("label_errors")
    if near.pairs is None:
        raise AssertionError("the near-duplicate detector lists pairs")
    own = {field.name for field in fields(Scores)}
    none = np.full(n, -1, np.int64)
    predicted = none if by_label is None or by_label.predicted_label is None else by_label.predicted_label
    return Scores(
        near_duplicate=near.score,
        off_topic=findings["off_topic"].score,
        label=by_label.score if by_label else np.full(n, np.nan),
        nearest_neighbor=geometry.neighbors.indices[:, 0].numpy().copy(),
        given_label=none if codes is None else codes,
        predicted_label=np.where(predicted >= 0, np.append(values, -1)[predicted], -1),
        pair_index=near.pairs.index,
        pair_distance=near.pairs.distance,
        pair_score=near.pairs.score,
        tree_index=geometry.tree.edges,
        tree_distance=geometry.tree.lengths,
        scaled_tree_score=_single(near.tree_score),
        local_scale=_single(near.local_scale),
        pixel_scale=_single(near.pixel_scale),
        mirrored=near.pairs.mirrored,
        pairs_complete_below=near.pairs.complete_below,
        automatic={issue: finding.automatic for issue, finding in findings.items()},
        calibration={i: finding.calibration for i, finding in findings.items() if finding.calibration is not None},
        not_run=not_run,
        targets=None if codes is not None else labels,
        predicted_target=by_label.predicted_target if by_label else None,
        prediction_confidence=by_label.prediction_confidence if by_label else None,
        extra={issue: finding.score for issue, finding in findings.items() if BY_NAME[issue].score_field not in own},
    )


def _single(values: FloatArray | None) -> Float32Array | None:
    return None if values is None else values.astype(np.float32)


def _encode_classes(codes: IntArray | None) -> tuple[IntArray, IntArray | None]:
    """The distinct classes, and (N,) the index of each sample's class among them; None if there is only one class."""
    if codes is None:
        return np.empty(0, np.int64), None
    values, classes = np.unique(codes[codes != -1]), np.full(len(codes), -1)
    classes[codes != -1] = np.searchsorted(values, codes[codes != -1])
    return values, classes if len(values) > 1 else None


def combination_codes(targets: NDArray[Any]) -> IntArray | None:
    """(N,) a class code for each combination of labels in `targets` (N, C), -1 where some are unknown.

    None where no sample has all of its labels known.
    """
    known = np.asarray((targets != -1).all(1)) if targets.dtype.kind == "i" else np.ones(len(targets), bool)
    codes = np.full(len(targets), -1)
    codes[known] = np.unique(targets[known], axis=0, return_inverse=True)[1].reshape(-1)
    return codes if known.any() else None


def _why_no_label_scores(labels: Labels | None, why_no_labels: str, method: str, accepts_targets: bool) -> str:
    """Why label errors are not scored, "" where they are."""
    if labels is None:
        return why_no_labels
    if not is_classes(labels) and not accepts_targets:
        kind = "regression targets" if labels.ndim == 1 else "several per sample"
        return f"the labels are {kind}, and method={method!r} supports classes only: use method='default'"
    given = labels[has_label(labels)]
    if len(given) == 0:
        return why_no_labels
    if labels.ndim == 2 and ((given == 1).any(0) & (given == 0).any(0)).any():
        return ""
    if labels.ndim == 1 and not bool((given == given[0]).all()):
        return ""
    some = "; -1 means that a sample has none" if is_classes(labels) and len(given) < len(labels) else ""
    return f"all samples carry the same label ({given[0]})" + some
