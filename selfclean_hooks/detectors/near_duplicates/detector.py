"""The default detector of near duplicates: pairs far closer than the local scale, calibrated against chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selfclean_hooks.detectors.near_duplicates.calibration import near_duplicate_calibration
from selfclean_hooks.detectors.near_duplicates.copy_groups import (
    MAX_RATIO,
    CopyGroups,
    find_copy_groups,
    neighbors_beyond_groups,
)
from selfclean_hooks.detectors.near_duplicates.local_scale import estimate_local_scale
from selfclean_hooks.detectors.near_duplicates.pair_scores import pair_scale, sample_scores, scaled_score, score_pairs
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Finding, Geometry, Pairs
from selfclean_hooks.neighbors.knn import intrinsic_dimension
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_FALSE_FLAG_RATE = 0.5  # up to which a false discovery rate may ask for pairs
MAX_AUTOMATIC = 0.4  # no pair at two thirds of the local scale and more is flagged by itself
SURE = MAX_RATIO / (1 + MAX_RATIO)  # score of a pair at a fifth of the local scale
MAX_LOOSE_FRACTION = 0.3  # of the samples, in pairs less sure than that: these are what the data are like
TIGHT_GROUPS = (
    "most samples lie in small groups of samples alike, which may be copies or series of different images of the "
    "same things"
)


@dataclass(frozen=True)
class ScaledNearDuplicates:
    """Pairs far closer than neighbours usually are around them; flagged where chance does not explain it."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the pairs."""
        x, n = geometry.x, len(geometry.x)
        indices, distances = geometry.neighbors.indices.numpy(), geometry.neighbors.distances.numpy()
        dimension, _ = intrinsic_dimension(distances)
        groups = find_copy_groups(geometry.tree.linkage(), dimension, geometry.labels)
        near, beyond = neighbors_beyond_groups(x, indices, distances, groups)
        scale = estimate_local_scale(beyond, groups)
        pairs = score_pairs(x, indices, distances, scale.distance, groups.first)
        score = sample_scores(pairs, n)
        merges = _merges(score, near, beyond, scale.distance, groups)
        sure = float(score[groups.first != np.arange(n)].max(initial=0.0))
        calibration = near_duplicate_calibration(merges, scale.dimension, sure)
        automatic = max(min(calibration.probability_threshold(), MAX_AUTOMATIC), np.nextafter(sure, 1))
        loose = (score > SURE) & (score < automatic)
        if loose.mean() > MAX_LOOSE_FRACTION:
            automatic, calibration = min(automatic, SURE), replace(calibration, unknown=TIGHT_GROUPS)
        wanted = max(automatic, geometry.pairs_below, calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(
            score, automatic, _worst_pairs(pairs, n, wanted), calibration=calibration, local_scale=scale.distance
        )


def _merges(score: FloatArray, near: IntArray, beyond: FloatArray, scale: FloatArray, groups: CopyGroups) -> FloatArray:
    """(N,) scores, of the first member of each group that of its nearest pair beyond the group."""
    originals = groups.originals
    merges: FloatArray = score.copy()
    if beyond.shape[1]:
        ends = np.stack([np.broadcast_to(originals[:, None], near.shape), near], 2)
        merges[originals] = scaled_score(beyond, pair_scale(scale, ends.reshape(-1, 2)).reshape(near.shape)).min(1)
    return merges


def _worst_pairs(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    return Pairs(pairs.index[:keep], pairs.distance[:keep], pairs.score[:keep], complete)
