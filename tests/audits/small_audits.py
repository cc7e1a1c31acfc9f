"""Vectors of separate classes, with a few exact copies."""

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks import Policy

DROP = Policy(near_duplicates="drop", off_topic="drop", label_errors="drop", max_drop_fraction=1.0)


def vectors_and_labels(n: int = 200, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Four separate classes, and a few exact copies at the end."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    vectors = rng.normal(size=(4, 12))[labels] + 0.3 * rng.normal(size=(n, 12))
    vectors[n - 5 :], labels[n - 5 :] = vectors[:5], labels[:5]
    return vectors, labels
