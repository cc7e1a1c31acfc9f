"""How far two audits of the same samples agree: after another epoch, with another encoder, with another seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import SCORED
from selfclean_hooks.errors import DataError

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


def stability(before: AuditResult, after: AuditResult) -> dict[str, dict[str, float]]:
    """Compare the scores and flags of two audits, sample by sample.

    Flagged near duplicates are all members of the duplicate pairs, as which copy counts as surplus says little.

    Args:
        before: the earlier audit, of N samples.
        after: the later one, of the same N samples in the same order.

    Returns:
        For each issue that ran in both, in the order of `SCORED`; none of it is NaN:
        "rank_correlation": Spearman's, in [-1, 1], of the scores of samples scored in both, ties by average rank. 1.0
        where the two rank alike, be it that all scores tie or none are there; 0.0 where only one has all its scores
        tied.
        "flagged_again": share of what was flagged before that is flagged after, in [0, 1]; 1.0 if nothing was flagged
        before, as nothing was lost.
        "jaccard": flagged in both over flagged in either, in [0, 1]; 1.0 if nothing is flagged in either.
        "flagged_before", "flagged_after", "flagged_both": how many samples.

    Raises:
        DataError: the audits are of different numbers of samples.
    """
    if len(before) != len(after):
        raise DataError(
            f"two audits of the same samples are needed, got {len(before)} and {len(after)} samples: "
            "audit the same data set, in the same order, both times"
        )
    ran = [issue for issue in SCORED if issue in before.scores.ran and issue in after.scores.ran]
    return {issue: _compared(before, after, issue) for issue in ran}


def describe(stability: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One sentence an issue: "off_topic against the last audit: rank correlation 0.83, 45 of 62 flagged again, 12 new".

    Args:
        stability: what the function of that name returned.
    """
    return [
        f"{issue} against the last audit: rank correlation {found['rank_correlation']:.2f}, "
        f"{found['flagged_both']:.0f} of {found['flagged_before']:.0f} flagged again, "
        f"{found['flagged_after'] - found['flagged_both']:.0f} new"
        for issue, found in stability.items()
    ]


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of two (N,) arrays, in [-1, 1], over the positions where neither is NaN.

    Ties get their average rank. 1.0 where the ranks are the same, 0.0 where only one of the two is constant.
    """
    from scipy.stats import spearmanr  # slow to import

    scored = ~(np.isnan(one) | np.isnan(other))
    first, second = one[scored], other[scored]
    is_constant = [len(np.unique(values)) < 2 for values in (first, second)]
    if any(is_constant):
        return float(all(is_constant))
    return round(float(spearmanr(first, second).statistic), 12)  # 1.0 of equal ranks, without rounding errors


def _compared(before: AuditResult, after: AuditResult, issue: str) -> dict[str, float]:
    old, new = (audit.decisions.flags[issue] for audit in (before, after))
    both, either = int((old & new).sum()), int((old | new).sum())
    return {
        "rank_correlation": rank_correlation(before.scores.of(issue), after.scores.of(issue)),
        "flagged_again": both / int(old.sum()) if old.any() else 1.0,
        "jaccard": both / either if either else 1.0,
        "flagged_before": float(old.sum()),
        "flagged_after": float(new.sum()),
        "flagged_both": float(both),
    }
