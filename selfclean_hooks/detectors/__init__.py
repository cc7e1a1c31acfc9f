"""Detectors: one file an issue and method, and one table of the methods that they make up."""

from dataclasses import dataclass

from selfclean_hooks.detectors.base import Detector, Finding, Geometry, Pairs
from selfclean_hooks.detectors.branching_off_topic import BranchingOffTopic
from selfclean_hooks.detectors.label_errors import LabelErrors
from selfclean_hooks.detectors.near_duplicates import NearDuplicates
from selfclean_hooks.detectors.off_topic import OffTopic
from selfclean_hooks.detectors.scaled_near_duplicates import ScaledNearDuplicates
from selfclean_hooks.detectors.voted_label_errors import VotedLabelErrors


@dataclass(frozen=True)
class Method:
    """What is done to find the issues."""

    detectors: tuple[Detector, ...]
    neighbors: int  # how many of every sample are looked up
    by_class: bool  # and the nearest of the same and of another class
    targets: bool  # its label detector knows numbers, and several labels a sample


METHODS = {
    "default": Method(
        (ScaledNearDuplicates(), BranchingOffTopic(), VotedLabelErrors()), 20, by_class=False, targets=True
    ),
    "selfclean": Method((NearDuplicates(), OffTopic(), LabelErrors()), 12, by_class=True, targets=False),
}

__all__ = ["METHODS", "Detector", "Finding", "Geometry", "Method", "Pairs"]
