"""The single-linkage tree of N samples, exact and in O(N) memory.

Boruvka's algorithm: every component joins its nearest neighbour until one is left. The nearest sample outside of the
component is read off the neighbour lists. An edge found there is the shortest one out of its component unless some
member has its whole list inside and ends it below that edge's length; only such members are searched for again, those
of the components that need the least work first, and never those of the largest component (it is joined by the
others), and only among ranges of samples that may hold an edge so short, by the bounds that the search for neighbours
has left. The edges, sorted, are the tree; joining them in that order gives the dendrogram in the format of
`scipy.cluster.hierarchy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.knn import NeighborLists
from selfclean_hooks.neighbors.tree.edge_lists import EdgeLists
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, IntArray


@dataclass(frozen=True, eq=False)
class Tree:
    """A minimum spanning tree, shortest edge first."""

    edges: IntArray  # (N - 1, 2), smaller position first
    lengths: Float32Array  # (N - 1,) distances in [0, 1], ascending
    num_fallback_rows: int  # samples whose neighbour list was not enough

    def linkage(self) -> NDArray[np.float64]:
        """The dendrogram, (N - 1, 4): clusters joined (lower id first), height, number of samples. Read-only."""
        return self._dendrogram

    @cached_property
    def _dendrogram(self) -> NDArray[np.float64]:
        n = len(self.edges) + 1
        sets, cluster, size = _Sets(n), list(range(n)), [1] * n  # cluster, size: of the sample that stands for a set
        first, second = np.empty((2, n - 1), np.int64)
        leaves = np.empty(n - 1)
        for step, (i, j) in enumerate(zip(*self.edges.T.tolist(), strict=True)):
            a, b = sets.of(i), sets.of(j)
            a, b = (a, b) if size[a] >= size[b] else (b, a)
            first[step], second[step] = cluster[a], cluster[b]
            sets.parent[b] = a
            cluster[a] = n + step
            size[a] += size[b]
            leaves[step] = size[a]
        ends = np.minimum(first, second), np.maximum(first, second)
        merges = np.stack([*ends, self.lengths.astype(np.float64), leaves], 1)
        merges.setflags(write=False)
        return merges


class _Sets:
    """Disjoint sets of the numbers below n."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))

    def of(self, i: int) -> int:
        """The number that stands for the set."""
        parent = self.parent
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    def join(self, i: int, j: int) -> bool:
        """Unite the sets of two numbers; whether they were in two."""
        a, b = self.of(i), self.of(j)
        self.parent[max(a, b)] = min(a, b)
        return a != b


def leaf_order(linkage: NDArray[np.floating]) -> tuple[IntArray, IntArray]:
    """The N samples in an order in which every cluster is one slice, and where the slice of each cluster starts.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`.
    """
    n = len(linkage) + 1
    firsts, seconds, _, leaves = linkage.astype(np.int64).T.tolist()  # no list a merge: collecting these takes longer
    start, leaves = [0] * (2 * n - 1), [1] * n + leaves
    for step, first, second in zip(range(n - 2, -1, -1), reversed(firsts), reversed(seconds), strict=True):
        start[first] = start[n + step]
        start[second] = start[n + step] + leaves[first]
    starts = np.array(start, np.int64)
    order = np.empty(n, np.int64)
    order[starts[:n]] = np.arange(n)
    return order, starts


def minimum_spanning_tree(x: UnitRows, neighbors: NeighborLists) -> Tree:
    """Minimum spanning tree of all N(N - 1)/2 distances, started from the neighbour lists of `nearest`."""
    distinct = DistinctRows.among(x)
    first, of = distinct.first.numpy(), distinct.of.numpy()
    indices, distances = neighbors.indices.numpy()[first], neighbors.distances.numpy()[first]
    some = x
    if len(distinct) < len(x):
        indices, some = np.where(indices >= 0, of[indices], -1), x[distinct.first]
    bounds = None if neighbors.bounds is None else neighbors.bounds.at(distinct.first)
    edges, lengths, searched = _tree_of_distinct(some, EdgeLists(some, indices, distances, bounds))
    copies = (first[of] != np.arange(len(of))).nonzero()[0]
    edges = np.concatenate([first[edges], np.stack([first[of[copies]], copies], 1)])
    lengths = np.concatenate([lengths, distinct.spacing.numpy()[of[copies]]])
    return _build_tree(len(x), np.sort(edges, axis=1), lengths, searched)


def _tree_of_distinct(x: UnitRows, lists: EdgeLists) -> tuple[IntArray, Float32Array, int]:
    """Edges (U - 1 or more, 2) that hold the tree of U rows, from their lists, and how many were searched."""
    component, count = np.arange(len(x)), len(x)
    chosen: list[tuple[IntArray, Float32Array]] = [(np.empty((0, 2), np.int64), np.empty(0, np.float32))]
    while count > 1:
        target, length, is_exact = lists.nearest_outside(component)
        row, doubtful, best = _shortest_edges(component, count, target, length, is_exact)
        if len(row) == 0:
            lists.search_again(component, doubtful, best, target, length)
            continue
        chosen.append((np.stack([row, target[row]], 1), length[row]))
        ends = component[np.stack([row, target[row]])].astype(np.int32)  # older scipy searches graphs of int32 only
        links = coo_array((np.ones(len(row)), tuple(ends)), shape=(count, count))
        count, joined = connected_components(links, directed=False)
        component = joined[component].astype(np.int64)
    edges, lengths = (np.concatenate(part) for part in zip(*chosen, strict=True))
    return edges, lengths, int(lists.is_searched.sum())


def _shortest_edges(
    component: IntArray, count: int, target: IntArray, length: Float32Array, is_exact: BoolArray
) -> tuple[IntArray, IntArray, Float32Array]:
    """The shortest edge out of every component, as far as the lists certify it.

    Returns samples whose edge is certified as the shortest, samples of which more must be known to certify it, and per
    component the shortest length known.
    """
    best = np.full(count, np.inf, np.float32)
    np.minimum.at(best, component[is_exact], length[is_exact])
    doubtful = (~is_exact & (length < best[component])).nonzero()[0]
    certain = np.isfinite(best)
    certain[component[doubtful]] = False
    row = (is_exact & certain[component] & (length == best[component])).nonzero()[0]
    low, high = np.minimum(row, target[row]), np.maximum(row, target[row])
    row = row[np.lexsort((high, low, component[row]))]
    return row[np.unique(component[row], return_index=True)[1]], doubtful, best


def _build_tree(n: int, edges: IntArray, lengths: Float32Array, searched: int) -> Tree:
    """Order the edges; leave out duplicates (two components may choose the same one) and, among equals, cycles."""
    order = np.lexsort((edges[:, 1], edges[:, 0], lengths))
    edges, lengths = edges[order], lengths[order]
    is_first = np.ones(len(edges), bool)
    is_first[1:] = (edges[1:] != edges[:-1]).any(1)
    edges, lengths = edges[is_first], lengths[is_first]
    if len(edges) >= n:
        sets = _Sets(n)
        keep = [sets.join(i, j) for i, j in zip(*edges.T.tolist(), strict=True)]
        edges, lengths = edges[keep], lengths[keep]
    return Tree(edges, lengths, searched)
