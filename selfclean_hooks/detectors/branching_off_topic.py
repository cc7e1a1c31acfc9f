"""The default detector of off-topic samples: groups and single samples that lie far from the main body of the data."""

from __future__ import annotations

from dataclasses import dataclass

from selfclean_hooks.detectors.base import Finding, Geometry
from selfclean_hooks.detectors.branches import off_topic_scores
from selfclean_hooks.detectors.near_scale import dimension
from selfclean_hooks.detectors.off_topic_calibration import off_topic_calibration

WORTH = 0.6  # share of wrong flags at most, as estimated: the estimate is a cautious one


@dataclass(frozen=True)
class BranchingOffTopic:
    """How far a sample, with its branch of the tree, lies from the rest; flagged where that is more than a tail."""

    issue: str = "off_topic"
    neighbors: int = 20  # that the dimension is read off

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample."""
        score = off_topic_scores(geometry.x, geometry.tree, geometry.labels)
        m, _ = dimension(geometry.neighbors.distances.numpy()[:, : self.neighbors])
        calibration = off_topic_calibration(score, geometry.labels, m)
        automatic = min(calibration.best_f1(score), calibration.cut(score, WORTH))
        return Finding(score, automatic, calibration=calibration)
