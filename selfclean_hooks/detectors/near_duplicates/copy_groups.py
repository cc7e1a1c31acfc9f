"""Groups of copies of any size, from the single-linkage tree, and the nearest neighbours beyond them.

A sample among many copies of itself has none but copies in its neighbour list, so the list cannot show that they are
near. The tree can: it has the height at which a branch is complete, and the height at which it joins the rest. A branch
that is complete at a fifth or less of the distance to anything else is a group of copies, which counts as one sample
from then on. In few dimensions such branches come about by chance, so there they have to be tighter. Images are a group
of copies, too, wherever the pixels of all that the branch joins are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.near_duplicates.pixel_evidence import ALIKE, SAME
from selfclean_hooks.neighbors.exact_search import OTHER, search_neighbors
from selfclean_hooks.neighbors.tree.spanning_tree import leaf_order
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

MAX_RATIO = 0.2  # of lengths within a group to the length out of it; like shots of one object are at 0.3
MAX_OPEN_RATIO, MIN_OPEN = 0.4, 3  # up to which so many samples or more are either: copies with noise are there as well
CHANCE = 1e-3  # of a branch as tight as a group where there are no copies
MAX_TIGHT_CLASSES = 0.5  # of all classes: where more are so tight, it is the features that make them so
CLASS_RATIO = 0.7  # of the branch of a class whose samples are alike
SURE_RATIO, SURE_RATIO_IF_LARGE = 0.1, 0.05  # what is tighter consists of copies, though it be a class; features of a
LARGE, LARGE_CLUSTER = 20, 50  # network that was trained on the classes come close to the latter
MIN_REST = 0.05  # of all samples: with less outside of a branch, these are outliers and the branch is the data set
MIN_CLUSTERS, CLUSTERED, CLUSTER_RATIO = 3, 0.9, 0.5  # so many large branches with so much of the data are its clusters
SURE_RATIO_OF_CLUSTER = 0.01
MIN_NEIGHBORS = 15  # beyond its group that a sample is to have: the dimension is estimated from them


@dataclass(frozen=True, eq=False)
class CopyGroups:
    """Which samples count as one.

    Attributes:
        first: (N,) position of the first member of each sample's group; its own where it is in none.
        spacing: (N,) the distance between samples of a class or cluster of samples alike, for its members; else inf.
        series: (N,) position of the first member of each sample's series, of copies or of like samples: vectors alone
            do not tell which; its own where it is in none.
    """

    first: IntArray
    spacing: FloatArray
    series: IntArray

    @property
    def originals(self) -> IntArray:
        """(G,) positions of the first members, and of the samples that are in no group."""
        return np.flatnonzero(self.first == np.arange(len(self.first)))


def find_copy_groups(
    linkage: FloatArray, dimension: float, classes: IntArray | None = None, likeness: FloatArray | None = None
) -> CopyGroups:
    """The largest branches that are groups of copies.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`; heights are squared lengths.
        dimension: intrinsic dimension of the samples.
        classes: (N,) codes from 0, -1: none. A branch that is a class is no group of copies unless it is far tighter.
        likeness: (N - 1,) of the pixels of the two that each merge joins, see `PixelEvidence.likeness`, where samples
            are images. Most must be alike in a group of copies.
    """
    n = len(linkage) + 1
    ratio = min(MAX_RATIO, CHANCE ** (1 / dimension))
    children, height = linkage[:, :2].astype(np.int64), np.append(np.zeros(n), linkage[:, 2])
    size = np.append(np.ones(n, np.int64), linkage[:, 3].astype(np.int64))
    above = np.empty(2 * n - 1, np.int64)
    above[children.ravel()], above[-1] = np.repeat(np.arange(n, 2 * n - 1), 2), 2 * n - 2
    tight = np.sqrt(np.divide(height, height[above], out=np.ones(2 * n - 1), where=height[above] > 0))
    order, start = leaf_order(linkage)
    is_cluster = _clusters(children, size, tight) if likeness is None and classes is None else np.zeros(2 * n - 1, bool)
    unlike = _merges_within(children, None if likeness is None else likeness > ALIKE)
    other = size - 1 if likeness is None else _merges_within(children, likeness > SAME)
    of_class = None if classes is None else np.bincount(classes[classes >= 0])
    first, spacing, series = np.arange(n), np.full(n, np.inf), np.arange(n)
    if n > 1 and other[-1] == 0:
        return CopyGroups(np.zeros(n, np.int64), spacing, series)
    open_ratio = min(MAX_OPEN_RATIO, CHANCE ** (1 / dimension)) if likeness is None else 0.0
    tight_classes: list[IntArray] = []
    waiting = [2 * n - 2]
    while waiting:
        node = waiting.pop()
        for child in children[node - n].tolist():
            if child < n:
                continue
            members = order[start[child] : start[child] + size[child]]
            if height[child] == 0 or other[child] == 0:
                first[members] = members.min()
                continue
            is_part = n - len(members) >= MIN_REST * n
            limit = ratio if is_part and 2 * unlike[child] < len(members) else 0.0
            if is_cluster[child] or (tight[child] <= CLASS_RATIO and _is_class(classes, members, of_class)):
                sure = SURE_RATIO_IF_LARGE if len(members) >= LARGE else SURE_RATIO
                limit = min(limit, SURE_RATIO_OF_CLUSTER if is_cluster[child] else sure)
                if tight[child] > limit:  # else copies, whose distance is no scale to compare them with
                    spacing[members] = height[child]
            if is_part and limit < tight[child] <= open_ratio and len(members) >= MIN_OPEN and not is_cluster[child]:
                if np.isinf(spacing[members[0]]):
                    series[members] = np.minimum(series[members], members.min())
                else:
                    tight_classes.append(members)
            if tight[child] <= limit:
                first[members] = members.min()
            else:
                waiting.append(child)
    if of_class is not None and len(tight_classes) <= MAX_TIGHT_CLASSES * np.count_nonzero(of_class):
        for members in tight_classes:
            series[members] = members.min()
    return CopyGroups(first, spacing, series)


def _clusters(children: IntArray, size: IntArray, tight: FloatArray) -> BoolArray:
    """(2N - 1,) which branches are the clusters that the data consist of; none if they do not."""
    n = len(children) + 1
    found, waiting = np.zeros(2 * n - 1, bool), [2 * n - 2]
    while waiting:
        for child in children[waiting.pop() - n].tolist():
            if size[child] >= LARGE_CLUSTER:
                found[child] = tight[child] <= CLUSTER_RATIO
                waiting += [] if found[child] else [child]
    is_clustered = found.sum() >= MIN_CLUSTERS and size[found].sum() >= CLUSTERED * n
    return found if is_clustered else np.zeros_like(found)


def _merges_within(children: IntArray, counted: BoolArray | None) -> IntArray:
    """(2N - 1,) how many of the merges that count, of N - 1, are within each cluster."""
    n = len(children) + 1
    count = np.zeros(2 * n - 1, np.int64)
    if counted is not None:
        for step, ((one, other), counts) in enumerate(zip(children.tolist(), counted.tolist(), strict=True)):
            count[n + step] = count[one] + count[other] + counts
    return count


def _is_class(classes: IntArray | None, members: IntArray, of_class: IntArray | None) -> bool:
    """Whether at least half of a class, of two or more, is among the members, and most of these are of it."""
    if classes is None or of_class is None:
        return False
    known = classes[members]
    count = np.bincount(known[known >= 0], minlength=1)
    most = int(count.argmax())
    return bool(count[most] >= 2 and 2 * count[most] >= max(of_class[most], len(members)))


def neighbors_beyond_groups(
    x: UnitRows, indices: IntArray, distances: NDArray[np.floating], groups: CopyGroups
) -> tuple[IntArray, FloatArray]:
    """Nearest neighbours of the originals, with every group as one sample: positions (G, k') and distances (G, k').

    Args:
        x: N unit rows.
        indices: (N, k) nearest samples, nearest first.
        distances: (N, k) to these.
        groups: G of them, single samples included.
    """
    central = np.lexsort((distances.sum(1, dtype=np.float64), groups.first))
    rows = central[np.unique(groups.first[central], return_index=True)[1]]  # of each group the member amid the others
    if len(rows) == len(x):
        return indices, np.asarray(distances, np.float64)
    k = min(MIN_NEIGHBORS, indices.shape[1], len(rows) - 1)
    if k < 1:
        return np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0))
    near = groups.first[indices[rows]]
    repeated = near == groups.first[rows, None]
    for place in range(1, near.shape[1]):
        repeated[:, place] |= (near[:, :place] == near[:, place, None]).any(1)
    kept = np.argsort(repeated, axis=1, kind="stable")[:, :k]
    near, far = np.take_along_axis(near, kept, 1), np.take_along_axis(distances[rows], kept, 1).astype(np.float64)
    short = np.take_along_axis(repeated, kept, 1).any(1).nonzero()[0]
    if len(short):
        columns = torch.from_numpy(rows)
        found, at = search_neighbors(x, columns[short], k, torch.arange(len(x)), OTHER, columns)
        near[short], far[short] = groups.first[found.numpy()], at.numpy()
    return near, far
