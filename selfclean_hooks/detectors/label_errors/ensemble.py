"""Label errors: five leave-one-out opinions on the label of every sample, weighed by how well they foretell labels.

The opinions on class c for sample i, none of which has seen i's own label: the log vote of its neighbours in the
whitened embedding; a kernel ridge regression of the class indicators (closed-form leave-one-out); the log density of
class c, normal with one covariance for all; the log distance to the nearest sample of class c, whitened and plain.
Their weights are fitted to the given labels by the likelihood (1 - e) softmax + e/K, which lets a share e of the labels
be random, so that wrong labels do not bend the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.detectors.label_errors.predictors import (
    Rows,
    kernel_pca,
    leave_one_out_ridge,
    log_densities,
    principal,
)
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import FloatArray, IntArray

MAX_COMPONENTS = 256  # directions kept
SAMPLES_PER_COMPONENT = 8  # samples needed per direction: with as many directions as samples all lie equally far apart
COPY_RATIO = 0.3  # a neighbour nearer than this share of the 10th distance is a copy: its label is no second opinion
MIN_DISTANCE_RATIO = 0.5  # below this share of the 10th distance nearer is no more evidence
PRIOR_VOTES = 1.0  # votes that the class frequencies count for
MAX_CANDIDATES = 24  # classes considered per sample
INVERSE_TEMPERATURE = 0.3  # the opinions are correlated: a third of their sum ranks better than all of it
NUM_RIVALS = 3  # other labels that share the probability
INITIAL_WEIGHTS = (0.5, 3.5, 0.1, 1.5, 1.5)  # weights of the five opinions to begin with


@dataclass(frozen=True, eq=False)
class PredictorInputs:
    """What the opinions are taken from, for N samples; knows no labels.

    `lists`: whitened and plain neighbours, each of indices (N, k), -1 for none, who may vote, and log distances.
    """

    u: NDArray[np.float32]  # (N, r) principal components of unit length
    s: FloatArray  # (r,) singular values
    kernel: tuple[Rows, FloatArray]  # the same of the arc-cosine kernel
    lists: tuple[tuple[IntArray, NDArray[np.bool_], FloatArray], tuple[IntArray, NDArray[np.bool_], FloatArray]]


@dataclass(frozen=True, eq=False)
class LabelSupport:
    """Per sample M classes, the given label first, and how much speaks for each.

    `support` is a log probability up to a constant per row; classes that are not listed have next to none.
    """

    classes: IntArray  # (N, M)
    support: FloatArray  # (N, M)


def voters_and_log_distances(distances: NDArray[np.float32]) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which neighbours (N, k) may vote, copies left out, and log distances clipped from below (N, k)."""
    finite = np.where(np.isfinite(distances), distances, 0.0).astype(np.float64)
    reference = finite[:, : min(10, finite.shape[1])].max(1, keepdims=True)
    tiny = np.finfo(np.float64).tiny
    return (finite > COPY_RATIO * reference), np.log(np.maximum(finite, MIN_DISTANCE_RATIO * reference) + tiny)


def log_votes(labels: IntArray, may: NDArray[np.bool_], prior: FloatArray) -> FloatArray:
    """Log of the votes per class (R, C) with `PRIOR_VOTES` votes spread by the class frequencies.

    Args:
        labels: (R, k) labels of the neighbours, -1 for none.
        may: (R, k) who votes.
        prior: (C,) class frequencies.
    """
    row, place = np.nonzero(may & (labels >= 0))
    flat = np.bincount(row * len(prior) + labels[row, place], minlength=len(labels) * len(prior))
    votes: FloatArray = flat.reshape(len(labels), len(prior)) + PRIOR_VOTES * prior
    logs: FloatArray = np.log(np.maximum(votes, np.finfo(np.float64).tiny))
    return logs


def class_proximity(labels: IntArray, may: NDArray[np.bool_], log_distance: FloatArray, classes: int) -> FloatArray:
    """Minus the log distance to the nearest voter per class (R, C); a class without one: the end of the list."""
    out = np.repeat(-log_distance.max(1, keepdims=True), classes, axis=1)
    for place in range(labels.shape[1] - 1, -1, -1):  # nearest last, so that it stays
        row = np.nonzero(may[:, place] & (labels[:, place] >= 0))[0]
        out[row, labels[row, place]] = -log_distance[row, place]
    return out


def select_candidates(given: IntArray, total: FloatArray, most: int) -> IntArray:
    """The given class and the best of the others: (R, M) classes, M = min(C, most)."""
    ranked = total.copy()
    ranked[np.arange(len(given)), given] = np.inf
    return np.argsort(-ranked, axis=1, kind="stable")[:, : min(most, total.shape[1])].astype(np.int64)


def softmax(support: FloatArray) -> FloatArray:
    """Probabilities (N, M) that sum to 1 in every row."""
    raised = np.exp(support - support.max(1, keepdims=True))
    p: FloatArray = raised / raised.sum(1, keepdims=True)
    return p


def fit_weights(features: FloatArray, classes: int, rounds: int = 25) -> FloatArray:
    """Weights (F,) >= 0 of `features` (F, N, M), column 0 the given label.

    Expectation-maximisation of (1 - e) softmax(weights . features)[0] + e / classes, one Newton step a round.
    """
    count, n, _ = features.shape
    weights, noise = np.array(INITIAL_WEIGHTS[:count]), 0.02
    pull = 1e-3 * n * np.eye(count)  # keeps the step finite where classes are separable
    for _ in range(rounds):
        p = softmax(np.tensordot(weights, features, 1))
        own = (1 - noise) * p[:, 0]
        trust = own / (own + noise / classes)
        noise = float(np.clip(1 - trust.mean(), 1e-4, 0.5))
        mean = (features * p).sum(2)
        slope = ((features[:, :, 0] - mean) * trust).sum(1) - pull @ weights
        weighted = (features * (p * trust[:, None])).reshape(count, -1)
        curvature = weighted @ features.reshape(count, -1).T - (mean * trust) @ mean.T + pull
        step = np.linalg.solve(curvature, slope)
        weights = np.maximum(weights + step * (2 / max(2.0, float(np.abs(step).max()))), 0)
    return weights


def predictor_inputs(x: Tensor, indices: IntArray, distances: NDArray[np.float32]) -> PredictorInputs:
    """The two neighbourhoods and the principal directions of unit rows `x` (N, D); see `PredictorInputs`."""
    n = len(x)
    u, s = principal(x, max(2, min(MAX_COMPONENTS, n // SAMPLES_PER_COMPONENT)))
    white = nearest_neighbors(UnitRows.of(u if u.shape[1] else np.ones((n, 1), np.float32)), indices.shape[1])
    lists = (
        (white.indices.numpy(), *voters_and_log_distances(white.distances.numpy())),
        (indices, *voters_and_log_distances(distances)),
    )
    return PredictorInputs(u, s, kernel_pca(x), lists)


def label_support(seen: PredictorInputs, labels: IntArray, block: int = 2048) -> LabelSupport:
    """What speaks for which label.

    Args:
        seen: what is known of the N samples without labels.
        labels: (N,) classes 0 to C - 1.
        block: rows at a time; the result does not depend on it.
    """
    n, count = len(labels), int(labels.max()) + 1
    prior = np.bincount(labels, minlength=count) / n
    ridge = leave_one_out_ridge(*seen.kernel, labels[:, None] == np.arange(count), scale=n)
    density = log_densities(seen.u * seen.s, labels)
    classes, features = [], []
    for rows in (slice(start, start + block) for start in range(0, n, block)):
        near = [(np.where(i[rows] >= 0, labels[i[rows]], -1), may[rows], far[rows]) for i, may, far in seen.lists]
        said = [log_votes(*near[0][:2], prior), ridge[rows].astype(np.float64), density[rows].astype(np.float64)]
        said += [class_proximity(*part, count) for part in near]
        kept = select_candidates(
            labels[rows], np.tensordot(np.array(INITIAL_WEIGHTS), np.stack(said), 1), MAX_CANDIDATES
        )
        classes.append(kept)
        features.append(np.stack([np.take_along_axis(part, kept, 1) for part in said]))
    every = np.concatenate(features, 1)
    return LabelSupport(np.concatenate(classes), np.tensordot(fit_weights(every, count), every, 1))


def normalized_margins(found: LabelSupport) -> FloatArray:
    """Score (N, M) of each listed label, were it the given one: 1/2 + half the lead over the best other label.

    The lead is in probability among the label and the three best others, so it means the same whatever the number of
    classes, and a sample that several labels fit is in less doubt than one that another label fits alone. In [0, 1],
    low = another label is far more likely.
    """
    support = found.support
    top = -np.sort(-support, axis=1)[:, : NUM_RIVALS + 1]
    raised, best = (
        np.exp(INVERSE_TEMPERATURE * (support - top[:, :1])),
        np.exp(INVERSE_TEMPERATURE * (top - top[:, :1])),
    )
    is_rival = support >= top[:, [min(NUM_RIVALS, top.shape[1]) - 1]]  # then the next best takes its place
    others = np.where(is_rival, best.sum(1, keepdims=True) - raised, best[:, :NUM_RIVALS].sum(1, keepdims=True))
    rival = np.where(support >= top[:, :1], best[:, [1]], best[:, [0]])
    return np.asarray((1 + (raised - rival) / (raised + others)) / 2)
