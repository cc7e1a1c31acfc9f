"""The table of methods: which detectors each consists of."""

from __future__ import annotations

from dataclasses import dataclass

from selfclean_hooks.detectors.label_errors.detector import EnsembleLabelErrors
from selfclean_hooks.detectors.near_duplicates.detector import ScaledNearDuplicates
from selfclean_hooks.detectors.off_topic.detector import BranchOffTopic
from selfclean_hooks.detectors.protocol import Detector
from selfclean_hooks.detectors.selfclean.detectors import LabelErrors, NearDuplicates, OffTopic


@dataclass(frozen=True)
class Method:
    """One detector per issue, and what they need."""

    detectors: tuple[Detector, ...]
    neighbors: int  # how many nearest neighbours of every sample
    by_class: bool  # whether also the nearest of the same and of another class
    targets: bool  # whether its label detector accepts regression targets and several labels a sample


METHODS = {
    "default": Method(
        (ScaledNearDuplicates(), BranchOffTopic(), EnsembleLabelErrors()), 20, by_class=False, targets=True
    ),
    "selfclean": Method((NearDuplicates(), OffTopic(), LabelErrors()), 12, by_class=True, targets=False),
}
