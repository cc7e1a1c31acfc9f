"""The classes that are considered of each sample, and what every predictor says of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from selfclean_hooks.detectors.label_errors.likelihood import counted_parts
from selfclean_hooks.detectors.label_errors.predictors import (
    PRIOR_VOTES,
    Predictor,
    class_proximity,
    log_votes,
    voters_and_log_distances,
)
from selfclean_hooks.detectors.label_errors.weights import INITIAL_WEIGHTS
from selfclean_hooks.neighbors.projection.principal_components import Rows
from selfclean_hooks.utils.arrays import BoolArray, Float32Array, FloatArray, IntArray
from selfclean_hooks.utils.shared_work import SentOnce, map_blocks

MAX_CANDIDATES = 24  # classes considered per sample
FEW_CLASSES = 64  # all of so many are compared
BLOCK = 1 << 21  # numbers, (R, C) of some rows and all classes
Neighbors = tuple[IntArray, Float32Array]  # (N, k), -1 for none, and distances


class CandidateFeatures(SentOnce):
    """`FeatureParts` of the classes considered of N samples; each process computes and holds its parts.

    Args:
        lists: whitened and plain neighbours.
        labels: (N,) classes 0 to C - 1.
        predictors: those that judge every class.
        block: rows at a time at most; the result does not depend on it.
        listed: (N, M) the classes to consider; None: the label of a sample, and the best of the others.
    """

    def __init__(
        self,
        lists: tuple[Neighbors, Neighbors],
        labels: IntArray,
        predictors: list[Predictor],
        block: int,
        listed: IntArray | None = None,
    ) -> None:
        """Nothing is computed yet."""
        self.inputs: tuple[tuple[Neighbors, Neighbors], IntArray, list[Predictor], int, IntArray | None] | None
        self.inputs = lists, labels, predictors, block, listed
        size = np.bincount(labels)
        self.prior, self.most, self.count = (
            size / len(labels),
            min(len(size), MAX_CANDIDATES),
            len(OF_NEIGHBORS) + len(predictors),
        )
        self.parts = counted_parts(len(labels), self.most, len(size))
        self.held: dict[int, tuple[IntArray, Float32Array]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return CandidateFeatures, self.inputs

    def compute(self) -> None:
        """Compute all parts, and let go of what they are computed from."""
        map_blocks(self.hold, self.parts)
        self.inputs = None

    def of(self, part: slice) -> tuple[IntArray, Float32Array]:
        """See `FeatureParts`."""
        return self.held[part.start]

    def hold(self, part: slice) -> None:
        """Compute a part, a block at a time."""
        assert self.inputs is not None
        _, _, predictors, block, _ = self.inputs
        read, rows = [predictor.rows[part] for predictor in predictors], min(block, max(32, BLOCK // len(self.prior)))
        starts = range(part.start, part.stop, rows)
        found = (self._block(slice(at, min(at + rows, part.stop)), at - part.start, read) for at in starts)
        listed, features = zip(*found, strict=True)
        self.held[part.start] = np.concatenate(listed), np.concatenate(features, 1)

    def _block(self, rows: slice, start: int, read: list[Rows]) -> tuple[IntArray, Float32Array]:
        assert self.inputs is not None
        lists, labels, predictors, _, listed = self.inputs
        given, inside = labels[rows], slice(start, start + rows.stop - rows.start)
        near = [(np.where(i[rows] >= 0, labels[i[rows]], -1), *voters_and_log_distances(far[rows])) for i, far in lists]
        dense = [one.predict(v[inside], given) for one, v in zip(predictors, read, strict=True)]
        classes = (
            possible_classes(given, dense, self.prior, [part[0] for part in near]) if listed is None else listed[rows]
        )
        support = [np.take_along_axis(part, classes, 1).astype(np.float64) for part in dense]
        outputs = [log_votes(*near[0][:2], self.prior, classes), *support[:2]]
        outputs += [class_proximity(*part, classes) for part in near] + support[2:]
        if listed is not None:
            return classes.astype(np.int32), np.stack(outputs).astype(np.float32)
        total = np.tensordot(np.array(INITIAL_WEIGHTS[: len(outputs)]), np.stack(outputs), 1)
        total[:, 1:][classes[:, 1:] == classes[:, :-1]] = -np.inf  # listed before
        chosen = select_candidates(classes == given[:, None], total, self.most)
        features = np.stack([np.take_along_axis(part, chosen, 1).astype(np.float32) for part in outputs])
        return np.take_along_axis(classes, chosen, 1).astype(np.int32), features


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
