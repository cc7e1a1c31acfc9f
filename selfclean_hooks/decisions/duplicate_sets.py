"""Sets of near duplicates around a copy that is kept: each member and that copy score below the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, identity
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from selfclean_hooks.core.scores import Scores
from selfclean_hooks.decisions.settings import Keep, is_below
from selfclean_hooks.errors import SettingError
from selfclean_hooks.utils.arrays import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class DuplicateSets:
    """Which samples are near duplicates of which kept copy."""

    number: IntArray  # (N,) of the set, in order of first members; -1: none
    kept: IntArray  # (S,) position of the kept copy of each set
    distance: NDArray[np.float32]  # (N,) to the kept copy of the set; NaN: in no set

    @property
    def surplus(self) -> BoolArray:
        """(N,) in a set and not its kept copy."""
        surplus = self.number >= 0
        surplus[self.kept] = False
        return surplus

    def of(self, index: int) -> tuple[int, int]:
        """Number of a member's set and position of the copy kept there."""
        number = int(self.number[index])
        return number, int(self.kept[number])


def duplicate_sets(scores: Scores, threshold: float, keep: Keep, last: IntArray | BoolArray) -> DuplicateSets:
    """Sets without chaining: of copies a ~ b ~ c with a and c apart, a is kept with b beside it, and c stays.

    Copies are taken in order of `keep`; each one not yet in a set is kept, and takes along all its near duplicates not
    yet in a set. So no two kept copies are near duplicates of each other, and every surplus one is of a kept one.
    Exact copies count as one sample. Where the list of pairs is incomplete, the pairs of the single-linkage tree are
    used as well: no set is wrong then, but some may be smaller.

    Args:
        scores: N samples.
        threshold: score below which two are near duplicates.
        keep: the first copy, the one with most near duplicates and the least distance to them, or the largest image.
        last: (N,) copies to keep only where there are no others; higher values later.

    Raises:
        SettingError: `keep` is "largest_image" and the sizes of the images are unknown.
    """
    groups = _components(scores, threshold, exact=True)
    near = _group_distances(groups, scores, threshold)
    rank = np.empty(len(scores), np.int64)
    rank[_keep_order(scores, keep, last, groups, near)] = np.arange(len(scores))
    size = np.bincount(groups)
    best = np.full(len(size), len(scores))
    np.minimum.at(best, groups, rank)  # rank of the best copy in each group
    by_rank = np.argsort(rank)
    owner, distance = np.full(len(size), -1), np.full(len(size), np.nan, np.float32)
    involved = ((size > 1) | (np.diff(near.indptr) > 0)).nonzero()[0]
    for group in involved[np.argsort(best[involved])].tolist():
        if owner[group] >= 0:
            continue
        beside = slice(near.indptr[group], near.indptr[group + 1])
        free = owner[near.indices[beside]] < 0
        taken = near.indices[beside][free]
        if len(taken) or size[group] > 1:
            owner[taken], distance[taken] = group, near.data[beside][free]
            owner[group], distance[group] = group, 0
    return number_sets(owner[groups], distance[groups], by_rank[best])


def near_duplicate_components(scores: Scores, threshold: float) -> IntArray:
    """(N,) number of the connected component of near duplicates that each sample is in, chains included.

    From the single-linkage tree and the listed pairs; independent of the order of the samples.
    """
    return _components(scores, threshold)


def near_duplicate_links(scores: Scores, threshold: float) -> tuple[IntArray, NDArray[np.float32]]:
    """(L, 2) pairs of near duplicates, the fewest and nearest that join all that chains of them join; (L,) scores.

    A chain of n samples has n - 1: as many as there are copies beside the one that is kept.
    """
    index, score = _near_duplicate_pairs(scores, threshold)
    order = np.argsort(score, kind="stable")
    weight = np.arange(1, len(order) + 1)  # ranks: scipy treats a weight of 0 as no edge
    start, end = index[order].astype(np.int32).T  # older scipy searches graphs of int32 only
    _, once = np.unique(start.astype(np.int64) * len(scores) + end, return_index=True)
    graph = coo_array((weight[once], (start[once], end[once])), shape=(len(scores), len(scores)))
    links = order[np.sort(minimum_spanning_tree(graph.tocsr()).data.astype(np.int64)) - 1]
    return index[links], score[links]


CERTAIN = 1 / 6  # score of a pair at a fifth of the local scale
CERTAIN_CLEAN = 0.1  # probability below which a near duplicate is certain where its pixels were compared


def certain_score(scores: Scores) -> float:
    """Score below which near duplicates are copies beyond doubt, and not merely images of like things."""
    if scores.local_scale is None:
        return 1.0  # distances, which have no common meaning
    calibration = scores.calibration.get("near_duplicates")
    if scores.pixel_scale is None or calibration is None or calibration.unknown:
        return CERTAIN
    return max(CERTAIN, calibration.probability_threshold(CERTAIN_CLEAN))


def label_conflicts(scores: Scores, threshold: float) -> dict[int, dict[int, int]]:
    """Samples whose copies carry another label: near duplicates that are certain, see `certain_score`.

    Of two near duplicates with different labels, the one whose label is rarer among itself and its own near duplicates,
    or both if equally rare; this does not depend on the order of the samples. -1 is no label.

    Returns:
        Position of each such sample, ascending -> label -> its count among the sample and its near duplicates.
    """
    labelled = (scores.given_label >= 0).nonzero()[0]
    if "label_errors" in scores.not_run or not len(labelled):
        return {}
    threshold = min(threshold, certain_score(scores))
    first, second = scores.given_label[_near_duplicate_pairs(scores, threshold)[0]].T
    if (first == second).all():
        return {}
    groups = _components(scores, threshold, exact=True)
    near = _group_distances(groups, scores, threshold)
    beside = csr_array((np.ones(len(near.data)), near.indices, near.indptr), shape=near.shape)
    beside = csr_array(beside + csr_array(identity(near.shape[0])))
    codes, labels = np.unique(scores.given_label[labelled], return_inverse=True)  # codes may be any integers
    ones, shape = np.ones(len(labelled)), (near.shape[0], len(codes))
    count = (beside @ coo_array((ones, (groups[labelled], labels)), shape=shape).tocsr()).tocsr()
    nodes, node = np.unique(np.stack([groups[labelled], labels]), axis=1, return_inverse=True)
    node = node.reshape(-1)  # numpy 2.0 gives it another shape
    share = np.asarray(count[nodes[0], nodes[1]]).ravel() / count.sum(axis=1)[nodes[0]]
    of_group = coo_array((np.ones(len(share)), (np.arange(len(share)), nodes[0])), shape=(len(share), shape[0])).tocsr()
    first, second = (of_group @ beside @ of_group.T).nonzero()
    rarer = (nodes[1, first] != nodes[1, second]) & (share[first] <= share[second])
    in_doubt = np.zeros(len(share), bool)
    in_doubt[first[rarer]] = True
    doubted = labelled[in_doubt[node]]
    around: dict[int, dict[int, int]] = {}  # shared by exact copies: there may be thousands, of many labels
    for group in np.unique(groups[doubted]).tolist():
        row = slice(count.indptr[group], count.indptr[group + 1])
        around[group] = dict(zip(codes[count.indices[row]].tolist(), count.data[row].astype(int).tolist(), strict=True))
    return {i: around[group] for i, group in zip(doubted.tolist(), groups[doubted].tolist(), strict=True)}


def sets_with_label_conflicts(sets: DuplicateSets, scores: Scores) -> frozenset[int]:
    """Numbers of the sets whose copies carry different labels."""
    members = ((sets.number >= 0) & (scores.given_label >= 0)).nonzero()[0]
    kinds = np.unique(np.stack([sets.number[members], scores.given_label[members]]), axis=1)
    numbers, count = np.unique(kinds[0], return_counts=True)
    return frozenset(numbers[count > 1].tolist())


def _components(scores: Scores, threshold: float, exact: bool = False) -> IntArray:
    n = len(scores)
    copies = (scores.tree_score == 0) & (threshold > -np.inf)
    index = scores.tree_index[copies] if exact else _near_duplicate_pairs(scores, threshold)[0]
    start, end = index.astype(np.int32).T  # older scipy searches graphs of int32 only
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(n, n))
    component: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return component


def _near_duplicate_pairs(scores: Scores, threshold: float) -> tuple[IntArray, NDArray[np.float32]]:
    """(L, 2) near duplicates and their scores, from the tree and the listed pairs; some twice.

    The tree joins everything that is near by distance; where scores are not distances, pairs may join more.
    """
    score = np.concatenate([scores.tree_score, scores.pair_score])
    near = is_below(score, threshold)
    return np.concatenate([scores.tree_index, scores.pair_index])[near], score[near]


def _group_distances(groups: IntArray, scores: Scores, threshold: float) -> csr_array:
    """(G, G) distances of groups of exact copies that are near duplicates, each in both directions, once."""
    score = np.concatenate([scores.pair_score, scores.tree_score])
    index = np.concatenate([scores.pair_index, scores.tree_index])
    distance = np.concatenate([scores.pair_distance, scores.tree_distance])
    near = is_below(score, threshold)
    pairs, distance = np.sort(groups[index[near]], axis=1), distance[near]
    apart = pairs[:, 0] != pairs[:, 1]
    (first, second), distance = pairs[apart].T, distance[apart]
    count = int(groups.max(initial=-1)) + 1
    _, once = np.unique(first * count + second, return_index=True)
    rows, columns = np.concatenate([first[once], second[once]]), np.concatenate([second[once], first[once]])
    both = np.concatenate([distance[once], distance[once]]).astype(np.float64)
    return coo_array((both, (rows, columns)), shape=(count, count)).tocsr()


def _keep_order(scores: Scores, keep: Keep, last: IntArray | BoolArray, groups: IntArray, near: csr_array) -> IntArray:
    """Positions, the first to be kept first."""
    position = np.arange(len(scores))
    if keep == "largest_image":
        if scores.pixels is None:
            raise SettingError(
                "keep='largest_image' needs the sizes of images, and these samples are not images (or an older "
                "version audited them): keep 'first' or 'most_central'"
            )
        return np.lexsort((position, -scores.pixels, last))
    if keep == "most_central":
        size = np.bincount(groups)
        beside = csr_array((np.ones(len(near.data)), near.indices, near.indptr), shape=near.shape)
        degree, total = beside @ size + size, near @ size
        return np.lexsort((position, (total / degree)[groups], -degree[groups], last))
    return np.lexsort((position, last))


def number_sets(owner: IntArray, distance: NDArray[np.float32], best: IntArray) -> DuplicateSets:
    """Sets in order of their first members; `best` is the position of the best copy of each group."""
    owners, first, inverse = np.unique(owner, return_index=True, return_inverse=True)
    order = np.argsort(np.where(owners < 0, -1, first), kind="stable")  # samples in no set come first
    none = int((owners < 0).any())
    number = np.empty(len(owners), np.int64)
    number[order] = np.arange(len(owners)) - none
    kept = best[owners[order][none:]]
    return DuplicateSets(number[inverse], kept, distance)
