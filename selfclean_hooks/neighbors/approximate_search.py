"""Nearest neighbours on request from an inverted file of faiss, with the recall that it has on these data.

They are for votes alone: the tree needs all distances, and the pass over these finds the exact neighbours too.

Rows are sorted into lists by their nearest centroid and rounded to four bits a dimension. Of every row only the lists
of the nearest centroids are searched, by what was rounded, and distances of the nearest found are computed: of as many
lists and as many rows as find 99% of the neighbours of some rows, which are searched for exactly too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.errors import SettingError
from selfclean_hooks.neighbors.distinct_rows import DistinctRows
from selfclean_hooks.neighbors.exact_search import ANY, rank_by_distance, search_neighbors
from selfclean_hooks.neighbors.knn import NeighborLists, nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows

EXACT, APPROXIMATE = "exact", "approximate"
SEARCHES = (EXACT, APPROXIMATE)
WANTED = 0.99  # recall
PROBES = 200  # rows that it is measured on
LEAST = 50_000  # rows; fewer are searched exactly, which takes no longer
LISTS = 2.0  # times the root of the number of rows
TRAINING = 64  # rows of each list that centroids are found from
STEPS, ROUNDING_STEPS = 10, 4  # of k-means, for centroids and for what is rounded to: they need not be the best
BITS = 4  # a dimension
FIRST_LISTS, FIRST_WIDTH = 8, 4  # that are searched; rows whose distances are computed, times k
GAIN = 0.002  # of recall: where twice the lists find less than that, more rows must be compared
BLOCK = 4096


class NeighborSearch(Protocol):
    """Finds the nearest of every row, as `nearest_neighbors` does."""

    def __call__(self, x: UnitRows, k: int) -> NeighborLists:
        """The k nearest of N rows."""


@dataclass(frozen=True)
class Recall:
    """Shares, in [0, 1], of the nearest and of the k nearest neighbours that were found, on a sample of rows."""

    first: float
    of_all: float
    k: int
    rows: int

    def __str__(self) -> str:
        shares = f"{self.first:.1%} of the nearest and {self.of_all:.1%} of the {self.k} nearest neighbours"
        how = f"{shares} were found, measured on {self.rows} samples"
        return f'neighbours that vote on labels are approximate (search="approximate"): {how}'


@dataclass(eq=False)
class ApproximateSearch:
    """`NeighborSearch` by faiss. `recalls` holds what each search found."""

    recalls: list[Recall] = field(default_factory=list)

    def __call__(self, x: UnitRows, k: int) -> NeighborLists:
        """See `NeighborSearch`."""
        k, distinct = min(k, len(x) - 1), DistinctRows.among(x)
        some = x if len(distinct) == len(x) else x[distinct.first]
        if len(some) < LEAST:
            found = nearest_neighbors(x, k)
        else:
            indices, distances = _from_lists(some, min(k, len(some) - 1))
            if len(some) < len(x):
                indices, distances = distinct.expand(indices, distances, k)
            again = (indices[:, -1] < 0).nonzero()[:, 0]
            indices[again], distances[again] = search_neighbors(x, again, k, torch.zeros(len(x), dtype=torch.int64))
            found = NeighborLists(indices, distances, None, None, len(again))
        self.recalls.append(_measured(x, found, k))
        return found


def check_search(search: str) -> None:
    """Raise SettingError where there is no such search, or faiss is needed and not installed."""
    if search not in SEARCHES:
        raise SettingError(f"search must be one of {', '.join(SEARCHES)}, got {search!r}")
    if search == APPROXIMATE and find_spec("faiss") is None:
        raise SettingError("search='approximate' needs faiss: pip install 'selfclean-hooks[faiss]'")


def _from_lists(x: UnitRows, k: int) -> tuple[Tensor, Tensor]:
    """Positions and distances (N, k) of rows of which none are equal; -1 and inf where the lists hold no more."""
    rows = torch.nonzero(x.zero == 0)[:, 0]  # a zero row is far from all, and no Euclidean distance says so
    index = _Lists(x if len(rows) == len(x) else x[rows])
    index.adapt(k)
    indices = torch.full((len(x), k), -1)
    distances = torch.full((len(x), k), torch.inf, dtype=torch.float32)
    for part in torch.split(torch.arange(len(rows)), BLOCK):
        near, distances[rows[part]] = index.nearest(part, k)
        indices[rows[part]] = torch.where(near >= 0, rows[near], -1)
    return indices, distances


class _Lists:
    """Rows of which none is zero, in the lists of faiss."""

    def __init__(self, x: UnitRows) -> None:
        faiss: Any = import_module("faiss")
        self.x, (n, dim) = x, x.values.shape
        lists, values = int(LISTS * n**0.5), x.values.numpy()
        self.index = faiss.IndexIVFPQFastScan(faiss.IndexFlatL2(dim), dim, lists, dim, BITS, faiss.METRIC_L2)
        self.index.cp.min_points_per_centroid, self.index.cp.max_points_per_centroid = 1, TRAINING
        self.index.cp.niter, self.index.pq.cp.niter = STEPS, ROUNDING_STEPS
        self.index.nprobe = min(FIRST_LISTS, lists)
        self.index.train(values[:: max(1, n // (TRAINING * lists))])
        self.index.add(values)
        self.width = FIRST_WIDTH

    def adapt(self, k: int) -> None:
        """Search as many lists, and compare as many rows, as find the wanted share of the neighbours of some rows."""
        rows, found = _sample(len(self.x)), -1.0
        exact = search_neighbors(self.x, rows, k, rows)[0]
        while True:
            before, found = found, _share(self.nearest(rows, k)[0], exact)
            has_all = self.width * k >= len(self.x)
            if found >= WANTED or (has_all and self.index.nprobe >= self.index.nlist):
                return
            if self.index.nprobe < self.index.nlist and (found > before + GAIN or has_all):
                self.index.nprobe = min(2 * self.index.nprobe, self.index.nlist)
            else:
                self.width, found = 2 * self.width, -1.0

    def nearest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Positions and distances (R, k) of the nearest other rows to some (R,); -1 where the lists hold no more."""
        width = min(len(self.x), self.width * k + 1)
        near = torch.from_numpy(self.index.search(self.x.values[rows].numpy(), width)[1])
        near, distances = rank_by_distance(self.x, rows, near.masked_fill_(near == rows.unsqueeze(1), -1))
        return near[:, :k], distances[:, :k]


def _share(found: Tensor, wanted: Tensor) -> float:
    """Which share of the wanted (R, k) is among those found (R, k)."""
    return float((wanted.unsqueeze(2) == found.unsqueeze(1)).any(2).float().mean())


def _sample(n: int) -> Tensor:
    return torch.from_numpy(np.linspace(0, n - 1, min(n, PROBES)).round().astype(np.int64))


def _measured(x: UnitRows, found: NeighborLists, k: int) -> Recall:
    """Equally near neighbours count as found."""
    rows = _sample(len(x))
    exact = search_neighbors(x, rows, k, torch.zeros(len(x), dtype=torch.int64), ANY)[1]
    hit = found.distances[rows] <= exact[:, -1:] * (1 + 1e-5)
    first = found.distances[rows, 0] <= exact[:, 0] * (1 + 1e-5)
    return Recall(float(first.float().mean()), float(hit.float().mean()), k, len(rows))
