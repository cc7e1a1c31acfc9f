"""The single-linkage tree of N samples, exact and in O(N) memory.

Boruvka's algorithm: every component joins its nearest neighbour until one is left. The nearest sample outside of the
component is read off the neighbour lists. An edge found there is the shortest one out of its component unless some
member has its whole list inside and ends it below that edge's length; only such members are searched for again, those
of the components that need the least work first, and never those of the largest component (it is joined by the
others). The edges, sorted, are the tree; joining them in that order gives the dendrogram in the format of
`scipy.cluster.hierarchy`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.neighbors.clusters import TightParts
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.exact_search import OTHER, screened_neighbors, search_neighbors
from selfclean_hooks.neighbors.knn import NeighborLists
from selfclean_hooks.neighbors.screen import make_screen
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, IntArray

OUTSIDE = 8  # samples outside of a component that are listed when a row is searched again


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
        sets, cluster = DisjointSet(range(n)), list(range(n))  # cluster: of the sample that stands for a set
        merges = np.empty((n - 1, 4))
        for step, ((i, j), height) in enumerate(zip(self.edges.tolist(), self.lengths.tolist(), strict=True)):
            joined = sorted((cluster[sets[i]], cluster[sets[j]]))
            sets.merge(i, j)
            cluster[sets[i]] = n + step
            merges[step] = *joined, height, sets.subset_size(i)
        merges.setflags(write=False)
        return merges


def leaf_order(linkage: NDArray[np.floating]) -> tuple[IntArray, IntArray]:
    """The N samples in an order in which every cluster is one slice, and where the slice of each cluster starts.

    Args:
        linkage: (N - 1, 4), the format of `scipy.cluster.hierarchy`.
    """
    n = len(linkage) + 1
    start, merges, leaves = [0] * (2 * n - 1), linkage[:, :2].astype(np.int64).tolist(), [1] * n
    leaves += linkage[:, 3].astype(np.int64).tolist()
    for step in range(n - 2, -1, -1):
        first, second = merges[step]
        start[first] = start[n + step]
        start[second] = start[n + step] + leaves[first]
    starts = np.array(start, np.int64)
    order = np.empty(n, np.int64)
    order[starts[:n]] = np.arange(n)
    return order, starts


def minimum_spanning_tree(x: UnitRows, neighbors: NeighborLists, of_graph: bool = False) -> Tree:
    """Minimum spanning tree of all N(N - 1)/2 distances, started from the neighbour lists of `nearest`.

    With `of_graph` that of the listed pairs alone, as far as they connect the samples; what they leave apart is joined
    by the shortest of all distances.
    """
    distinct = DistinctRows.among(x)
    first, of = distinct.first.numpy(), distinct.of.numpy()
    indices, distances = neighbors.indices.numpy()[first], neighbors.distances.numpy()[first]
    indices = np.where(indices >= 0, of[indices], -1)
    some = x if len(distinct) == len(x) else x[distinct.first]
    edges, lengths, searched = _tree_of_distinct(some, indices, distances, of_graph)
    copies = (first[of] != np.arange(len(of))).nonzero()[0]
    edges = np.concatenate([first[edges], np.stack([first[of[copies]], copies], 1)])
    lengths = np.concatenate([lengths, distinct.spacing.numpy()[of[copies]]])
    return _build_tree(len(x), np.sort(edges, axis=1), lengths, searched)


def _tree_of_distinct(
    x: UnitRows, indices: IntArray, distances: Float32Array, of_graph: bool
) -> tuple[IntArray, Float32Array, int]:
    """Edges (U - 1 or more, 2) that hold the tree of U rows, from their lists (U, k), and how many were searched."""
    n, lists = len(x), _EdgeLists(x, indices, distances, of_graph)
    component, count = np.arange(n), n
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
    return edges, lengths, lists.searched


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


class _EdgeLists:
    """Of every sample some neighbours, with their distances or what these are at least.

    Searched lists hold what is nearest outside of the component: its inside can only grow. They are found by the screen
    alone, and distances are computed where one may be the shortest of its component. Where the screen does not resolve
    them, the sample is searched for the second time, and exactly.
    """

    def __init__(self, x: UnitRows, indices: IntArray, distances: Float32Array, of_graph: bool) -> None:
        self.x, self.screen, self.of_graph = x, make_screen(x), of_graph
        self.parts: TightParts | None = None
        self.indices, self.low, self.is_exact = indices, distances, np.ones(indices.shape, bool)
        self.end = distances[:, -1].copy()  # what is not listed is no nearer
        self.is_rough = np.zeros(len(x), bool)  # found by the screen
        self.searched = 0

    def nearest_outside(self, component: IntArray) -> tuple[IntArray, Float32Array, BoolArray]:
        """Per sample: the nearest outside of its component or -1, at what distance at least, and if that is exact."""
        outside = (component[self.indices] != component[:, None]) & (self.indices >= 0)
        low = np.where(outside, self.low, np.float32(np.inf))
        every, place = np.arange(len(low)), low.argmin(1)
        shortest = low[every, place]
        end = np.full_like(self.end, np.inf) if self.of_graph else self.end
        listed = (shortest <= end) & outside[every, place]
        target = np.where(listed, self.indices[every, place], -1)
        return target, np.minimum(shortest, end), listed & self.is_exact[every, place]

    def search_again(
        self, component: IntArray, doubtful: IntArray, best: Float32Array, target: IntArray, length: Float32Array
    ) -> None:
        """Find out more of doubtful samples, for the components that need the least work.

        Called when no component can be joined. The largest is not searched: others will join it.
        """
        if self.of_graph:  # all that the lists connect is joined
            self.of_graph = False
            return
        work = np.bincount(component[doubtful], minlength=len(best))
        largest = np.bincount(component).argmax()
        chosen = work <= 2 * np.delete(work, largest).min()
        chosen[largest] = False
        doubtful = doubtful[chosen[component[doubtful]]]
        listed = doubtful[target[doubtful] >= 0]
        if len(listed):
            self._measure(listed, target[listed])
            return
        self.parts = TightParts.among(self.x, component) if self.parts is None else self.parts
        narrow, nearest, bound = self.parts.search(self.x, component, chosen, best)
        self._replace(narrow, nearest[:, None], bound[:, None], bound, exact=True)
        wide = doubtful[~self.parts.is_narrow[doubtful]]
        # an edge shorter than this has both ends closer than that to a sample outside: no other column counts
        limit = float(best[chosen].max())
        columns, groups = torch.from_numpy((length < limit).nonzero()[0]), torch.from_numpy(component)
        m = min(OUTSIDE, self.indices.shape[1])
        before = self.is_rough[wide]
        for again, rows in ((False, wide[~before]), (True, wide[before])):
            if not len(rows):
                continue
            if again:
                near, far = search_neighbors(self.x, torch.from_numpy(rows), m, groups, OTHER, columns, self.screen)
            else:
                near, far = screened_neighbors(self.screen, torch.from_numpy(rows), m, groups, columns)
            end = far[:, -1].clamp(max=limit).numpy()
            self._replace(rows, near.numpy(), far.numpy(), end, exact=again)
        self.searched += len(narrow) + len(wide)

    def _measure(self, rows: IntArray, columns: IntArray) -> None:
        """Compute the distances of some samples to one that is listed of each."""
        place = (self.indices[rows] == columns[:, None]).argmax(1)
        pairs = torch.from_numpy(rows), torch.from_numpy(columns).unsqueeze(1)
        self.low[rows, place], self.is_exact[rows, place] = self.x.distances(*pairs)[:, 0].numpy(), True

    def _replace(self, rows: IntArray, near: IntArray, far: Float32Array, end: Float32Array, exact: bool) -> None:
        m = near.shape[1]
        self.indices[rows], self.low[rows], self.end[rows] = -1, np.inf, end
        self.indices[rows, :m], self.low[rows, :m], self.is_exact[rows] = near, far, exact
        self.is_rough[rows] = not exact


def _build_tree(n: int, edges: IntArray, lengths: Float32Array, searched: int) -> Tree:
    """Order the edges; leave out duplicates (two components may choose the same one) and, among equals, cycles."""
    order = np.lexsort((edges[:, 1], edges[:, 0], lengths))
    sets = DisjointSet(range(n))
    keep = [edge for edge, (i, j) in zip(order.tolist(), edges[order].tolist(), strict=True) if sets.merge(i, j)]
    return Tree(edges[keep], lengths[keep], searched)
