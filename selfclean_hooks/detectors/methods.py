"""Detectors: one file an issue and method, and one table of the methods that they make up."""

from __future__ import annotations

from dataclasses import dataclass

from selfclean_hooks.detectors.label_errors.detector import EnsembleLabelErrors
from selfclean_hooks.detectors.near_duplicates.detector import ScaledNearDuplicates
from selfclean_hooks.detectors.off_topic.detector import BranchOffTopic
from selfclean_hooks.detectors.protocol import Detector
from selfclean_hooks.detectors.selfclean.detectors import LabelErrors, NearDuplicates, OffTopic


@dataclass(frozen=True)
class Method:
    """What is done to find the issues."""

    detectors: tuple[Detector, ...]
    neighbors: int  # how many of every sample are looked up
    by_class: bool  # and the nearest of the same and of another class
    targets: bool  # its label detector knows numbers, and several labels a sample


METHODS = {
    "default": Method(
        (ScaledNearDuplicates(), BranchOffTopic(), EnsembleLabelErrors()), 20, by_class=False, targets=True
    ),
    "selfclean": Method((NearDuplicates(), OffTopic(), LabelErrors()), 12, by_class=True, targets=False),
}
