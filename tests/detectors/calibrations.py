"""Calibrations and scores at random, and slow twins of what is computed from them."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.core.issues import ISSUES

Floats = NDArray[np.float64]
DETECTED = [issue.name for issue in ISSUES if issue.score_field and not issue.is_by_request]
SHARE = st.integers(0, 64).map(lambda sixtyfourths: sixtyfourths / 64)  # exact, and often equal
QUICK = settings(max_examples=80, deadline=None)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    """Knots that ascend and probabilities that do not fall."""
    knots = sorted(draw(st.sets(SHARE, min_size=1, max_size=8)))
    clean = sorted(draw(st.lists(SHARE, min_size=len(knots), max_size=len(knots))))
    return Calibration(np.array(knots), np.array(clean))


SCORES = st.lists(SHARE | st.just(math.nan), max_size=30).map(lambda values: np.array(values, np.float64))


def slow_clean(calibration: Calibration, score: float) -> float:
    """Between the two knots around a score in proportion, flat beyond the ends."""
    knots: list[tuple[float, float]] = list(zip(calibration.score.tolist(), calibration.clean.tolist(), strict=True))
    if score == 0 or math.isnan(score):
        return score
    if score <= knots[0][0]:
        return knots[0][1]
    for (low, before), (high, after) in pairwise(knots):
        if score <= high:
            return before + (after - before) * (score - low) / (high - low)
    return knots[-1][1]


@cache
def audit_of(method: str, labelled: bool = True) -> Audit:
    """Four classes; 20 near copies, 12 wrong labels and 8 samples far from all."""
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 4
    rows = 3 + rng.normal(0, 1.2, (4, 16))[truth] + rng.normal(0, 0.5, (300, 16))
    rows = np.concatenate([rows, rows[:20] + rng.normal(0, 0.02, (20, 16)), -rng.uniform(1, 5, (8, 16))])
    labels = np.concatenate([truth, truth[:20], np.arange(8) % 4])
    labels[100:112] = (labels[100:112] + 1) % 4
    return audit_embeddings(rows, labels if labelled else None, method=method)
