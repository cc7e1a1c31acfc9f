"""Label errors: five leave-one-out predictors of the label of every sample, combined by a weighted sum.

The predictors of class c for sample i, none of which has seen i's own label: the log vote of its neighbours in the
whitened embedding; a kernel ridge regression of the class indicators (closed-form leave-one-out); the log density of
class c, normal with one covariance for all; the log distance to the nearest sample of class c, whitened and plain.
Their weights are fitted to the given labels (`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

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


@dataclass(frozen=True, eq=False)
class PredictorInputs:
    """What the predictors are computed from, for N samples; independent of the labels.

    `lists`: whitened and plain neighbours, each of indices (N, k), -1 for none, which of them vote, and log distances.
    """

    u: Float32Array  # (N, r) principal components of unit length
    s: FloatArray  # (r,) singular values
    kernel: tuple[Rows, FloatArray]  # the same of the arc-cosine kernel
    lists: tuple[tuple[IntArray, BoolArray, FloatArray], tuple[IntArray, BoolArray, FloatArray]]


def predictor_inputs(x: Tensor, indices: IntArray, distances: Float32Array) -> PredictorInputs:
    """The two neighbourhoods and the principal directions of unit rows `x` (N, D); see `PredictorInputs`."""
    n = len(x)
    u, s = left_singular_vectors(x, max(2, min(MAX_COMPONENTS, n // SAMPLES_PER_COMPONENT)))
    white = nearest_neighbors(UnitRows.of(u if u.shape[1] else np.ones((n, 1), np.float32)), indices.shape[1])
    whitened = white.indices.numpy(), *voters_and_log_distances(white.distances.numpy())
    return PredictorInputs(u, s, kernel_pca(x), (whitened, (indices, *voters_and_log_distances(distances))))


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
    ridge = leave_one_out_ridge(*inputs.kernel, labels[:, None] == np.arange(count), scale=n)
    density = log_densities(inputs.u * inputs.s, labels)
    classes, features = [], []
    for rows in (slice(start, start + block) for start in range(0, n, block)):
        near = [(np.where(i[rows] >= 0, labels[i[rows]], -1), votes[rows], far[rows]) for i, votes, far in inputs.lists]
        outputs = [log_votes(*near[0][:2], prior), ridge[rows].astype(np.float64), density[rows].astype(np.float64)]
        outputs += [class_proximity(*part, count) for part in near]
        total = np.tensordot(np.array(INITIAL_WEIGHTS), np.stack(outputs), 1)
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
