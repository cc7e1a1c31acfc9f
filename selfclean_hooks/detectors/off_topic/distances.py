"""How far samples lie from the classes, in the embedding and whitened, and one distance made of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfclean_hooks.detectors.off_topic.calibration import DISTANCE_OFFSET
from selfclean_hooks.neighbors.screening.screen import slices
from selfclean_hooks.neighbors.unit_vectors import SharedRows, matrix_product
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import map_blocks
from selfclean_hooks.utils.torch_settings import eigenvectors

BLOCK = 2048  # rows at a time
MIN_NEIGHBORS = 3  # within the distance to a class
ALL_FRACTION = 0.03  # of all references: the most that count, however large the class


def distance_to_classes(
    x: SharedRows, branch: IntArray, group: IntArray, columns: IntArray, fraction: float
) -> FloatArray:
    """Distance within which a fraction of the nearest class lies, without the sample's own branch: (N,) in [0, 1].

    Args:
        x: N unit rows, or zero rows.
        branch: (N,) branch of each sample; samples of the same branch are ignored.
        group: (R,) class of each reference, codes from 0.
        columns: (R,) the references.
        fraction: of the references of a class.
    """
    at = columns[np.argsort(group, kind="stable")]
    work = _OfClasses(x, branch, at, np.bincount(group).cumsum(), fraction)
    out = np.concatenate(map_blocks(work.of, slices(len(x), BLOCK)))
    out[np.isinf(out)] = 1  # too few outside: the largest distance
    return ((1 + out.astype(np.float64)) / 2).clip(0, 1)


@dataclass(frozen=True, eq=False)
class _OfClasses:
    """`distance_to_classes` of some rows."""

    x: SharedRows
    branch: IntArray
    references: IntArray  # (R,) positions, class by class
    ends: IntArray  # (C,) where each class ends
    fraction: float

    def of(self, rows: slice) -> Float32Array:
        """(n,) less the similarity within which a fraction of the nearest class lies, in [-1, 1]; inf: of none."""
        at = torch.from_numpy(self.references)
        similarity = matrix_product(self.x.values[rows], self.x.values[at])
        own, most = torch.from_numpy(self.branch), max(MIN_NEIGHBORS, round(ALL_FRACTION * len(at)))
        distance = similarity.masked_fill_(own[rows].unsqueeze(1) == own[at], -torch.inf).neg_().numpy()
        nearest = []
        for part in np.split(distance, self.ends[:-1], axis=1):
            k = min(max(MIN_NEIGHBORS, round(self.fraction * part.shape[1])), most, part.shape[1])
            nearest.append(np.partition(part, k - 1, axis=1)[:, k - 1])
        return np.asarray(np.minimum.reduce(nearest))


DIRECTIONS = 128  # principal ones; 64 to 256 are equally good
WHITENING_SAMPLES = 768  # that the directions are computed from
LEAST_VARIANCE = 1e-10  # of unit rows
ROUNDING = 1e-6  # of the largest variance: less is rounding


def whiten(x: Tensor) -> Tensor:
    """Unit rows (N, at most 128) along the principal directions, in which every direction counts more equally.

    The variances are shrunk: their mean is added to each before its root divides.
    """
    chosen = x[torch.from_numpy(evenly_spaced(len(x), WHITENING_SAMPLES))]
    mean = chosen.mean(0)
    centred = chosen - mean
    values, vectors = eigenvectors(matrix_product(centred, centred) / len(centred))
    values, vectors = values.flip(0)[:DIRECTIONS], vectors.flip(1)[:, :DIRECTIONS]
    kept = values > torch.clamp(ROUNDING * values[:1], min=LEAST_VARIANCE)
    values, vectors = values[kept], vectors[:, kept]
    scale = (len(centred) * values).sqrt() * (values + values.mean()).sqrt()
    projection = matrix_product(vectors.T.contiguous(), centred.T.contiguous()) / scale.unsqueeze(1)
    rows = matrix_product(x, projection) - matrix_product(mean.unsqueeze(0), projection)
    return torch.nn.functional.normalize(rows, dim=1)


def evenly_spaced(n: int, most: int) -> IntArray:
    """At most that many positions of n."""
    return np.asarray(np.linspace(0, n - 1, min(n, most)).round(), np.int64)


RELATED, UNRELATED = 0.25, 0.375  # mean share of samples nearer in the one than neighbours of the other; 0.5: by chance
ASKED, ITS_NEIGHBORS = 256, 10  # samples whose neighbours are looked at


def relation(x: Tensor, view: Tensor) -> float:
    """How far samples that are alike in a view are alike in the embedding too, in [0, 1]; 1: as a rule.

    A view that sees something else entirely has nothing to say about what belongs together: among photographs of cats
    and dogs it is neither of both that has rare colours.

    Args:
        x: (N, D) unit rows of the embedding.
        view: (N, E) unit rows.
    """
    rows = torch.from_numpy(evenly_spaced(len(x), ASKED))
    itself = (torch.arange(len(rows)), rows)
    similar, seen = matrix_product(x[rows], x), matrix_product(view[rows], view)
    seen[itself] = similar[itself] = -torch.inf
    near = seen.topk(min(ITS_NEIGHBORS, max(1, len(x) - 1)), dim=1).indices
    nearer = torch.searchsorted(similar.sort(dim=1).values, similar.gather(1, near).contiguous(), right=True)
    share = 1 - float(nearer.double().mean()) / len(x)
    return float(np.clip((UNRELATED - share) / (UNRELATED - RELATED), 0, 1))


MIN_SPREAD = 0.02  # of the log distances


class Blend(NamedTuple):
    """Several distances in one: their logarithms, averaged in units of their spreads."""

    units: FloatArray  # (N,) in spreads beyond the median
    middle: float  # of the logarithms
    spread: float  # that all of them are given

    def distance(self) -> FloatArray:
        """(N,) in [0, 1]: the geometric mean; of a smaller spread where the farthest would exceed 1."""
        farthest = max(float(self.units.max()), 1.0)
        spread = min(self.spread, (np.log1p(DISTANCE_OFFSET) - self.middle) / farthest)
        return np.asarray(np.exp(self.middle + spread * self.units) - DISTANCE_OFFSET)


def blend(distances: FloatArray, weights: FloatArray | None = None) -> Blend:
    """One distance for several (V, N) in [0, 1]: the geometric mean, after their spreads have been made equal.

    The spread is that of the logarithms, from the median to the 80% quantile: the distance with the widest spread would
    decide the order alone. All are given the narrowest, so that no distance exceeds 1.

    Args:
        distances: (V, N).
        weights: (V,) positive; all 1 by default.
    """
    logs = np.log(distances + DISTANCE_OFFSET)
    middle, upper = np.quantile(logs, (0.5, 0.8), axis=1)
    spread = np.maximum(upper - middle, MIN_SPREAD)
    units = np.average((logs - middle[:, None]) / spread[:, None], axis=0, weights=weights)
    return Blend(units, float(middle.mean()), float(spread.min()))
