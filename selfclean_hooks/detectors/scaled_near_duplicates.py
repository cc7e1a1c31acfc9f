"""The default detector of near duplicates: pairs measured against what is usual around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfclean_hooks.detectors.base import Finding, Geometry, Pairs
from selfclean_hooks.detectors.near_chance import near_calibration
from selfclean_hooks.detectors.near_duplicates import MIN_PAIRS
from selfclean_hooks.detectors.near_pairs import sample_scores, scale_of, scored_pairs
from selfclean_hooks.detectors.near_scale import far_shares

WORTH = 0.5  # share of wrong flags up to which a false-discovery rate may ask for pairs


@dataclass(frozen=True)
class ScaledNearDuplicates:
    """Pairs far closer than neighbours usually are around them; flagged where that is no chance."""

    issue: str = "near_duplicates"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample and list the pairs."""
        x, n = geometry.x, len(geometry.x)
        indices, distances = geometry.neighbors.indices.numpy(), geometry.neighbors.distances.numpy()
        low, high = map(geometry.pair_quantile, far_shares(n))
        scale = scale_of(x, indices, distances, (low, high))
        pairs = scored_pairs(x, indices, distances, scale)
        score = sample_scores(pairs, n)
        calibration = near_calibration(score, scale.dimension)
        automatic = calibration.likely()
        wanted = max(automatic, geometry.pairs_below, calibration.cut(score, WORTH))
        return Finding(score, automatic, _worst(pairs, n, wanted), calibration=calibration, reach=scale.usual)


def _worst(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    return Pairs(pairs.index[:keep], pairs.distance[:keep], pairs.score[:keep], complete)
