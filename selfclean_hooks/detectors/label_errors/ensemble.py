"""Label errors: five leave-one-out predictors of the label of every sample, combined by a weighted sum.

The predictors of class c for sample i, none of which has seen i's own label: the log vote of its neighbours in the
whitened embedding; a kernel ridge regression of the class indicators (closed-form leave-one-out); the log density of
class c, normal with one covariance for all; the log distance to the nearest sample of class c, whitened and plain.
Where there are images, the second and the third are asked once more about edges and colours (`image_view`). Their
weights are fitted to the given labels (`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.detectors.label_errors.image_view import edges_and_colours
from selfclean_hooks.detectors.label_errors.predictors import (
    class_proximity,
    kernel_pca,
    leave_one_out_ridge,
    left_singular_vectors,
    log_densities,
    log_votes,
    voters_and_log_distances,
)
from selfclean_hooks.detectors.label_errors.support import LabelSupport
from selfclean_hooks.detectors.label_errors.weights import INITIAL_WEIGHTS, fit_weights, sharpen_weights
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.projection import Rows
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray

MAX_COMPONENTS = 256  # principal directions kept
SAMPLES_PER_COMPONENT = 8  # with as many directions as samples, all samples are equally far apart


class Directions(NamedTuple):
    """Principal directions of N samples in one representation."""

    u: Float32Array  # (N, r) principal components of unit length
    s: FloatArray  # (r,) singular values
    kernel: tuple[Rows, FloatArray]  # the same of the arc-cosine kernel

    @classmethod
    def of(cls, x: Tensor) -> Directions:
        """Those of rows (N, D)."""
        most = max(2, min(MAX_COMPONENTS, len(x) // SAMPLES_PER_COMPONENT))
        return cls(*left_singular_vectors(x, most), kernel_pca(x))

    def predict(self, labels: IntArray, classes: int) -> list[Float32Array]:
        """Support (N, C) of each class by ridge regression and by normal densities, without the sample's own label."""
        ridge = leave_one_out_ridge(*self.kernel, labels[:, None] == np.arange(classes), scale=len(labels))
        return [ridge, log_densities(self.u * self.s, labels)]


@dataclass(frozen=True, eq=False)
class PredictorInputs:
    """What the predictors are computed from, for N samples; independent of the labels.

    `lists`: whitened and plain neighbours, each of indices (N, k), -1 for none, which of them vote, and log distances.
    """

    directions: Directions
    lists: tuple[tuple[IntArray, BoolArray, FloatArray], tuple[IntArray, BoolArray, FloatArray]]
    image: Directions | None = None  # of edges and colours, where there are images


def predictor_inputs(
    x: Tensor, indices: IntArray, distances: Float32Array, miniatures: NDArray[np.uint8] | None = None
) -> PredictorInputs:
    """The two neighbourhoods and the principal directions of unit rows `x` (N, D); see `PredictorInputs`."""
    directions = Directions.of(x)
    u = directions.u if directions.u.shape[1] else np.ones((len(x), 1), np.float32)
    white = nearest_neighbors(UnitRows.of(u), indices.shape[1])
    whitened = white.indices.numpy(), *voters_and_log_distances(white.distances.numpy())
    image = None if miniatures is None else Directions.of(torch.from_numpy(edges_and_colours(miniatures)))
    return PredictorInputs(directions, (whitened, (indices, *voters_and_log_distances(distances))), image)


MAX_CANDIDATES = 24  # classes considered per sample


def label_support(inputs: PredictorInputs, labels: IntArray, block: int = 2048) -> LabelSupport:
    """The support of the predictors for the given label and the best others.

    Args:
        inputs: of the N samples.
        labels: (N,) classes 0 to C - 1.
        block: rows at a time; the result does not depend on it.
    """
    n, count = len(labels), int(labels.max()) + 1
    prior = np.bincount(labels, minlength=count) / n
    whole = inputs.directions.predict(labels, count)
    image = [] if inputs.image is None else inputs.image.predict(labels, count)
    classes, features = [], []
    for rows in (slice(start, start + block) for start in range(0, n, block)):
        near = [(np.where(i[rows] >= 0, labels[i[rows]], -1), votes[rows], far[rows]) for i, votes, far in inputs.lists]
        outputs = [log_votes(*near[0][:2], prior), *(part[rows].astype(np.float64) for part in whole)]
        outputs += [class_proximity(*part, count) for part in near]
        outputs += [part[rows].astype(np.float64) for part in image]
        total = np.tensordot(np.array(INITIAL_WEIGHTS[: len(outputs)]), np.stack(outputs), 1)
        candidates = select_candidates(labels[rows], total, MAX_CANDIDATES)
        classes.append(candidates)
        features.append(np.stack([np.take_along_axis(part, candidates, 1) for part in outputs]))
    listed, every = np.concatenate(classes), np.concatenate(features, 1)
    weights = fit_weights(every, count)
    sharp = sharpen_weights(weights, every, listed, count)
    return LabelSupport(listed, np.tensordot(weights, every, 1), np.tensordot(sharp, every, 1))


def select_candidates(given: IntArray, total: FloatArray, most: int) -> IntArray:
    """The given class and the best of the others: (R, M) classes, M = min(C, most)."""
    ranked = total.copy()
    ranked[np.arange(len(given)), given] = np.inf
    return np.argsort(-ranked, axis=1, kind="stable")[:, : min(most, total.shape[1])].astype(np.int64)
