"""At which threshold each sample is a surplus copy, so that a page counts near duplicates as the audit does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


def surplus_scores(audit: AuditResult, limit: float) -> NDArray[np.float64]:
    """(N,) threshold above which a sample is a surplus copy; NaN: none up to `limit`.

    Where a pair of the single-linkage tree joins two groups, the copy that is kept of one of them becomes surplus. At
    the threshold in force the surplus copies are those of the audit, whose sets have no chains.
    """
    scores, threshold = audit.scores, audit.decisions.thresholds["near_duplicates"]
    surplus = audit.decisions.surplus
    value = np.full(len(scores), np.nan)
    near = (scores.tree_score < limit).nonzero()[0]
    near = near[np.argsort(scores.tree_score[near], kind="stable")]
    kept_of: dict[int, int] = {}  # of a sample that is surplus: another one of its group, nearer to the kept copy
    for (a, b), score in zip(scores.tree_index[near].tolist(), scores.tree_score[near].tolist(), strict=True):
        kept, other = sorted((_kept(kept_of, a), _kept(kept_of, b)), key=lambda i: (bool(surplus[i]), i))
        kept_of[other] = kept
        value[other] = score
    if math.isfinite(threshold):
        is_below = (value < threshold) | (value == 0)
        value[surplus & ~is_below] = np.nextafter(threshold, 0)
        value[~surplus & is_below] = threshold
    return value


def _kept(kept_of: dict[int, int], index: int) -> int:
    """The kept copy of a sample's group; ways to it are made shorter."""
    while index in kept_of:
        step = kept_of[index]
        kept_of[index] = kept_of.get(step, step)
        index = step
    return index
