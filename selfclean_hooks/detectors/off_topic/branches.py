"""In which branch of the single-linkage tree a sample leaves the main body of the data, and at which height."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.neighbors.tree.spanning_tree import Tree, leaf_order
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray


class Branches(NamedTuple):
    """Where the N samples leave the main body of the data."""

    height: FloatArray  # (N,) of the tree, at which the sample's branch leaves
    branch: IntArray  # (N,) as cluster ids of the linkage
    may_be_class: BoolArray  # (N,) in a branch that stays in the body for its size alone, and may be off-topic as well


def find_branches(linkage: FloatArray, labels: IntArray | None = None) -> Branches:
    """For every sample the branch in which it leaves the main body, and the height at which it does.

    The body is followed from the root down: the child with more leaves belongs to it (equal: the lower cluster id), and
    so does the other one if it is large or holds most of a class. Any other child leaves the body as one branch.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`.
        labels: (N,) class codes from 0.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64)
    leaves = np.concatenate([np.ones(n, np.int64), linkage[:, 3].astype(np.int64)])
    order, start = leaf_order(linkage)
    classes = np.zeros(0, np.int64) if labels is None else np.bincount(labels[labels >= 0])
    height, branch, may_be_class = np.zeros(n), np.arange(n), np.zeros(n, np.bool_)
    body = [2 * n - 2]
    while body:
        node = body.pop()
        large, small = sorted(children[node - n].tolist(), key=lambda child: (-leaves[child], child))
        for child in (large, small):
            inside = order[start[child] : start[child] + leaves[child]]
            if child >= n and (child == large or _is_part_of_body(inside, n, labels, classes)):
                body.append(child)
                if child != large and labels is None and leaves[child] <= MAX_BRANCH_FRACTION * n:
                    may_be_class[inside] = True
            else:
                height[inside], branch[inside] = linkage[node - n, 2], child
    return Branches(height, branch, may_be_class)


MAX_BRANCH_FRACTION = 0.25  # a branch with more than this fraction of all samples is a part of the body
MAX_BRANCH_FRACTION_UNLABELED = 0.06  # the same where no labels show that it is a class: one of ten, say, or most of it
MIN_SAMPLES = 5  # of a class that is recognised as one


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


SERIES_RATIO = 0.01  # of the distance between others, up to which samples are a series: a tenth in length
USUAL = 0.75  # quantile of the heights at which branches leave. In the main body there are copies as well
MAX_IN_SERIES = 0.1  # of all samples: where more are in series, one of each is counted


def independent_samples(tree: Tree, height: FloatArray) -> IntArray:
    """Positions of the samples to be counted: all, or one of each series where many samples belong to one.

    Copies, frames of a video or shots of one object are no evidence of each other: twenty shots of an object that lies
    a little apart from others are as usual as one.

    Args:
        tree: of N samples.
        height: (N,) as in `Branches`.
    """
    n = len(height)
    first, second = tree.edges.T
    near = tree.lengths <= SERIES_RATIO * np.maximum(height[first], np.quantile(height, USUAL))
    links = coo_array((np.ones(near.sum()), (first[near], second[near])), (n, n))
    _, one, size = np.unique(connected_components(links, directed=False)[1], return_index=True, return_counts=True)
    return np.sort(one) if size[size > 1].sum() > MAX_IN_SERIES * n else np.arange(n)
