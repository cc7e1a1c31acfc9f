"""The default detector of off-topic samples: how far a sample, with the small group it belongs to, lies from the rest.

Three distances are blended. The first is the height at which the sample's branch joins the main body in the
single-linkage tree: the distance of a whole off-topic cluster to the nearest other sample, however tight the cluster.
The second is the distance within which a tenth of the nearest class lies, without the samples of that branch: it
separates scattered off-topic samples from the rest more reliably than a single neighbour does. The third is the same
after whitening, where differences count that few samples have: what is rare in a photograph is not what is large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.detectors.intrinsic_dimension import intrinsic_dimension
from selfclean_hooks.detectors.off_topic.branches import find_branches
from selfclean_hooks.detectors.off_topic.calibration import class_groups, off_topic_calibration
from selfclean_hooks.detectors.off_topic.class_agreement import are_of_their_classes, neighbor_agreement
from selfclean_hooks.detectors.off_topic.distances import blend, distance_to_classes, evenly_spaced, whiten
from selfclean_hooks.detectors.protocol import Finding, Geometry
from selfclean_hooks.neighbors.spanning_tree import Tree
from selfclean_hooks.neighbors.unit_vectors import UnitRows
from selfclean_hooks.utils.arrays import BoolArray, FloatArray, IntArray

MAX_REFERENCES = 1024  # evenly spaced samples that represent all where there are more
MIN_CLASS_REFERENCES = 20  # classes of fewer references are one group
CLASS_FRACTION = 0.1  # of the class, within the distance in the embedding; whitened, a group of off-topic samples is
WHITENED_FRACTION = 0.03  # less of a neighbourhood of its own, and the nearest of a class tell more
LABELLED = 0.9  # of the samples must carry a label; measured on classes of unequal spread: with 0.8 of them, unlabelled
# samples of several classes are a group that fits none, and a third of all was flagged
OF_THEIR_CLASSES = "the farthest samples carry the labels of their neighbours: they may be the tail of their classes"
TOO_MANY = "more samples lie far from the others than can be off-topic: there is no main body that they differ from"
MAX_FLAGGED = 0.25  # of all samples; the mixtures hold a fifth of off-topic samples at most
CERTAIN = 1 / 3  # probability of being clean below which a sample is flagged though the number cannot be estimated


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
        score = off_topic_scores(geometry.x, geometry.tree, labels)
        dimension, _ = intrinsic_dimension(geometry.neighbors.distances.numpy()[:, : self.neighbors])
        calibration = off_topic_calibration(score, labels, dimension)
        threshold = automatic_threshold(calibration, labels is not None)
        if why := why_not_off_topic(geometry, score, score < threshold, labels):
            threshold, calibration = 0.0, replace(calibration, unknown=why)
        return Finding(score, threshold, calibration=calibration)


def why_not_off_topic(geometry: Geometry, score: FloatArray, flagged: BoolArray, labels: IntArray | None) -> str:
    """Why what lies beyond the threshold is not to be taken for off-topic; "": it is."""
    if flagged.mean() > MAX_FLAGGED:
        return TOO_MANY
    if labels is None or not flagged.any():
        return ""
    _, branch = find_branches(geometry.tree.linkage(), labels)
    agreement = neighbor_agreement(labels, branch, geometry.neighbors.indices.numpy())
    return OF_THEIR_CLASSES if are_of_their_classes(agreement, score, flagged, labels) else ""


def automatic_threshold(calibration: Calibration, is_labelled: bool = True) -> float:
    """Below it samples are more likely off-topic than not; twice as likely where the number cannot be estimated.

    In that case nothing is flagged without labels: what lies a little apart may as well be a class.
    """
    if not calibration.unknown:
        return calibration.probability_threshold()
    return calibration.probability_threshold(CERTAIN) if is_labelled else 0.0


def off_topic_scores(x: UnitRows, tree: Tree, labels: IntArray | None = None) -> FloatArray:
    """Score of every sample, (N,) in [0, 1], low = off-topic: 1 - the blend of three distances.

    Args:
        x: N unit rows.
        tree: their minimum spanning tree.
        labels: (N,) class codes from 0; without them a class that lies apart looks like an off-topic cluster.
    """
    if len(x) < 2:
        return np.ones(len(x))
    height, branch = find_branches(tree.linkage(), labels)
    columns = evenly_spaced(len(x), MAX_REFERENCES)
    group = class_groups(len(columns), None if labels is None else labels[columns], MIN_CLASS_REFERENCES)
    distances = [height, distance_to_classes(x.values, branch, group, columns, CLASS_FRACTION)]
    whitened = whiten(x.values)
    if whitened.shape[1]:  # not where all samples are the same
        distances.append(distance_to_classes(whitened, branch, group, columns, WHITENED_FRACTION))
    return np.asarray(1 - blend(np.stack(distances)), np.float64).clip(0, 1)
