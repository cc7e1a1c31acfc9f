"""Vectors -> Scores: one pass over all pairs, then a detector an issue."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.core.labels import Labels, class_codes, is_classes
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.detectors.methods import METHODS
from selfclean_hooks.detectors.near_duplicates.local_scale import pair_scale, scaled_score
from selfclean_hooks.detectors.protocol import Geometry
from selfclean_hooks.detectors.selfclean.detectors import MIN_PAIRS
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.spanning_tree import minimum_spanning_tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows, pair_distance_quantile
from selfclean_hooks.utils.progress import Tick


def score(
    vectors: NDArray[np.floating],
    labels: Labels | None,
    *,
    method: str = "default",
    pairs_below: float = 0.0,
    why_no_labels: str = "there are no labels",
    tick: Tick | None = None,
) -> Scores:
    """Scores of N checked vectors; O(N) memory.

    Args:
        vectors: (N, D) finite.
        labels: classes, -1 where a sample has none, numbers, or several a sample (see labels.py), or None.
        method: a key of `detectors.METHODS`.
        pairs_below: every pair with a score below this is listed.
        why_no_labels: reason given for label errors where labels are None.
        tick: progress, called with (steps done, all steps).
    """
    how = METHODS[method]
    codes = class_codes(labels)
    values, classes = _encode_classes(codes)
    targets = labels if codes is None and how.targets else None
    classes = combination_codes(targets) if targets is not None and targets.ndim == 2 else classes
    why = _why_no_label_scores(labels, why_no_labels, method, how.targets)
    not_run = {"label_errors": why} if why else {}
    with torch.device("cpu"):  # whatever the default device is
        x = UnitRows.of(vectors)
        few = len(x) * (len(x) - 1) // 2 <= MIN_PAIRS  # then every pair is listed
        neighbors = nearest_neighbors(
            x, len(x) - 1 if few else how.neighbors, classes if how.by_class else None, tick=tick
        )
        tree = minimum_spanning_tree(x, neighbors)
        geometry = Geometry(x, classes, neighbors, tree, pair_distance_quantile(x), targets, pairs_below)
        found = {d.issue: d(geometry) for d in how.detectors if d.issue not in not_run}
    n, pairs, by_label = len(x), found["near_duplicates"].pairs, found.get("label_errors")
    local_scale = found["near_duplicates"].local_scale
    if pairs is None:
        raise AssertionError("the near duplicate detector lists pairs")
    own = {field.name for field in fields(Scores)}
    none = np.full(n, -1, np.int64)
    predicted = none if by_label is None or by_label.predicted_label is None else by_label.predicted_label
    predicted = np.where(predicted >= 0, np.append(values, -1)[predicted], -1)
    return Scores(
        near_duplicate=found["near_duplicates"].score,
        off_topic=found["off_topic"].score,
        label=by_label.score if by_label else np.full(n, np.nan),
        nearest_neighbor=neighbors.indices[:, 0].numpy().copy(),
        given_label=none if codes is None else codes,
        predicted_label=predicted,
        pair_index=pairs.index,
        pair_distance=pairs.distance,
        pair_score=pairs.score,
        tree_index=tree.edges,
        tree_distance=tree.lengths,
        scaled_tree_score=None
        if local_scale is None
        else scaled_score(tree.lengths, pair_scale(local_scale, tree.edges)).astype(np.float32),
        local_scale=None if local_scale is None else local_scale.astype(np.float32),
        pairs_complete_below=pairs.complete_below,
        automatic={issue: finding.automatic for issue, finding in found.items()},
        calibration={i: finding.calibration for i, finding in found.items() if finding.calibration is not None},
        not_run=not_run,
        targets=None if codes is not None else labels,
        predicted_target=by_label.predicted_target if by_label else None,
        extra={issue: finding.score for issue, finding in found.items() if BY_NAME[issue].score_field not in own},
    )


def _encode_classes(codes: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The classes that there are, and (N,) those of the samples as places among them; None where there is only one."""
    if codes is None:
        return np.empty(0, np.int64), None
    values, classes = np.unique(codes[codes != -1]), np.full(len(codes), -1)
    classes[codes != -1] = np.searchsorted(values, codes[codes != -1])
    return values, classes if len(values) > 1 else None


def combination_codes(targets: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What stands for the class of samples (N, C) with several labels: the number of their combination."""
    return np.unique(targets, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _why_no_label_scores(labels: Labels | None, why_no_labels: str, method: str, knows_targets: bool) -> str:
    """Why label errors are not looked for, "" where they are."""
    if labels is None:
        return why_no_labels
    if not is_classes(labels) and not knows_targets:
        kind = "numbers" if labels.ndim == 1 else "several a sample"
        return f"the labels are {kind}, and method={method!r} knows classes only: method='default' knows these too"
    known = labels
    if labels.ndim == 1:
        known = labels[labels != -1] if is_classes(labels) else labels[~np.isnan(labels)]
    if len(known) == 0:
        return why_no_labels
    return f"all samples carry the same label ({known[0]})" if bool((known == known[0]).all()) else ""
