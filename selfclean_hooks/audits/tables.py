"""`AuditTables`: an audit result as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfclean_hooks.results.result import AuditResult
from selfclean_hooks.results.tables import (
    calibration_of,
    duplicates_of,
    frame_of,
    leakage_of,
    pairs_of,
    ranking_of,
    summary_of,
)

if TYPE_CHECKING:
    import pandas as pd


class AuditTables(AuditResult):
    """An `AuditResult` with its tables."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per sample, indexed by position in the data set; a new copy each time."""
        return frame_of(self)

    @property
    def pairs(self) -> pd.DataFrame:
        """The closest pairs, worst score first: all below the threshold, at least N; a new copy each time."""
        return pairs_of(self)

    @property
    def duplicate_sets(self) -> pd.DataFrame:
        """The sets of near duplicates, one row per member, the kept copy of each set first; a new copy each time.

        Columns near_duplicate_set, index, is_kept, distance (to the kept copy), given_label,
        is_label_conflict (copies of the set carry different labels).
        """
        return duplicates_of(self)

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of a sample of this split and one of another, worst score first: flagged ones and the nearest others.

        Columns split_1, index_1, split_2, index_2, distance, is_leakage_issue; no rows without other splits.
        """
        return leakage_of(self.scores.leaks, self.decisions.leaks)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per issue: issue, num_issues, contamination, threshold, action; NaN and "not run" if not run."""
        return summary_of(self)

    def ranking(self, issue: str) -> pd.DataFrame:
        """All samples scored for near_duplicates, off_topic or label_errors, worst first, for review from the top.

        Columns index, score, is_issue, probability (that it is an issue) and expected_found (how many of the estimated
        issues are among the rows down to this one); the last two are NaN where the method estimates no probabilities.
        After `core.calibration.clean_in_a_row()` consecutive non-issues, reviewing can stop.

        Raises:
            SettingError: there is no such issue, or it did not run.
        """
        return ranking_of(self, issue)

    @property
    def calibration(self) -> pd.DataFrame:
        """Estimated precision and recall of the flags, one row per issue with estimated probabilities.

        Columns issue, num_issues (flagged), precision (estimated share of correct flags; of label errors NaN where its
        interval is wider than 0.45), precision_low and precision_high (95% interval), estimated (number of
        issues in the data), estimated_low and estimated_high (95% interval), recall (share of them flagged) and
        inspect_for_90 (samples to inspect, from the worst, for 90% recall); where the number of issues cannot be
        estimated, these are NaN and the last column, unknown, says why ("" elsewhere). Near duplicates are
        counted as they are everywhere: of a set of n that all but the kept one are, n - 1.
        """
        return calibration_of(self)
