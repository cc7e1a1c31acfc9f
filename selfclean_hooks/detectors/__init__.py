"""Detectors: one file an issue, and one table of the methods that they make up."""

from selfclean_hooks.detectors.base import Detector, Finding, Geometry, Pairs
from selfclean_hooks.detectors.label_errors import LabelErrors
from selfclean_hooks.detectors.near_duplicates import NearDuplicates
from selfclean_hooks.detectors.off_topic import OffTopic

SELFCLEAN: tuple[Detector, ...] = (NearDuplicates(), OffTopic(), LabelErrors())
METHODS: dict[str, tuple[Detector, ...]] = {"default": SELFCLEAN, "selfclean": SELFCLEAN}

__all__ = ["METHODS", "Detector", "Finding", "Geometry", "Pairs"]
