"""Which doubtful labels are replaced by the predicted ones, and which samples are better left out.

Both follow from calibrated probabilities: that the given label is right, and that the predicted one is. A label that
is wrong more often than right harms training more than the sample helps; one that is probably right is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selfclean_hooks.core.scores import Scores, class_name
from selfclean_hooks.utils.arrays import BoolArray, FloatArray

RELIABLE = 0.5  # probability from which a predicted label is used: it is right more often than not
# probability from which a flagged label is kept as it is: not much more than a chance, as people's wrong labels are
# more frequent than estimated (benchmarks/quality)
PROBABLY_RIGHT = 0.6


@dataclass(frozen=True, eq=False)
class Relabelling:
    """What becomes of the flagged labels of N samples."""

    replaced: BoolArray  # (N,) gets the predicted label
    dropped: BoolArray  # (N,) has no label to be relied on
    probability: FloatArray  # (N,) that the predicted label is right

    def without(self, dropped: BoolArray) -> Relabelling:
        """The same where samples (N,) are dropped for another reason."""
        return Relabelling(self.replaced & ~dropped, self.dropped, self.probability)

    def labels(self, scores: Scores) -> dict[int, str]:
        """Position -> predicted label."""
        return {i: class_name(scores, int(scores.predicted_label[i])) for i in self.replaced.nonzero()[0].tolist()}

    def reasons(self, scores: Scores) -> dict[int, str]:
        """Position -> what was done about the label, in words."""
        done = {
            i: f"relabelled as {label} ({self.probability[i]:.0%} likely)" for i, label in self.labels(scores).items()
        }
        return done | dict.fromkeys(self.dropped.nonzero()[0].tolist(), "dropped: no label is likely enough")


def relabelling(scores: Scores, doubtful: BoolArray) -> Relabelling:
    """What becomes of doubtful labels (N,) under the policy "relabel".

    The predicted label is right with the probability that the given one is wrong, times that of the prediction if so.
    """
    calibration = scores.calibration.get("label_errors")
    probability, right = np.zeros(len(scores)), np.zeros(len(scores))
    if calibration is not None and scores.prediction_confidence is not None:
        right = calibration.probability_clean(scores.label)
        probability = np.nan_to_num((1 - right) * scores.prediction_confidence)
    replaced = doubtful & (probability >= RELIABLE)
    return Relabelling(replaced, doubtful & ~replaced & ~(right >= PROBABLY_RIGHT), probability)


def why_not(scores: Scores) -> str:
    """Why labels of an audit cannot be replaced, and what to do; "": they can."""
    if scores.targets is not None:
        kind = "regression targets" if scores.targets.ndim == 1 else "several a sample"
        return f"the labels are {kind}, and only classes are replaced: choose 'warn' or 'drop'"
    if "label_errors" in scores.not_run or (scores.prediction_confidence is not None):
        return ""
    return "these scores say nothing about how likely the predicted labels are: audit again with method='default'"
