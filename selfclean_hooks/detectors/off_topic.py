"""Off-topic samples: those that join the rest last in the single-linkage dendrogram (LAD).

"Leave-out agglomerative dendrogram" of SelfClean (Groeger et al., "Intrinsic Self-Supervision for Data Quality Audits",
NeurIPS 2024). The dendrogram is walked depth first, the child with fewer leaves first, while an area under it is swept
from left to right; a sample's score is the area swept when its leaf is reached. Small clusters that join late come
first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.detectors.base import Finding, Geometry
from selfclean_hooks.detectors.logistic_tail import automatic_threshold, quantile_of


def lad_scores(linkage: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score of every leaf of a dendrogram, in [0, 1], low = off-topic.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`, heights in [0, 1].

    The root holds the interval [0, 1] below height 1. A node with interval [s, e], own height h (a leaf: 0) and parent
    height p sweeps (e - s)(p - h). Of its n leaves the smaller child takes a share of the interval from s on; the
    larger child gets its share from there, counted from s, and so stops short of e. Such a gap is swept when the walk
    reaches the next start s: once below the parent of the last leaf, and below each inner node entered since the last
    gap that ended left of s.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64).tolist()
    heights = [0.0] * n + linkage[:, 2].tolist()
    leaves = [1] * n + linkage[:, 3].astype(np.int64).tolist()
    scores = np.zeros(n)
    area, last_end, last_parent = 0.0, 0.0, 1.0
    passed: list[tuple[float, float]] = []  # (end, height swept) of inner nodes entered since the last gap
    stack = [(2 * n - 2, 0.0, 1.0, 1.0)]
    while stack:
        node, start, end, parent = stack.pop()
        height = heights[node]
        if start != last_end:
            area += (start - last_end) * last_parent
            area += sum((start - left) * swept for left, swept in passed if left < start)
            passed.clear()
            last_end = start
        elif node >= n:
            passed.append((end, parent - height))
        area += (end - start) * (parent - height)
        if node < n:
            scores[node], last_end, last_parent = area, end, parent
            continue
        small, large = sorted(children[node - n], key=lambda child: (leaves[child], child))
        share = (end - start) / leaves[node]
        middle = start + share * leaves[small]
        stack.append((large, middle, start + share * leaves[large], height))
        stack.append((small, start, middle, height))
    return scores


@dataclass(frozen=True)
class OffTopic:
    """LAD scores with SelfClean's automatic threshold."""

    issue: str = "off_topic"

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = lad_scores(geometry.tree.linkage()).clip(0, 1)
        return Finding(score, automatic_threshold(quantile_of(score), len(score), len(score)))
