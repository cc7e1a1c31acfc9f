"""What is known of the edges out of the components of a growing forest: near samples, and bounds on all others."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from selfclean_hooks.neighbors.clusters import TightParts
from selfclean_hooks.neighbors.exact_search import OTHER, screened_neighbors, search_neighbors
from selfclean_hooks.neighbors.screening.lower_bounds import LowerBounds
from selfclean_hooks.neighbors.screening.screen import Screen, make_screen
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, IntArray

OUTSIDE = 8  # samples outside of a component that are listed when a row is searched again
BATCH = 4096  # rows whose bounds are looked at together


class EdgeLists:
    """Of every sample some neighbours, with their distances or what these are at least.

    Searched lists hold what is nearest outside of the component: its inside can only grow. They are found by the screen
    alone, and distances are computed where one may be the shortest of its component. Where the screen does not resolve
    them, the sample is searched for the second time, and exactly.
    """

    def __init__(self, x: UnitRows, indices: IntArray, distances: Float32Array, bounds: LowerBounds | None) -> None:
        self.x, self.bounds = x, bounds
        self.parts: TightParts | None = None
        self.indices, self.low, self.is_exact = indices, distances, np.ones(indices.shape, bool)
        self.end = distances[:, -1].copy()  # what is not listed is no nearer
        self.rough = np.zeros(len(x), np.int64)  # size of the component outside of which it was found by the screen
        self.probed = np.zeros(len(x), np.int64)  # size of the component that an edge was looked for
        self.probe, self.reach = np.arange(len(x)), np.full(len(x), np.inf, np.float32)  # some edge, and its length
        self.is_searched = np.zeros(len(x), bool)

    @cached_property
    def screen(self) -> Screen:
        """Of all rows."""
        return make_screen(self.x)

    def nearest_outside(self, component: IntArray) -> tuple[IntArray, Float32Array, BoolArray]:
        """Per sample: the nearest outside of its component or -1, at what distance at least, and if that is exact."""
        parts = [self._nearest_outside(slice(at, at + BATCH), component) for at in range(0, len(component), BATCH)]
        target, low, is_exact = (np.concatenate(part) for part in zip(*parts, strict=True))
        return target, low, is_exact

    def _nearest_outside(self, rows: slice, component: IntArray) -> tuple[IntArray, Float32Array, BoolArray]:
        """Of some samples."""
        near, end = self.indices[rows], self.end[rows]
        outside = (component[near] != component[rows, None]) & (near >= 0)
        low = np.where(outside, self.low[rows], np.float32(np.inf))
        every, place = np.arange(len(low)), low.argmin(1)
        shortest = low[every, place]
        listed = (shortest <= end) & outside[every, place]
        target = np.where(listed, near[every, place], -1)
        return target, np.minimum(shortest, end), listed & self.is_exact[rows][every, place]

    def search_again(
        self, component: IntArray, doubtful: IntArray, best: Float32Array, target: IntArray, length: Float32Array
    ) -> None:
        """Find out more of doubtful samples, for the components that need the least work.

        Called when no component can be joined. The largest is not searched: others will join it.
        """
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
        limit, size = float(best[chosen].max()), np.bincount(component)[component]
        if self.bounds is None:
            is_new = self.rough[wide] == 0
            self._search_columns(wide[is_new], component, length, limit, exact=False)
        else:
            is_new = self.rough[wide] != size[wide]
            if is_new.any() and not self._search_ranges(self.bounds, wide[is_new], component, best):
                is_new &= not is_new.all()  # bounds show no more of them: they are searched exactly
        self._search_columns(wide[~is_new], component, length, limit, exact=True)
        self.is_searched[np.concatenate([narrow, wide])] = True

    def _search_columns(
        self, rows: IntArray, component: IntArray, length: Float32Array, limit: float, exact: bool
    ) -> None:
        """Search for what is nearest outside of the component to some rows, up to a limit."""
        if not len(rows):
            return
        # an edge shorter than this has both ends closer than that to a sample outside: no other column counts
        columns, groups = torch.from_numpy((length < limit).nonzero()[0]), torch.from_numpy(component)
        m = min(OUTSIDE, self.indices.shape[1])
        if exact:
            near, far = search_neighbors(self.x, torch.from_numpy(rows), m, groups, OTHER, columns, self.screen)
        else:
            near, far = screened_neighbors(self.screen, torch.from_numpy(rows), m, groups, columns)
        end = far[:, -1].clamp(max=limit).numpy()
        self._replace(rows, near.numpy(), far.numpy(), end, exact)
        self.rough[rows] = 0 if exact else np.bincount(component)[component[rows]]

    def _search_ranges(self, bounds: LowerBounds, rows: IntArray, component: IntArray, best: Float32Array) -> bool:
        """The same where bounds show in which ranges an edge may be found that is shorter than the best known.

        The first time an edge out of each component is looked for where that is likely to be short. Returns whether
        more is known now.
        """
        is_out, best = component[self.probe] != component, best.copy()
        np.minimum.at(best, component[is_out], self.reach[is_out])
        first, place, pairs = np.empty(len(rows), np.float32), np.empty(len(rows), np.int64), []
        before, between = self.end[rows], bounds.between(component)
        for at in (slice(start, start + BATCH) for start in range(0, len(rows), BATCH)):
            some = rows[at]
            lower, is_outside = bounds.outside(some, component, between)
            likely = np.where(is_outside, lower, lower + 1)  # longer than any distance
            first[at], place[at] = likely.min(1), likely.argmin(1)
            self.end[some] = np.maximum(self.end[some], lower.min(1))
            limit = best[component[some]]
            row, part = ((lower <= limit[:, None]) & (lower < np.inf) & (self.end[some] <= limit)[:, None]).nonzero()
            pairs.append(np.stack([some[row], part]))
        order = np.lexsort((first, component[rows]))
        row = order[np.unique(component[rows][order], return_index=True)[1]]
        size = np.bincount(component)[component]
        row = row[self.probed[rows[row]] != size[rows[row]]]
        if len(row):
            some, near, _ = bounds.search(rows[row], place[row], component, 1)
            length = self.x.distances(torch.from_numpy(some), torch.from_numpy(near))[:, 0].numpy()
            self.probe[some], self.reach[some] = near[:, 0], length
            members = np.isin(component, component[some])
            self.probed[members] = size[members]
            return True
        samples, ranges = np.concatenate(pairs, 1)
        if not len(samples):
            return bool((self.end[rows] > before).any())
        some, near, low = bounds.search(samples, ranges, component, min(OUTSIDE, self.indices.shape[1]))
        self._replace(some, near, low, np.minimum(low[:, -1], best[component[some]]), exact=False)
        self.rough[some] = size[some]
        return True

    def _measure(self, rows: IntArray, columns: IntArray) -> None:
        """Compute the distances of some samples to one that is listed of each."""
        place = (self.indices[rows] == columns[:, None]).argmax(1)
        pairs = torch.from_numpy(rows), torch.from_numpy(columns).unsqueeze(1)
        self.low[rows, place], self.is_exact[rows, place] = self.x.distances(*pairs)[:, 0].numpy(), True

    def _replace(self, rows: IntArray, near: IntArray, far: Float32Array, end: Float32Array, exact: bool) -> None:
        m = near.shape[1]
        self.indices[rows], self.low[rows], self.end[rows] = -1, np.inf, end
        self.indices[rows, :m], self.low[rows, :m], self.is_exact[rows] = near, far, exact
