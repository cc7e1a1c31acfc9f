"""Clusters so far apart that the neighbours of their samples lie inside."""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from selfclean_hooks.neighbors.unit_vectors import UnitRows, matrix_product

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
    lengths = torch.cat([_lengths(part, centres) for part in torch.split(x.values, 4096)])
    return [members for at, members in enumerate(found) if _lies_apart(lengths[:, at], members)]


def _gap(rows: Tensor) -> tuple[float, np.ndarray]:
    """A length within the widest gap of the tree of rows (S, D), 0 if there is none, and their clusters (S,) there."""
    z = (rows - rows.mean(0)).double()
    tree = linkage(z.numpy(), "single")
    heights = tree[:, 2]
    ratio = heights[1:] / np.maximum(heights[:-1], 1e-12)
    ratio[: len(ratio) // 4] = 0  # a few rows alike are no clusters
    at = int(ratio.argmax()) if len(ratio) else 0
    if not len(ratio) or ratio[at] < GAP:
        return 0.0, np.zeros(len(rows), np.int64)
    cut = float(np.sqrt(heights[at] * heights[at + 1]))
    return cut, fcluster(tree, cut, "distance").astype(np.int64) - 1


def _nearest_of(rows: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) the nearest of some rows (S, D), by products, and its length."""
    lengths = [_lengths(part, some).min(1) for part in torch.split(rows, 4096)]
    return torch.cat([part.indices for part in lengths]), torch.cat([part.values for part in lengths])


def _lengths(rows: Tensor, centres: Tensor) -> Tensor:
    """(N, S) lengths between rows (N, D) and centres (S, D), in float32 products around the mean of the centres."""
    middle = centres.mean(0)
    a, b = rows - middle, centres - middle
    squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * matrix_product(a, b)
    return squares.clamp_(min=0).sqrt_()


def _lies_apart(lengths: Tensor, members: Tensor) -> bool:
    """Whether the rows beyond are more than three times as far from the centre as any member; lengths (N,)."""
    beyond = torch.ones(len(lengths), dtype=torch.bool)
    beyond[members] = False
    wide = float(lengths[members].max())
    return bool((lengths[beyond] > 3 * MARGIN * wide).all()) if beyond.any() else False
