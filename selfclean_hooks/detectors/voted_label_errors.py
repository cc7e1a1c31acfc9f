"""The default detector of label errors: five opinions on every label, and what a wrong one would look like."""

from __future__ import annotations

from dataclasses import dataclass

from selfclean_hooks.calibration import Calibration
from selfclean_hooks.detectors.base import Finding, Geometry
from selfclean_hooks.detectors.label_calibration import audited
from selfclean_hooks.detectors.label_targets import audited_targets

OPEN = 0.45  # labels that score more are open to doubt rather than wrong


@dataclass(frozen=True)
class VotedLabelErrors:
    """How far another label leads, or a number lies off; flagged where flags are expected to hit best."""

    issue: str = "label_errors"
    neighbors: int = 20  # of the plain embedding that have a say

    def __call__(self, geometry: Geometry) -> Finding:
        """Score every sample; the suggested label is the one that most speaks for, or the number foretold."""
        lists = geometry.neighbors.indices[:, : self.neighbors], geometry.neighbors.distances[:, : self.neighbors]
        indices, distances = (part.numpy() for part in lists)
        predicted = foretold = None
        if geometry.targets is not None:
            found, foretold = audited_targets(geometry.x.values, geometry.targets, indices, distances)
        elif geometry.labels is not None:
            found = audited(geometry.x.values, geometry.labels, indices, distances)
            predicted = found.predicted
        else:
            raise AssertionError("label errors are looked for only where there are labels")
        calibration = Calibration(found.knots, found.clean)
        automatic = min(calibration.best_f1(found.score), OPEN)
        return Finding(found.score, automatic, predicted_label=predicted, foretold=foretold, calibration=calibration)
