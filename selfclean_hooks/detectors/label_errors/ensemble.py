"""Label errors: five leave-one-out predictors of the label of every sample, combined by a weighted sum.

The predictors of class c for sample i, none of which has seen i's own label: the log vote of its neighbours in the
whitened embedding; a kernel ridge regression of the class indicators (closed-form leave-one-out); the log density of
class c, normal with one covariance for all; the log distance to the nearest sample of class c, whitened and plain.
Where there are images, the second and the third are asked once more about edges and colours (`image_view`). Their
weights are fitted to the given labels (`likelihood`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.image_view import edges_and_colours
from selfclean_hooks.detectors.label_errors.directions import ComputedRows, kernel_pca, left_singular_vectors, parts_of
from selfclean_hooks.detectors.label_errors.likelihood import (
    INITIAL_WEIGHTS,
    LabelSupport,
    fit_weights,
    sharpen_weights,
)
from selfclean_hooks.detectors.label_errors.predictors import (
    PRIOR_VOTES,
    Predictor,
    class_proximity,
    log_densities,
    log_votes,
    voters_and_log_distances,
)
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_classes
from selfclean_hooks.neighbors.approximate_search import NeighborSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.neighbors.unit_vectors import SharedRows, UnitRows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import each_block

MAX_COMPONENTS = 256  # principal directions kept
SAMPLES_PER_COMPONENT = 8  # with as many directions as samples, all samples are equally far apart


class Directions(NamedTuple):
    """Principal directions of N samples in one representation."""

    u: ComputedRows  # (N, r) principal components of unit length
    s: FloatArray  # (r,) singular values
    kernel: tuple[Rows | ComputedRows, FloatArray]  # the same of the arc-cosine kernel

    @classmethod
    def of(cls, x: SharedRows) -> Directions:
        """Those of rows (N, D)."""
        return cls(*principal_directions(x), kernel_pca(x))

    def predictors(self, labels: IntArray) -> list[Predictor]:
        """Of each class, by ridge regression and by normal densities, without the sample's own label."""
        return [leave_one_out_classes(*self.kernel, labels), log_densities(self.u, labels, self.s)]


def principal_directions(x: SharedRows) -> tuple[ComputedRows, FloatArray]:
    """Principal components of unit length (N, r) and singular values (r,) of rows (N, D)."""
    return left_singular_vectors(x, max(2, min(MAX_COMPONENTS, len(x) // SAMPLES_PER_COMPONENT)))


@dataclass(frozen=True, eq=False)
class PredictorInputs:
    """What the predictors are computed from, for N samples; independent of the labels.

    `lists`: whitened and plain neighbours, each of indices (N, k), -1 for none, which of them vote, and log distances.
    """

    directions: Directions
    lists: tuple[tuple[IntArray, BoolArray, FloatArray], tuple[IntArray, BoolArray, FloatArray]]
    image: Directions | None = None  # of edges and colours, where there are images


def predictor_inputs(
    x: UnitRows,
    indices: IntArray,
    distances: Float32Array,
    miniatures: NDArray[np.uint8] | None = None,
    search: NeighborSearch = nearest_neighbors,
) -> PredictorInputs:
    """The two neighbourhoods and the principal directions of unit rows `x` (N, D); see `PredictorInputs`."""
    u, s = principal_directions(x)
    white = search(UnitRows.of(u[:] if len(s) else np.ones((len(x), 1), np.float32)), indices.shape[1])
    directions = Directions(u, s, kernel_pca(x))  # after the search: both need memory
    whitened = white.indices.numpy(), *voters_and_log_distances(white.distances.numpy())
    image = None if miniatures is None else Directions.of(SharedRows(torch.from_numpy(edges_and_colours(miniatures))))
    return PredictorInputs(directions, (whitened, (indices, *voters_and_log_distances(distances))), image)


MAX_CANDIDATES = 24  # classes considered per sample
FEW_CLASSES = 64  # all of so many are compared
BLOCK = 1 << 21  # numbers, (R, C) of some rows and all classes


def label_support(inputs: PredictorInputs, labels: IntArray, block: int = 2048) -> LabelSupport:
    """The support of the predictors for the given label and the best others; O(N) memory.

    Args:
        inputs: of the N samples.
        labels: (N,) classes 0 to C - 1.
        block: rows at a time at most; the result does not depend on it.
    """
    candidates, every = candidate_features(inputs, labels, block)
    count = int(labels.max()) + 1
    del inputs  # where the caller holds them no more, they make room
    weights = fit_weights(every, count)
    sharp = sharpen_weights(weights, every, candidates, count)
    return LabelSupport(candidates, np.tensordot(weights, every, 1), np.tensordot(sharp, every, 1))


def candidate_features(inputs: PredictorInputs, labels: IntArray, block: int) -> tuple[IntArray, FloatArray]:
    """The classes considered of each sample (N, M), the given one first, and what each predictor says (F, N, M)."""
    n, count = len(labels), int(labels.max()) + 1
    prior = np.bincount(labels, minlength=count) / n
    predictors = inputs.directions.predictors(labels)
    predictors += [] if inputs.image is None else inputs.image.predictors(labels)
    most, parts = min(count, MAX_CANDIDATES), parts_of(n)
    listed, features = np.empty((n, most), np.int64), np.empty((len(OF_NEIGHBORS) + len(predictors), n, most))
    block = min(block, max(32, BLOCK // count))
    work = _CandidateFeatures(inputs.lists, labels, predictors, prior, most, block)
    for rows, found in zip(parts, each_block(work.of, parts), strict=True):
        listed[rows], features[:, rows] = found
    return listed, features


@dataclass(frozen=True, eq=False)
class _CandidateFeatures:
    """What `candidate_features` are computed from."""

    lists: tuple[tuple[IntArray, BoolArray, FloatArray], ...]
    labels: IntArray
    predictors: list[Predictor]
    prior: FloatArray
    most: int
    block: int

    def of(self, part: slice) -> tuple[IntArray, FloatArray]:
        """Classes (n, M) and features (F, n, M) of a part of the samples, a block at a time."""
        read = [predictor.rows[part] for predictor in self.predictors]
        starts = range(0, part.stop - part.start, self.block)
        listed, features = zip(*(self._block(part, slice(at, at + self.block), read) for at in starts), strict=True)
        return np.concatenate(listed), np.concatenate(features, 1)

    def _block(self, part: slice, inside: slice, read: list[Rows]) -> tuple[IntArray, FloatArray]:
        rows, labels = slice(part.start + inside.start, min(part.start + inside.stop, part.stop)), self.labels
        given = labels[rows]
        near = [(np.where(i[rows] >= 0, labels[i[rows]], -1), votes[rows], far[rows]) for i, votes, far in self.lists]
        dense = [one.predict(v[inside], given) for one, v in zip(self.predictors, read, strict=True)]
        classes = possible_classes(given, dense, self.prior, [part[0] for part in near])
        support = [np.take_along_axis(part, classes, 1).astype(np.float64) for part in dense]
        outputs = [log_votes(*near[0][:2], self.prior, classes), *support[:2]]
        outputs += [class_proximity(*part, classes) for part in near] + support[2:]
        total = np.tensordot(np.array(INITIAL_WEIGHTS[: len(outputs)]), np.stack(outputs), 1)
        total[:, 1:][classes[:, 1:] == classes[:, :-1]] = -np.inf  # listed before
        candidates = select_candidates(classes == given[:, None], total, self.most)
        chosen = np.stack([np.take_along_axis(part, candidates, 1) for part in outputs])
        return np.take_along_axis(classes, candidates, 1), chosen


def possible_classes(given: IntArray, dense: list[Float32Array], prior: FloatArray, near: list[IntArray]) -> IntArray:
    """Classes (R, M), ascending, among which the best are; some are listed repeatedly.

    Neighbours only add to the support of their classes: beside these the best by the other predictors come into
    question.

    Args:
        given: (R,) labels.
        dense: (R, C) of the predictors that judge every class.
        prior: (C,) class frequencies.
        near: (R, k) labels of neighbours, -1 for none.
    """
    if len(prior) <= FEW_CLASSES:
        return np.broadcast_to(np.arange(len(prior)), (len(given), len(prior)))
    weights = [weight for place, weight in enumerate(INITIAL_WEIGHTS) if place not in OF_NEIGHBORS]
    total = (INITIAL_WEIGHTS[0] * np.log(PRIOR_VOTES * prior + np.finfo(np.float64).tiny)).astype(np.float32)
    for weight, part in zip(weights, dense, strict=False):
        total = total + np.float32(weight) * part
    best = np.argpartition(-total, MAX_CANDIDATES - 1, axis=1)[:, :MAX_CANDIDATES]
    of_near = [np.where(labels >= 0, labels, given[:, None]) for labels in near]
    return np.sort(np.concatenate([given[:, None], best, *of_near], 1), axis=1)


OF_NEIGHBORS = (0, 3, 4)  # places of the predictors by neighbours


def select_candidates(given: BoolArray, total: FloatArray, most: int) -> IntArray:
    """The places (R, M) of the given class, of which the first is taken, and of the best of the others.

    Args:
        given: (R, P) where the class is the given one.
        total: (R, P) support, -inf where a class is not to be taken.
        most: M.
    """
    ranked = total.copy()
    ranked[np.arange(len(given)), given.argmax(1)] = np.inf
    return np.argsort(-ranked, axis=1, kind="stable")[:, :most].astype(np.int64)
