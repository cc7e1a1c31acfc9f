"""Evidence beside findings: nearest neighbours, and a map of all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_OFF_TOPIC_NEIGHBORS = 4  # neighbours of a sample that looks off topic
MAX_CLASS_NEIGHBORS = 3  # of the given and of the predicted class
Positions = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is shown beside a finding: its neighbours, and its position among all samples.

    Attributes:
        off_topic: position -> its nearest samples, up to 4, nearest first; no exact copies of it or of each other.
        labels: position -> its nearest samples of the given and of the predicted class, up to 3 each, likewise; none of
            the predicted class where that is the given one. For targets: its nearest samples, and none.
        map: (N, 2) float32, a projection of the embeddings, both axes scaled to [0, 1]; NaN: unreadable.
        projection: how the map was made, "PCA" or "UMAP"; "" without one.
    """

    off_topic: Mapping[int, Positions]
    labels: Mapping[int, tuple[Positions, Positions]]
    map: NDArray[np.float32] | None
    projection: str

    def neighbors(self) -> set[int]:
        """All neighbours."""
        of_labels = (places for both in self.labels.values() for places in both)
        return {i for places in (*self.off_topic.values(), *of_labels) for i in places}
