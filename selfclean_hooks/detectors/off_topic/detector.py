"""The default detector of off-topic samples: how far a sample, with the small group it belongs to, lies from the rest.

Three distances are blended. The first is the height at which the sample's branch joins the main body in the
single-linkage tree: the distance of a whole off-topic cluster to the nearest other sample, however tight the cluster.
The second is the distance within which a tenth of the nearest class lies, without the samples of that branch: it
separates scattered off-topic samples from the rest more reliably than a single neighbour does. The third is the same
after whitening, where differences count that few samples have: what is rare in a photograph is not what is large.
Where there are images with labels, the second is taken once more among their edges and colours, if these see what the
embedding sees. With labels, a direction that the farthest samples have in common is one more (`discriminant`); without
labels it may be that of a class.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.image_view import edges_and_colours
from selfclean_hooks.detectors.intrinsic_dimension import intrinsic_dimension
from selfclean_hooks.detectors.off_topic.branches import find_branches, independent_samples
from selfclean_hooks.detectors.off_topic.calibration import class_groups, off_topic_calibration
from selfclean_hooks.detectors.off_topic.class_agreement import neighbor_agreement
from selfclean_hooks.detectors.off_topic.discriminant import add_discriminant
from selfclean_hooks.detectors.off_topic.distances import blend, distance_to_classes, evenly_spaced, relation, whiten
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.unit_vectors import SharedRows, UnitRows
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

MAX_REFERENCES = 1024  # evenly spaced samples that represent all where there are more
MIN_CLASS_REFERENCES = 20  # classes of fewer references are one group
CLASS_FRACTION = 0.1  # of the class, within the distance in the embedding; whitened, a group of off-topic samples is
WHITENED_FRACTION = 0.03  # less of a neighbourhood of its own, and the nearest of a class tell more
IMAGE_WEIGHT = 0.75  # of edges and colours at most. Without labels they help some sets and harm as many
LABELLED = 0.9  # of the samples must carry a label; measured on classes of unequal spread: with 0.8 of them, unlabelled
# samples of several classes are a group that fits none, and a third of all was flagged
TOO_MANY = "more samples lie far from the others than can be off-topic: there is no main body that they differ from"
GROUPS = "most samples lie in groups apart from the others, and without labels each may be a class or off-topic"
MAX_FLAGGED = 0.25  # of all samples; the mixtures hold a fifth of off-topic samples at most
MAX_FLAGGED_UNLABELLED = 0.15  # the same without labels, a tenth at most: all else is far from many shots of one thing
MAX_IN_GROUPS = 0.5  # of all samples, in branches that are classes or off-topic: without labels nobody knows which
MAX_OF_CLASS = 0.4  # of the samples of one class: if so many seem off-topic, it is a class that varies more than others
FEW = 5  # samples of a class that is judged together with others: two of four may be off-topic by chance
CERTAIN_OF_MANY = 0.2  # the same where the farthest samples agree in a direction
CERTAIN = 0.35  # probability of being clean below which a sample is flagged though the number cannot be estimated


@dataclass(frozen=True)
class BranchOffTopic:
    """How far a sample, with its branch of the tree, lies from the rest; flagged if more likely off-topic than not.

    Labels count as classes where nearly all samples carry one.
    """

    issue: str = "off_topic"
    neighbors: int = 20  # that the dimension is estimated from

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        labels = geometry.labels if geometry.labels is None or (geometry.labels >= 0).mean() >= LABELLED else None
        height, branch, is_class = find_branches(geometry.tree.linkage(), labels)
        may_be_class = float(is_class.mean())
        score, agree = off_topic_scores(geometry.x, height, branch, labels, geometry.miniatures)
        score = score if geometry.copies is None else best_of_copies(score, geometry.copies)
        dimension, _ = intrinsic_dimension(geometry.neighbors.distances.numpy()[:, : self.neighbors])
        near = geometry.neighbors.indices[:, : self.neighbors].numpy()
        agreement = None if labels is None else neighbor_agreement(labels, branch, near)
        counted = independent_samples(geometry.tree, height)
        calibration = off_topic_calibration(
            score[counted],
            None if labels is None else labels[counted],
            dimension,
            None if agreement is None else agreement[counted],
            may_be_class,
            agree,
        )
        threshold = automatic_threshold(calibration, labels is not None, agree)
        flagged = score < threshold
        most = MAX_FLAGGED_UNLABELLED if labels is None else MAX_FLAGGED
        if flagged.mean() > most or _are_classes(flagged, labels):
            threshold, calibration = 0.0, replace(calibration, unknown=TOO_MANY)
        elif may_be_class > MAX_IN_GROUPS and not calibration.unknown:
            threshold = calibration.probability_threshold(CERTAIN)
            calibration = replace(calibration, unknown=GROUPS)
        return Finding(score, threshold, calibration=calibration)


def _are_classes(flagged: BoolArray, labels: IntArray | None) -> bool:
    """Whether too much of a class is flagged, or most flags are in small classes, two or more, with as much flagged."""
    if labels is None:
        return False
    known = labels >= 0
    size, count = np.bincount(labels[known]), np.bincount(labels[known & flagged], minlength=labels.max() + 1)
    too_many = count > MAX_OF_CLASS * size
    small = count[too_many & (size >= FEW)]
    return bool(
        (too_many & (size >= MIN_CLASS_REFERENCES)).any() or (len(small) > 1 and 2 * small.sum() > flagged.sum())
    )


def best_of_copies(score: FloatArray, copies: IntArray) -> FloatArray:
    """(N,) scores in which an image is on topic as far as one of its copies is, whatever compression did to a network.

    Args:
        score: (N,) low = off-topic.
        copies: (C, 2) pairs of copies; copies of one image are copies.
    """
    n, (first, second) = len(score), copies.T
    links = coo_array((np.ones(len(copies)), (first, second)), (n, n))
    number, group = connected_components(links, directed=False)
    best = np.zeros(number)
    np.maximum.at(best, group, score)
    return best[group]


def automatic_threshold(calibration: Calibration, is_labelled: bool = True, agree: bool = False) -> float:
    """Below it samples are more likely off-topic than not; clearly more likely where the number cannot be estimated.

    In that case nothing is flagged without labels: what lies a little apart may as well be a class. Where the farthest
    agree in a direction, some that are no more than near to them are drawn along, so these have to be clearer as well.
    """
    if agree:
        return calibration.probability_threshold(CERTAIN_OF_MANY)
    if not calibration.unknown:
        return calibration.probability_threshold()
    return calibration.probability_threshold(CERTAIN) if is_labelled else 0.0


def off_topic_scores(
    x: UnitRows,
    height: FloatArray,
    branch: IntArray,
    labels: IntArray | None = None,
    miniatures: NDArray[np.uint8] | None = None,
) -> tuple[FloatArray, bool]:
    """Score of every sample, (N,) in [0, 1], low = off-topic: 1 - the blend of the distances.

    And whether the farthest samples agree in a direction, which then is one of the distances.

    Args:
        x: N unit rows.
        height: (N,) at which each sample's branch leaves the main body of the tree, of `find_branches`.
        branch: (N,) these branches.
        labels: (N,) class codes from 0; without them a class that lies apart looks like an off-topic cluster.
        miniatures: (N, S, S, 3) RGB, where all samples are images.
    """
    if len(x) < 2:
        return np.ones(len(x)), False
    columns = evenly_spaced(len(x), MAX_REFERENCES)
    group = class_groups(len(columns), None if labels is None else labels[columns], MIN_CLASS_REFERENCES)
    distances = [height, distance_to_classes(x, branch, group, columns, CLASS_FRACTION)]
    whitened = whiten(x.values)
    if whitened.shape[1]:  # not where all samples are the same
        distances.append(distance_to_classes(SharedRows(whitened), branch, group, columns, WHITENED_FRACTION))
    weights = [1.0] * len(distances)
    if miniatures is not None and labels is not None:
        view = UnitRows.of(edges_and_colours(miniatures))
        if (weight := IMAGE_WEIGHT * relation(x.values, view.values)) > 0:
            distances.append(distance_to_classes(view, branch, group, columns, CLASS_FRACTION))
            weights.append(weight)
    blended, agree = blend(np.stack(distances), np.array(weights)), False
    if labels is not None:
        units, agree = add_discriminant(blended.units, sum(weights), whitened, labels)
        blended = blended._replace(units=units)
    return np.asarray(1 - blended.distance(), np.float64).clip(0, 1), agree
