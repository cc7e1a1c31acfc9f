"""The default detector of near duplicates: pairs far closer than the local scale, calibrated against chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selfclean_hooks.detectors.intrinsic_dimension import intrinsic_dimension
from selfclean_hooks.detectors.near_duplicates.calibration import (
    estimate_local_scale,
    fitted_calibration,
    near_duplicate_calibration,
    nearer_than_chance,
    with_certain,
    with_hidden,
)
from selfclean_hooks.detectors.near_duplicates.copy_groups import (
    MAX_RATIO,
    CopyGroups,
    find_copy_groups,
    neighbors_beyond_groups,
)
from selfclean_hooks.detectors.near_duplicates.pair_scores import (
    listed_pairs,
    pair_scale,
    sample_scores,
    scaled_score,
    score_pairs,
    with_further_pairs,
)
from selfclean_hooks.detectors.near_duplicates.pixel_evidence import SAME, PixelEvidence, blended_scale
from selfclean_hooks.detectors.protocol import MIN_PAIRS, Finding, Geometry, Pairs
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

MAX_FALSE_FLAG_RATE = 0.5  # up to which a false discovery rate may ask for pairs
MAX_AUTOMATIC = 0.44  # no pair at four fifths of the local scale and more is flagged by itself
SURE = MAX_RATIO / (1 + MAX_RATIO)  # score of a pair at a fifth of the local scale
CERTAIN = 0.2  # probability of being clean that copies which are certain by their pixels count with, at most
PLACED = 0.4  # and that of the scores which they are ranked among: behind what network and pixels both show
LEAST_SURE = 0.02  # score that they have at least, unless the network makes it less
BAND = 0.98  # of the score of the least certain one is that of the most certain one
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
        tree, images = geometry.tree, geometry.miniatures
        dimension, _ = intrinsic_dimension(distances)
        pixels = None if images is None else PixelEvidence(images, geometry.labels)
        likeness = None if pixels is None else pixels.likeness(tree.edges)
        groups = find_copy_groups(tree.linkage(), dimension, geometry.labels, likeness)
        near, beyond = neighbors_beyond_groups(x, indices, distances, groups)
        measured = estimate_local_scale(beyond, groups)
        scale = measured.distance
        if pixels is not None:
            scale = blended_scale(scale, groups.originals)
            pixels.measure_scale(groups.originals, near, groups.first)
        pairs = score_pairs(x, indices, distances, scale, groups.first)
        if pixels is not None:
            pairs = _with_pixels(with_further_pairs(pairs, x, scale, pixels.find_similar()), pixels)
        score, is_copy = sample_scores(pairs, n), groups.first != np.arange(n)
        merges = np.where(is_copy, score, _merges(groups, near, beyond, scale, pixels))
        merges = merges.astype(np.float32).astype(np.float64)  # as scores are kept: a score on a knot stays there
        sure = float(score[is_copy].max(initial=0.0))
        if pixels is None:
            calibration = near_duplicate_calibration(merges, sure, measured.dimension)
        else:
            sure = max(sure, float(pairs.score[pixels.likeness(pairs.index) <= SAME].max(initial=0.0)))
            calibration = fitted_calibration(merges, sure, groups.originals)
        automatic = max(min(calibration.probability_threshold(), MAX_AUTOMATIC), np.nextafter(sure, 1))
        loose = (score > SURE) & (score < automatic)
        if pixels is None:  # which would tell copies from others
            alike = nearer_than_chance(beyond) & np.isinf(groups.spacing[groups.originals])
            alike |= (groups.series != np.arange(n))[groups.originals]
            loose[groups.originals] |= alike & (score[groups.originals] >= automatic)
        if loose.mean() > MAX_LOOSE_FRACTION:
            automatic, calibration = min(automatic, SURE), replace(calibration, unknown=TIGHT_GROUPS)
        of_tree = scaled_score(tree.lengths, pair_scale(scale, tree.edges))
        if pixels is not None:
            most = max(min(calibration.probability_threshold(PLACED), automatic), LEAST_SURE)
            row = np.searchsorted(groups.originals, groups.first)
            pixels.find_copies(pairs.index, lambda ends: near[row[ends]])
            of_tree = pixels.with_copies(pixels.combine(of_tree, tree.edges)[0], tree.edges, BAND * most, most)
            pairs = in_order(pairs, pixels.with_copies(pairs.score, pairs.index, BAND * most, most))
            score = sample_scores(pairs, n)
            if len(pixels.copies):
                automatic = max(automatic, float(np.nextafter(np.float32(most), 1)))
                calibration = with_certain(calibration, most, CERTAIN)
        wanted = max(automatic, geometry.pairs_below, calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        sets = _sets((score > 0) & (score < automatic), groups)
        in_series = int(np.count_nonzero((groups.series != np.arange(n)) & (score >= automatic)))
        calibration = with_hidden(calibration, sets, n, pixels is not None, in_series)
        copies = None if pixels is None else pairs.index[pixels.are_copies(pairs.index)]
        return Finding(
            score,
            automatic,
            _worst_pairs(pairs, n, wanted),
            calibration=calibration,
            local_scale=scale,
            pixel_scale=None if pixels is None else pixels.scale,
            tree_score=of_tree,
            copies=copies,
        )


def _sets(flagged: BoolArray, groups: CopyGroups) -> float:
    """How many sets the flagged samples (N,) are: groups, and pairs of samples that are in none."""
    alone = np.bincount(groups.first)[groups.originals] == 1
    return float(flagged[groups.originals] @ np.where(alone, 0.5, 1.0))


def _merges(
    groups: CopyGroups, near: IntArray, beyond: FloatArray, scale: FloatArray, pixels: PixelEvidence | None
) -> FloatArray:
    """(N,) of each original the score of its nearest pair beyond its own group; 1 elsewhere."""
    originals, merges = groups.originals, np.ones(len(scale))
    if beyond.shape[1]:
        pairs = listed_pairs(originals, near)
        score = scaled_score(beyond.reshape(-1), pair_scale(scale, pairs))
        score = score if pixels is None else pixels.combine(score, pairs)[0]
        merges[originals] = score.reshape(near.shape).min(1)
    return merges


def _with_pixels(pairs: Pairs, pixels: PixelEvidence) -> Pairs:
    """The pairs in the order of their scores with the pixels as well."""
    score, mirrored = pixels.combine(pairs.score, pairs.index)
    return in_order(replace(pairs, mirrored=mirrored), score)


def in_order(pairs: Pairs, score: FloatArray) -> Pairs:
    """The pairs with other scores (P,), in their order."""
    order = np.lexsort((pairs.index[:, 1], pairs.index[:, 0], pairs.distance, score))
    mirrored = None if pairs.mirrored is None else pairs.mirrored[order]
    single = score[order].astype(np.float32)
    return Pairs(pairs.index[order], pairs.distance[order], single, pairs.complete_below, mirrored)


def _worst_pairs(pairs: Pairs, n: int, below: float) -> Pairs:
    """Those below a score, and at least N."""
    keep = max(n, MIN_PAIRS, int(np.searchsorted(pairs.score, below)))
    if keep >= len(pairs.score):
        return pairs
    complete = min(pairs.complete_below, float(pairs.score[keep]))
    mirrored = None if pairs.mirrored is None else pairs.mirrored[:keep].copy()
    index, distance, score = (part[:keep].copy() for part in (pairs.index, pairs.distance, pairs.score))  # no views:
    return Pairs(index, distance, score, complete, mirrored)  # the others are let go
