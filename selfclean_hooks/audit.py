"""`Audit`: what was measured, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import ContaminationError, DataWarning, SettingError
from selfclean_hooks.policy import Decisions, Policy, decide
from selfclean_hooks.scores import Scores, listing
from selfclean_hooks.thresholds import ISSUES, Thresholds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from selfclean_hooks.baseline import Baseline
    from selfclean_hooks.evidence import Evidence
    from selfclean_hooks.fitness import Fitness
    from selfclean_hooks.gate import Limits, Verdict
    from selfclean_hooks.review import Review


@dataclass(frozen=True, eq=False)
class Audit:
    """What was measured, and what follows from it under `thresholds` and `policy`. Nothing in it changes.

    Attributes:
        scores: the arrays everything else is derived from.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        provenance: data set, encoder, settings and versions, as in manifest.json.
        names: what the samples are called (file paths), where they are called anything.
        digests: what each sample contains, 32 hexadecimal digits, "" where unknown; None: not told.
        thumbnails: position: PNG bytes, of the worst samples; of what is no picture a preview (see previews.py).
        leak_thumbnails: (split, position): the same of samples of other splits.
        evidence: neighbours of the findings that are shown and a map of all samples; None: not measured.
        review: what people decided about findings; None: nothing.
    """

    scores: Scores
    thresholds: Thresholds = field(default_factory=Thresholds)
    policy: Policy = field(default_factory=Policy)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    leak_thumbnails: Mapping[tuple[str, int], bytes] = field(default_factory=dict)
    digests: tuple[str, ...] | None = None
    evidence: Evidence | None = None
    review: Review | None = None

    def __len__(self) -> int:
        """Number of samples audited."""
        return len(self.scores)

    @property
    def n(self) -> int:
        """Number of samples audited."""
        return len(self.scores)

    @cached_property
    def decisions(self) -> Decisions:
        """Flags, sets, actions and reasons as arrays."""
        return decide(self.scores, self.thresholds, self.policy, self.names, self.digests, self.review)

    @property
    def frame(self) -> pd.DataFrame:
        """One row a sample, indexed by its position in the data set; a new copy each time."""
        from selfclean_hooks.frames import frame_of

        return frame_of(self)

    @property
    def pairs(self) -> pd.DataFrame:
        """The closest pairs, worst score first: all below the threshold and at least N; a new copy each time."""
        from selfclean_hooks.frames import pairs_of

        return pairs_of(self)

    @property
    def duplicate_sets(self) -> pd.DataFrame:
        """The sets of near duplicates, one row a member, the kept copy of each set first; a new copy each time.

        Columns near_duplicate_set, index, is_kept, distance (to the kept copy), given_label,
        is_label_conflict (copies of the set carry different labels).
        """
        from selfclean_hooks.frames import duplicates_of

        return duplicates_of(self)

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of samples of this and of another split, worst score first, of those flagged and of others the nearest.

        Columns split_1, index_1, split_2, index_2, distance, is_leakage_issue; no rows where no other split was given.
        """
        from selfclean_hooks.frames import leakage_of

        return leakage_of(self.scores.leaks, self.decisions.leaks)

    @property
    def summary(self) -> pd.DataFrame:
        """One row an issue: issue, num_issues, contamination, threshold, action. NaN and "not run": it did not run."""
        from selfclean_hooks.frames import summary_of

        return summary_of(self)

    @property
    def contamination(self) -> dict[str, float]:
        """Issue: fraction of the N samples; absent where it did not run.

        Of near duplicates surplus copies only; of leakage those that have a near duplicate in another split.
        """
        ran = [issue for issue in self.scores.issues if issue not in self.scores.not_run]
        return {issue: float(self.decisions.counted(issue).mean()) for issue in ran}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Issue: Wilson's 95% interval of its contamination in all data like these N samples."""
        from selfclean_hooks.gate import wilson

        ran = self.contamination
        return {issue: wilson(int(self.decisions.counted(issue).sum()), len(self)) for issue in ran}

    @property
    def fitness(self) -> Fitness | None:
        """How the representation compares with random weights; None where too few samples or an older audit tell."""
        from selfclean_hooks.fitness import Fitness

        return Fitness.of(self.provenance.get("fitness"))

    @property
    def clean_indices(self) -> NDArray[np.int64]:
        """(K,) ascending positions of what the policy keeps.

        Raises:
            PolicyError: the policy would drop more than `max_drop_fraction` of the samples.
        """
        return self.decisions.clean_indices()

    @property
    def relabelled(self) -> dict[int, str]:
        """Position: label that people gave in place of the one there was."""
        return dict(self.decisions.relabelled)

    @property
    def corrected_labels(self) -> NDArray[Any]:
        """(N,) objects, what the label of each sample is called once people corrected it; "" where there is none."""
        from selfclean_hooks.labels import label_texts

        labels = np.array(label_texts(self.scores), object)
        if self.scores.targets is None:
            labels[self.scores.given_label < 0] = ""
        for i, label in self.decisions.relabelled.items():
            labels[i] = label
        return labels

    def worst(self, issue: str) -> NDArray[np.int64]:
        """Positions of the samples that count for `issue`, worst first."""
        return self.ranked(issue, self.decisions.counted(issue).nonzero()[0])

    def ranked(self, issue: str, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions in order of their scores for `issue`, worst first."""
        leaks = self.scores.leaks
        if issue in ISSUES:
            positions = positions[np.argsort(self.scores.of(issue)[positions], kind="stable")]
        elif issue == "leakage" and leaks is not None:
            positions = positions[np.argsort(leaks.worst[positions], kind="stable")]
        return positions

    def ranking(self, issue: str) -> pd.DataFrame:
        """All samples scored for near_duplicates, off_topic or label_errors, worst first: for review from the top.

        Columns index, score, is_issue, probability (that it is an issue) and expected_found (how many of the estimated
        issues are seen down to here); the last two are NaN where the method estimates no probabilities. After
        `calibration.clean_in_a_row()` fine samples in a row the rest may be left.

        Raises:
            SettingError: there is no such issue, or it did not run.
        """
        from selfclean_hooks.frames import ranking_of

        return ranking_of(self, issue)

    @property
    def calibration(self) -> pd.DataFrame:
        """One row an issue whose probabilities were estimated: what the flags are worth, and what there may be beside.

        Columns issue, num_issues (flagged), precision (share of the flags that are estimated to be right), estimated
        (issues in all the data), estimated_low and estimated_high (95% interval), recall (share of them flagged) and
        inspect_for_90 (samples to look at, from the worst, to see 90% of them). For near duplicates these are samples
        that have a near duplicate, kept copies included.
        """
        from selfclean_hooks.frames import calibration_of

        return calibration_of(self)

    def at(self, *, thresholds: Thresholds | None = None, policy: Policy | None = None) -> Audit:
        """The same measurements under other thresholds or another policy; costs nothing.

        Raises:
            SettingError: the near-duplicate threshold lies above the pairs that were kept.
        """
        other = replace(self, thresholds=thresholds or self.thresholds, policy=policy or self.policy)
        complete, known = self.scores.pairs_complete_below, other.thresholds.near_duplicates == "auto"
        cut = 0.0 if known else other.decisions.thresholds["near_duplicates"]
        if cut > max(complete, listed_below(self.thresholds)):
            raise SettingError(
                f"pairs were kept up to a score of {complete:.4g}, so the threshold {cut:g} for near_duplicates cannot "
                f"be applied to them: run the audit again with thresholds=Thresholds(near_duplicates={cut:g})"
            )
        return other

    def with_decisions(self, review: Review | str | Path | Iterable[str | Path]) -> Audit:
        """The same measurements with what people decided about findings, on top of what was decided before.

        What was found fine is no finding any more, whatever the threshold. What was confirmed is one, and is dropped
        whatever the policy. What was relabelled is kept: see `relabelled` and `corrected_labels`. Thresholds that the
        reviewer moved are in force. Samples are found again by content, else by file, else by position (see
        `placing.py`); marks that match nothing are in `decisions.unmatched`.

        Args:
            review: a `Review`, or files of decisions as the report exports them; of several the last counts.

        Raises:
            AuditFileError: a file is none.
            SettingError: the near-duplicate threshold lies above the pairs that were kept.
        """
        from selfclean_hooks.review import Review

        new = Review.given(review)
        splits = ("", *(() if self.scores.leaks is None else self.scores.leaks.splits[:1]))
        cuts: dict[str, Any] = {i: cut for i, cut in new.thresholds_of(*splits).items() if i in ISSUES}
        whole = new if self.review is None else Review.merged((self.review, new))
        found = replace(self, review=whole)
        return found.at(thresholds=replace(self.thresholds, **cuts)) if cuts else found

    def check(self, limits: Limits | None = None, baseline: Baseline | str | Path | None = None) -> Verdict:
        """Whether the contamination is within `limits`; findings in `baseline`, or in that file, do not count.

        With a baseline and no limit, no finding beside it is tolerated.

        Raises:
            AuditFileError: the file cannot be read.
        """
        from selfclean_hooks.baseline import Baseline
        from selfclean_hooks.gate import Limits, check

        return check({"": self}, {"": limits or Limits()}, Baseline.given(baseline))

    def enforce(self) -> None:
        """Warn or raise where the policy says so.

        Raises:
            ContaminationError: samples were flagged for an issue whose policy is "raise".
        """
        for issue in self.contamination:
            action, hits = self.policy.action(issue), self.worst(issue)
            hits = hits[~self.decisions.confirmed[hits]]  # these are dropped
            if len(hits) == 0 or action not in ("warn", "raise"):
                continue
            count, n = len(hits), len(self)
            text = f"{count} of {n} samples ({count / n:.2%}) flagged for {issue}; worst: {listing(hits)}"
            if action == "raise":
                raise ContaminationError(text + f". The policy for {issue} is 'raise'")
            warnings.warn(text, DataWarning, stacklevel=3)

    def save(self, folder: str | Path, verdict: Verdict | None = None) -> None:
        """Write manifest.json, samples.csv, pairs.csv, clean_indices.txt, scores.npz and report.html into `folder`.

        Where other splits were given, leakage.csv too; where people decided, decisions.json and relabelled.csv.
        A verdict is told on the page.

        Raises:
            AuditFileError: the folder cannot be written.
            PolicyError: the policy would drop too much; everything but clean_indices.txt is written first.
        """
        from selfclean_hooks.storage import save

        save(self, Path(folder), verdict=verdict)

    @staticmethod
    def load(folder: str | Path) -> Audit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder is no saved audit, is damaged, or is of another version.
        """
        from selfclean_hooks.storage import load

        return load(Path(folder))

    def to_html(self, path: str | Path) -> None:
        """Write the report, one self-contained HTML file."""
        from selfclean_hooks.report.html import render
        from selfclean_hooks.storage import write

        write(Path(path), render(self).encode())

    def _repr_html_(self) -> str:
        """What a notebook shows: a summary and the worst findings."""
        from selfclean_hooks.notebook import as_html

        return as_html(self)

    def plot(self, issue: str | None = None, most: int = 24) -> Figure:
        """The worst findings of an issue as pictures, with the histogram of the scores and the threshold.

        Beside a surplus copy stands the one that is kept; under label errors stands given label, predicted label. Red
        is what is flagged. Nothing is set in matplotlib, and pyplot is not used: `.savefig(path)` writes the figure.

        Args:
            issue: "near_duplicates", "off_topic", "label_errors" or "leakage"; None: an overview of all.
            most: pictures or pairs shown, at least 1.

        Raises:
            SettingError: there is no such issue, `most` makes no sense, or matplotlib is not installed.
        """
        try:
            from selfclean_hooks.plots import plot
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("matplotlib"):
                raise
            raise SettingError("plots need matplotlib: pip install matplotlib") from error
        return plot(self, issue, most)

    def described(self, name: str, class_names: tuple[str, ...] | None = None, notes: Iterable[str] = ()) -> Audit:
        """The same audit with the name of its source, names for its class codes and notes."""
        data = {**self.provenance.get("dataset", {}), "name": name}
        about = {**self.provenance, "dataset": data, "notes": [*notes, *self.provenance.get("notes", ())]}
        scores = replace(self.scores, class_names=class_names or self.scores.class_names)
        return replace(self, scores=scores, provenance=about)


def listed_below(thresholds: Thresholds) -> float:
    """Every pair with a score below this is wanted."""
    cut = thresholds.near_duplicates
    return float(cut) if isinstance(cut, Real) else 0.0
