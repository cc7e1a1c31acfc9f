"""Label errors: five leave-one-out predictors of the label of every sample, combined by a weighted sum.

The predictors of class c for sample i, none of which has seen i's own label: the log vote of its neighbours in the
whitened embedding; a kernel ridge regression of the class indicators (closed-form leave-one-out); the log density of
class c, normal with one covariance for all; the log distance to the nearest sample of class c, whitened and plain.
Where there are images, the second and the third are asked once more about edges and colours (`image_view`). Their
weights are fitted to the given labels (`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.detectors.image_view import edges_and_colours
from selfclean_hooks.detectors.intrinsic_dimension import intrinsic_dimension
from selfclean_hooks.detectors.label_errors.calibration import LabelScores, score_support
from selfclean_hooks.detectors.label_errors.candidates import CandidateFeatures, Neighbors
from selfclean_hooks.detectors.label_errors.directions import ComputedRows, kernel_pca, left_singular_vectors
from selfclean_hooks.detectors.label_errors.likelihood import LabelSupport
from selfclean_hooks.detectors.label_errors.predictors import Predictor, log_densities
from selfclean_hooks.detectors.label_errors.ridge import leave_one_out_classes
from selfclean_hooks.detectors.label_errors.weights import Supports, fit_weights, sharpen_weights
from selfclean_hooks.neighbors.approximate_search import NeighborSearch
from selfclean_hooks.neighbors.knn import nearest_neighbors
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.neighbors.unit_vectors import SharedRows, UnitRows
from selfclean_hooks.utils.arrays import Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.memory import release_freed
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

    `lists`: whitened and plain neighbours, each of indices (N, k), -1 for none, and distances.
    """

    directions: Directions
    lists: tuple[Neighbors, Neighbors]
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
    release_freed(len(x))
    directions = Directions(u, s, kernel_pca(x))  # after the search: both need memory
    whitened = white.indices.numpy(), white.distances.numpy()
    image = None if miniatures is None else Directions.of(SharedRows(torch.from_numpy(edges_and_colours(miniatures))))
    return PredictorInputs(directions, (whitened, (indices, distances)), image)


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
    features = _features(inputs, labels, block)
    del inputs  # where the caller holds them no more, they make room
    features.compute()
    count, shape = int(labels.max()) + 1, (len(labels), features.most)
    weights = fit_weights(features, count)
    work = Supports(features, weights, sharpen_weights(weights, features, count))
    found = LabelSupport(np.empty(shape, np.int64), np.empty(shape), np.empty(shape))
    for part, (listed, support, sharp) in zip(features.parts, each_block(work.of, features.parts), strict=True):
        found.classes[part], found.support[part], found.sharp[part] = listed, support, sharp
    return found


def judge_labels(inputs: PredictorInputs, labels: IntArray, support: LabelSupport) -> LabelScores:
    """Scores of labels: where errors are found, they are judged a second time, by predictors without these.

    Args:
        inputs: of the N samples.
        labels: (N,) classes 0 to C - 1.
        support: `label_support` of these.
    """
    dimension, _ = intrinsic_dimension(inputs.lists[1][1])
    found = score_support(support, dimension)
    cleaned = without_errors(labels, found)
    if (cleaned == labels).all():
        return found
    return score_support(second_support(inputs, cleaned, support), dimension)


def without_errors(labels: IntArray, found: LabelScores) -> IntArray:
    """Labels (N,), of which those more likely wrong than right are the predicted ones; no class is left without."""
    if found.calibration.unknown:
        return labels
    cleaned = np.where(found.calibration.probability_clean(found.score) < 0.5, found.predicted, labels)
    while (emptied := np.bincount(cleaned, minlength=int(labels.max()) + 1) == 0).any():
        cleaned = np.where(emptied[labels], labels, cleaned)  # which may take the only sample of another class
    return cleaned


def second_support(inputs: PredictorInputs, cleaned: IntArray, first: LabelSupport, block: int = 2048) -> LabelSupport:
    """The same support, half of it by predictors that were given labels without the errors that it shows.

    Wrong labels count among the neighbours of others, and shift what a class looks like.

    Args:
        inputs: of the N samples.
        cleaned: (N,) labels for the predictors, of all classes 0 to C - 1.
        first: `label_support` by the given labels.
        block: rows at a time at most; the result does not depend on it.
    """
    features = _features(inputs, cleaned, block, first.classes)
    del inputs
    features.compute()
    weights = fit_weights(features, int(cleaned.max()) + 1)
    work, support = Supports(features, weights, weights), first.support.copy()
    for part, (_, second, _) in zip(features.parts, each_block(work.of, features.parts), strict=True):
        support[part] = (support[part] + second) / 2
    return replace(first, support=support)


def _features(
    inputs: PredictorInputs, labels: IntArray, block: int, listed: IntArray | None = None
) -> CandidateFeatures:
    predictors = inputs.directions.predictors(labels)
    predictors += [] if inputs.image is None else inputs.image.predictors(labels)
    return CandidateFeatures(inputs.lists, labels, predictors, block, listed)
