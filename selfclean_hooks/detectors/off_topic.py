"""The default detector of off-topic samples: how far a sample, with the small group it belongs to, lies from the rest.

Two distances are blended by their geometric mean, which is a density at two scales. The first is the height at which
the sample's branch joins the main body in the single-linkage tree: the distance of a whole off-topic cluster to the
nearest other sample, however tight the cluster. The second is the distance within which 3% of the samples outside of
that branch lie: it separates scattered off-topic samples from the rest more reliably than a single neighbour does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from selfclean_hooks.detectors.off_topic_calibration import off_topic_calibration
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.knn import intrinsic_dimension
from selfclean_hooks.neighbors.spanning_tree import Tree, leaf_order
from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_FALSE_FLAG_RATE = 0.6  # as estimated: the estimate is a cautious one


@dataclass(frozen=True)
class BranchOffTopic:
    """How far a sample, with its branch of the tree, lies from the rest; flagged beyond the tail of clean samples."""

    issue: str = "off_topic"
    neighbors: int = 20  # that the dimension is estimated from

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = off_topic_scores(geometry.x, geometry.tree, geometry.labels)
        m, _ = intrinsic_dimension(geometry.neighbors.distances.numpy()[:, : self.neighbors])
        calibration = off_topic_calibration(score, geometry.labels, m)
        automatic = min(calibration.best_f1_threshold(score), calibration.fdr_threshold(score, MAX_FALSE_FLAG_RATE))
        return Finding(score, automatic, calibration=calibration)


def off_topic_scores(x: UnitRows, tree: Tree, labels: IntArray | None = None) -> FloatArray:
    """Score of every sample, (N,) in [0, 1], low = off-topic: 1 - sqrt(joining height * distance to the rest).

    Args:
        x: N unit rows.
        tree: their minimum spanning tree.
        labels: (N,) class codes from 0; without them a class that lies apart looks like an off-topic cluster.
    """
    if len(x) < 2:
        return np.ones(len(x))
    height, branch = find_branches(tree.linkage(), labels)
    rest = distance_to_rest(x, branch)
    return np.asarray(1 - np.sqrt(height * rest), np.float64).clip(0, 1)


def find_branches(linkage: FloatArray, labels: IntArray | None = None) -> tuple[FloatArray, IntArray]:
    """For every sample the branch in which it leaves the main body, and the height at which it does.

    The body is followed from the root down: the child with more leaves belongs to it (equal: the lower cluster id), and
    so does the other one if it is large or holds most of a class. Any other child leaves the body as one branch.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`.
        labels: (N,) class codes from 0.

    Returns:
        Heights (N,) and branches (N,), the latter as cluster ids of the linkage.
    """
    n = len(linkage) + 1
    children = linkage[:, :2].astype(np.int64)
    leaves = np.concatenate([np.ones(n, np.int64), linkage[:, 3].astype(np.int64)])
    order, start = leaf_order(linkage)
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


MAX_BRANCH_FRACTION = 0.25  # a branch with more than this fraction of all samples is a part of the body
MAX_BRANCH_FRACTION_UNLABELED = 0.1  # the same where no labels show that it is a class


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


REST_FRACTION = 0.03  # of the samples, within the second distance; 1% and 6% are worse on most data sets tried
MIN_SAMPLES = 5  # within the second distance; also the least of a class that is recognised as one
MAX_REFERENCES = 2048  # evenly spaced samples that represent all where there are more


def distance_to_rest(x: UnitRows, branch: IntArray, references: int = MAX_REFERENCES) -> FloatArray:
    """Distance within which 3% of the samples outside of the sample's own branch lie, (N,) in [0, 1].

    Args:
        x: N unit rows.
        branch: (N,) branch of each sample; samples of the same branch are ignored.
        references: how many evenly spaced samples represent all.
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
    out[np.isinf(out)] = 1  # too few outside: the largest distance
    return ((1 + out.astype(np.float64)) / 2).clip(0, 1)
