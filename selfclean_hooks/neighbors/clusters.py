"""Clusters narrower than the distances between them: the neighbours of their samples lie inside, the tree joins them.

For a part A of the data with centre c and radius r, and `n` the length from c to the nearest row outside of A's
component, the shortest edge from A is between n - r and n + r long, and its end lies within n + 2 r of c. So most parts
of a component need no search for it, and the others one among few columns, around a centre of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from torch import Tensor

from selfclean_hooks.neighbors.exact_search import ANY, search_neighbors
from selfclean_hooks.neighbors.screening.device import PROCESSOR
from selfclean_hooks.neighbors.unit_vectors import UnitRows, lengths_between, matrix_product
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

SAMPLE = 512  # rows that show whether there are clusters
MIN_ROWS = 256  # fewer are searched as a whole at next to no cost
GAP = 2.0  # from the longest step within clusters to the shortest between them
MARGIN = 1.01  # of comparisons, for rounding


def separated_clusters(x: UnitRows, least: int) -> list[Tensor]:
    """Positions of every cluster of at least `least` rows that is farther from all others than it is wide.

    They are guessed from some of the rows, where the tree of these has a gap, and then checked on all: a row within r
    of the cluster's centre is at most 2 r from the rows inside, and farther from those that lie beyond 3 r.
    """
    n = len(x)
    some = torch.from_numpy(np.linspace(0, n - 1, min(n, SAMPLE)).round().astype(np.int64))
    reach, cluster = _gap(x.values[some]) if n >= MIN_ROWS else (0.0, np.zeros(0, np.int64))
    if reach == 0:
        return []
    nearest, length = _nearest_of(x.values, x.values[some])
    of = torch.where(length <= reach, torch.from_numpy(cluster)[nearest], -1)
    of[x.zero > 0] = -1  # these are far from each other too
    found = [(of == code).nonzero()[:, 0] for code in range(int(cluster.max()) + 1)]
    found = [members for members in found if len(members) >= least]
    if not found:
        return []
    centres = torch.stack([x.values[members].mean(0) for members in found])
    lengths = torch.cat([lengths_between(part, centres) for part in torch.split(x.values, 4096)])
    return [members for at, members in enumerate(found) if _lies_apart(lengths[:, at], members)]


def _gap(rows: Tensor) -> tuple[float, IntArray]:
    """A length within the widest gap of the tree of rows (S, D), 0 if there is none, and their clusters (S,) there."""
    z = (rows - rows.mean(0)).double()
    tree = linkage(z.numpy(), "single")
    heights = tree[:, 2]
    ratio = heights[1:] / np.maximum(heights[:-1], 1e-12)
    ratio[: len(ratio) // 4] = 0  # a few rows alike are no clusters
    at = int(ratio.argmax()) if len(ratio) else 0
    if not len(ratio) or ratio[at] < GAP:
        return 0.0, np.zeros(len(rows), np.int64)
    between = float(np.sqrt(heights[at] * heights[at + 1]))
    return between, fcluster(tree, between, "distance").astype(np.int64) - 1


def _nearest_of(rows: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the nearest of some rows (S, D), by products, and its length."""
    lengths = [lengths_between(part, some).min(1) for part in torch.split(rows, 4096)]
    return torch.cat([part.indices for part in lengths]), torch.cat([part.values for part in lengths])


def _lies_apart(lengths: Tensor, members: Tensor) -> bool:
    """Whether the rows beyond are more than three times as far from the centre as any member; lengths (N,)."""
    beyond = torch.ones(len(lengths), dtype=torch.bool)
    beyond[members] = False
    wide = float(lengths[members].max())
    return bool((lengths[beyond] > 3 * MARGIN * wide).all()) if beyond.any() else False


PIVOTS = 128  # rows that others are placed beside: each cluster is to have one
MIN_PLACED = 4096  # fewer stand in two tiles or so


def similar_together(x: UnitRows, classes: Tensor | None = None) -> Tensor:
    """An order (N,) in which every class is a slice, and in it similar rows stand together, by and large."""
    n = len(x)
    order = torch.arange(n)
    if n >= MIN_PLACED:
        pivots = _pivots(x)
        turn = np.empty(PIVOTS, np.int64)
        turn[leaves_list(linkage(pivots.numpy(), "average"))] = np.arange(PIVOTS)
        beside = torch.cat([matrix_product(part, pivots).argmax(1) for part in torch.split(x.values, 4096)])
        order = torch.argsort(torch.from_numpy(turn)[beside], stable=True)
    return order if classes is None else order[torch.argsort(classes[order], stable=True)]


def _pivots(x: UnitRows) -> Tensor:
    """Rows (P, D): half of them evenly spaced, half the farthest from these and each other, so that none lies alone."""
    some = x.values[torch.from_numpy(np.linspace(0, len(x) - 1, SAMPLE).round().astype(np.int64))]
    similarity = matrix_product(some, some).numpy()
    chosen = np.linspace(0, SAMPLE - 1, PIVOTS // 2).round().astype(np.int64).tolist()
    nearest = similarity[chosen].max(0)
    while len(chosen) < PIVOTS:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, similarity[chosen[-1]])
    return some[chosen]


NARROW = 0.25  # mean squared length from the centre, as a share of that from the mean of all
LEAST = 8  # rows of a part
MOST_PAIRS = 1 << 24  # of parts
ROUNDING = 2e-6  # of lengths


@dataclass(frozen=True, eq=False)
class TightParts:
    """P parts, of which T are narrow, and the lengths between them."""

    of: IntArray  # (N,) part of each row
    is_narrow: BoolArray  # (N,) whether that is narrow
    narrow: IntArray  # (T,) parts that are narrow
    radius: FloatArray  # (T,)
    nearest: Float32Array  # (T, P) from the centre to the nearest row of each part

    @classmethod
    def among(cls, x: UnitRows, part: IntArray) -> TightParts:
        """The narrow ones of the parts (N,), codes from 0."""
        of, count, every = torch.from_numpy(part), int(part.max()) + 1, torch.split(torch.arange(len(part)), 256)
        size = torch.bincount(of, minlength=count)
        centres = torch.zeros(count, x.values.shape[1], dtype=torch.float32)
        centres.index_add_(0, of, x.values).div_(size.unsqueeze(1))
        squares = torch.zeros(count, dtype=torch.float64).index_add_(0, of, 1 - x.zero.double())
        spread = squares - size * centres.double().square().sum(1)
        of_centres = (centres - x.values.mean(0)).square().sum(1)
        whole = float((spread + size * of_centres).sum()) / len(of)
        narrow = ((spread <= NARROW * whole * size) & (size >= LEAST)).nonzero()[: MOST_PAIRS // count, 0]
        is_narrow = torch.zeros(count, dtype=torch.bool).index_fill_(0, narrow, True)[of]
        radius = torch.zeros(count, dtype=torch.float32)
        for some in torch.split(is_narrow.nonzero()[:, 0], 256):
            length = centres[of[some]].sub_(x.values[some]).norm(dim=1)
            radius.scatter_reduce_(0, of[some], length, "amax")
        radius = radius[narrow]
        nearest = torch.full((count, len(narrow)), torch.inf, dtype=torch.float32)
        for some in every if len(narrow) else ():
            lengths = lengths_between(x.values[some], centres[narrow])
            lengths = torch.hypot(lengths, x.zero[some].unsqueeze(1))  # a zero row lies beyond all others
            nearest.scatter_reduce_(0, of[some].unsqueeze(1).expand_as(lengths), lengths, "amin")
        wide = radius.double().numpy() * (1 + ROUNDING) + ROUNDING
        return cls(part, is_narrow.numpy(), narrow.numpy(), wide, nearest.T.contiguous().numpy())

    def search(
        self, x: UnitRows, component: IntArray, chosen: BoolArray, best: Float32Array
    ) -> tuple[IntArray, IntArray, Float32Array]:
        """The nearest row outside of the component of every row of a narrow part, or a bound.

        Args:
            x: N rows.
            component: (N,) codes.
            chosen: (C,) components whose shortest edge is wanted.
            best: (C,) the shortest edge known of each.

        Returns:
            Rows, the nearest of each or -1, and its distance or one that no row outside is nearer than.
        """
        component_of = np.zeros(self.nearest.shape[1], np.int64)
        component_of[self.of] = component  # a part is never split
        own = component_of[self.narrow]
        wanted = chosen[own]
        narrow, own, radius = self.narrow[wanted], own[wanted], self.radius[wanted]
        lengths = np.where(own[:, None] == component_of, np.inf, self.nearest[wanted])
        first = lengths.min(1, initial=np.inf)
        longest = 2 * np.sqrt(best.astype(np.float64))
        np.minimum.at(longest, own, first + radius)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))]
        for at, part in enumerate(narrow):
            rows = (self.of == part).nonzero()[0]
            shortest = max(0.0, first[at] - radius[at] - ROUNDING)
            target, distance = np.full(len(rows), -1), np.full(len(rows), shortest**2 / 4, np.float32)
            if shortest <= longest[own[at]]:
                columns = (lengths[at] <= first[at] + 2 * radius[at] + ROUNDING)[self.of].nonzero()[0]
                samples, others = torch.from_numpy(rows), torch.from_numpy(columns)
                near, far = search_neighbors(
                    x, samples, 1, samples, ANY, others, PROCESSOR.precision(), above=shortest**2 / 4
                )
                limit = (first[at] + radius[at]) ** 2 / 4
                target = np.where(far[:, 0].numpy() <= limit, near[:, 0].numpy(), -1)
                distance = np.minimum(far[:, 0].numpy(), limit).astype(np.float32)
            found.append((rows, target, distance))
        rows, target, distance = (np.concatenate(each) for each in zip(*found, strict=True))
        return rows, target, distance
