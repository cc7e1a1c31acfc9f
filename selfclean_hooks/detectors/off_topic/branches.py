"""Off-topic scores: how far a sample, together with the small group it belongs to, lies from the rest.

Two distances are blended by their geometric mean, which is a density at two scales. The first is the height at which
the sample's branch joins the main body in the single-linkage tree: the distance of a whole group of off-topic samples
to the nearest other sample, however tight the group. The second is the distance within which lie 3% of the samples
outside of that branch: where scattered off-topic samples tell themselves from the rest by more than a chance neighbour.
"""

from __future__ import annotations

import numpy as np
import torch

from selfclean_hooks.neighbors.spanning_tree import Tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

REST_FRACTION = 0.03  # of the samples, within the second distance; 1% and 6% are worse on most data sets tried
MIN_SAMPLES = 5  # samples within the second distance at least
MAX_BRANCH_FRACTION = 0.25  # a branch with more than this share of all samples is a part of the body
MAX_BRANCH_FRACTION_UNLABELED = 0.1  # the same where no labels tell that it is a class
MAX_REFERENCES = 2048  # evenly spaced samples that stand for all where there are more


def off_topic_scores(x: UnitRows, tree: Tree, labels: IntArray | None = None) -> FloatArray:
    """Score of every sample, (N,) in [0, 1], low = off-topic: 1 - sqrt(joining height * distance to the rest).

    Args:
        x: N unit rows.
        tree: their minimum spanning tree.
        labels: (N,) class codes from 0; without them a class that lies apart looks like an off-topic group.
    """
    if len(x) < 2:
        return np.ones(len(x))
    height, branch = find_branches(tree.linkage(), labels)
    rest = distance_to_rest(x, branch)
    return np.asarray(1 - np.sqrt(height * rest), np.float64).clip(0, 1)


def find_branches(linkage: FloatArray, labels: IntArray | None = None) -> tuple[FloatArray, IntArray]:
    """For every sample the branch in which it leaves the main body, and the height at which it does.

    The body is followed from the root down: the child with more leaves belongs to it (equal: the lower cluster id), and
    so does the other one if it is large or holds most of a class. What is left leaves the body as one branch.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`.
        labels: (N,) class codes from 0.

    Returns:
        Heights (N,) and branches (N,), the latter as cluster ids of the linkage.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64)
    leaves = np.concatenate([np.ones(n, np.int64), linkage[:, 3].astype(np.int64)])
    order, start = _leaf_order(children, leaves)
    classes = np.zeros(0, np.int64) if labels is None else np.bincount(labels[labels >= 0])
    height, branch = np.zeros(n), np.arange(n)
    body = [2 * n - 2]
    while body:
        node = body.pop()
        large, small = sorted(children[node - n].tolist(), key=lambda child: (-leaves[child], child))
        for child in (large, small):
            inside = order[start[child] : start[child] + leaves[child]]
            if child >= n and (child == large or _is_part_of_body(inside, n, labels, classes)):
                body.append(child)
            else:
                height[inside], branch[inside] = linkage[node - n, 2], child
    return height, branch


def distance_to_rest(x: UnitRows, branch: IntArray, references: int = MAX_REFERENCES) -> FloatArray:
    """Distance within which lie 3% of the samples outside of one's own branch, (N,) in [0, 1].

    Args:
        x: N unit rows.
        branch: (N,) whose samples do not count for each other.
        references: how many evenly spaced samples stand for all.
    """
    n = len(x)
    chosen = np.linspace(0, n - 1, min(n, references)).round().astype(np.int64)
    columns, own = x.values[torch.from_numpy(chosen)], torch.from_numpy(branch)
    own_of_columns = own[torch.from_numpy(chosen)]
    k = min(max(MIN_SAMPLES, round(REST_FRACTION * len(chosen))), len(chosen))
    out = np.empty(n, np.float32)
    for start in range(0, n, 1024):
        rows = slice(start, start + 1024)
        similarity = matrix_product(x.values[rows], columns)
        similarity.masked_fill_(own[rows].unsqueeze(1) == own_of_columns, -torch.inf)
        out[rows] = np.partition(similarity.neg_().numpy(), k - 1, axis=1)[:, k - 1]
    out[np.isinf(out)] = 1  # too few outside: as far as can be
    return ((1 + out.astype(np.float64)) / 2).clip(0, 1)


def _leaf_order(children: IntArray, leaves: IntArray) -> tuple[IntArray, IntArray]:
    """The samples in an order in which every cluster is one stretch, and where the stretch of each cluster starts."""
    n = len(children) + 1
    start = [0] * (2 * n - 1)
    sizes = leaves.tolist()
    for step in range(n - 2, -1, -1):
        first, second = children[step].tolist()
        start[first] = start[n + step]
        start[second] = start[n + step] + sizes[first]
    starts = np.array(start, np.int64)
    order = np.empty(n, np.int64)
    order[starts[:n]] = np.arange(n)
    return order, starts


def _is_part_of_body(inside: IntArray, n: int, labels: IntArray | None, classes: IntArray) -> bool:
    """Whether a branch of these samples is a part of the body: large, or at least half of a class and mostly that."""
    if len(inside) > (MAX_BRANCH_FRACTION_UNLABELED if labels is None else MAX_BRANCH_FRACTION) * n:
        return True
    if labels is None or len(inside) < MIN_SAMPLES or np.count_nonzero(classes) < 2:
        return False
    codes, counts = np.unique(labels[inside][labels[inside] >= 0], return_counts=True)
    if not len(codes):
        return False
    most = counts.argmax()
    return bool(2 * counts[most] >= max(classes[codes[most]], len(inside)))
