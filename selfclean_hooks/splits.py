"""`SplitsAudit`: the audits of several splits, what they share, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfclean_hooks.audit import Audit
from selfclean_hooks.auditing import checked_settings
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.labels import is_classes, label_texts
from selfclean_hooks.policy import Policy
from selfclean_hooks.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd

    from selfclean_hooks.baseline import Baseline
    from selfclean_hooks.gate import Limits, Verdict
    from selfclean_hooks.review import Review

LEAKAGE = ("split_1", "index_1", "split_2", "index_2", "distance")
SHIFT = ("split_1", "split_2", "distance", "expected", "p_value", "components", "explained")
SHOWN = 8


@dataclass(frozen=True, eq=False)
class SplitsAudit:
    """The audits of several splits by one encoder.

    Attributes:
        audits: name: audit, the split that is trained on first. Each holds what it shares with the others.
        shifts: a mapping for each two splits: the rows of `shift`.
    """

    audits: Mapping[str, Audit]
    shifts: tuple[Mapping[str, Any], ...] = ()

    @property
    def shift(self) -> pd.DataFrame:
        """How far splits lie apart, one row for each two of them.

        Columns split_1, split_2, distance (squared Frechet distance in the embedding), expected (its median for random
        splits of the same samples), p_value, components, explained (share of the variance in these components).
        """
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(list(self.shifts), columns=list(SHIFT))
        return table

    @property
    def leakage(self) -> pd.DataFrame:
        """Pairs of near duplicates in two splits: split_1, index_1, split_2, index_2, distance; worst first.

        One threshold decides on all of them, that for near duplicates of the split that is trained on. Listed are the
        nearest of every flagged sample in every other split, and up to 7 more where it has as many.
        """
        return self._table(self.leaking, LEAKAGE)

    @property
    def label_disagreements(self) -> pd.DataFrame:
        """The rows of `leakage` whose samples carry different labels, with label_1 and label_2."""
        return self._table(self.disagreeing, (*LEAKAGE, "label_1", "label_2"))

    @cached_property
    def leaking(self) -> list[dict[str, Any]]:
        """The rows of `leakage`."""
        names = list(self.audits)
        rows = []
        for at, (name, audit) in enumerate(self.audits.items()):
            leaks = audit.scores.leaks
            if leaks is None:
                continue
            near = audit.decisions.leaks
            later = np.isin(np.array(leaks.splits, object), names[at + 1 :])[
                leaks.other
            ]  # pairs are listed on both sides
            for pair in (near & later).nonzero()[0].tolist():
                other = leaks.name(pair), int(leaks.other_index[pair])
                values = (name, int(leaks.index[pair]), *other, float(leaks.distance[pair]))
                rows.append(dict(zip(LEAKAGE, values, strict=True)))
        return sorted(rows, key=lambda row: float(row["distance"]))

    @cached_property
    def disagreeing(self) -> list[dict[str, Any]]:
        """The rows of `label_disagreements`."""
        labels = {name: labels_told(audit) for name, audit in self.audits.items()}
        rows = []
        for row in self.leaking:
            told = {f"label_{side}": labels[row[f"split_{side}"]][row[f"index_{side}"]] for side in (1, 2)}
            rows += [{**row, **told}] if "" not in told.values() and len(set(told.values())) == 2 else []
        return rows

    def _table(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        kinds = {column: np.int64 if column.startswith("index") else object for column in columns}
        table: pd.DataFrame = pd.DataFrame(
            {
                column: np.array([row[column] for row in rows], np.float32 if column == "distance" else kinds[column])
                for column in columns
            }
        )
        return table

    def at(
        self, *, thresholds: Thresholds | None = None, policy: Policy | Mapping[str, Policy] | None = None
    ) -> SplitsAudit:
        """The same measurements under other thresholds or policies; costs nothing. See `Audit.at`."""
        policies = {} if policy is None else policies_of(policy, self.audits)
        audits = self.audits.items()
        decided = {name: audit.at(thresholds=thresholds, policy=policies.get(name)) for name, audit in audits}
        return replace(self, audits=decided)

    def with_decisions(self, review: Review | str | Path | Iterable[str | Path]) -> SplitsAudit:
        """The same measurements with what people decided about findings of each split. See `Audit.with_decisions`.

        Marks about splits that there are not are left out.

        Raises:
            AuditFileError: a file is none.
            SettingError: a near-duplicate threshold lies above the pairs that were kept.
        """
        from selfclean_hooks.review import Review

        given = Review.given(review)
        decided = {name: audit.with_decisions(given.of(name) if name else given) for name, audit in self.audits.items()}
        return replace(self, audits=decided)

    def check(
        self,
        limits: Limits | Mapping[str, Limits] | None = None,
        baseline: Baseline | str | Path | None = None,
    ) -> Verdict:
        """Whether every split is within its limits; findings in `baseline` do not count.

        Args:
            limits: the same for every split, or by name of the split (one left out has none).
            baseline: or the path of one; with one and no limit, no finding beside it is tolerated.

        Raises:
            SettingError: limits are given for a split that there is not.
            AuditFileError: the baseline cannot be read.
        """
        from selfclean_hooks.baseline import Baseline
        from selfclean_hooks.gate import Limits, check

        by_split = limits if isinstance(limits, Mapping) else dict.fromkeys(self.audits, limits or Limits())
        return check(self.audits, by_split, Baseline.given(baseline))

    def save(self, folder: str | Path, verdict: Verdict | None = None) -> None:
        """Write a folder for each split as `Audit.save` does, leakage.csv, splits.json and report.html.

        A verdict is told on the pages.

        Raises:
            AuditFileError: the folder cannot be written.
            PolicyError: a policy would drop too much; everything but that clean_indices.txt is written first.
        """
        from selfclean_hooks.split_storage import save

        save(self, Path(folder), verdict)

    @staticmethod
    def load(folder: str | Path) -> SplitsAudit:
        """Read what `save` wrote.

        Raises:
            AuditFileError: the folder holds no audit of splits, is damaged, or is of another version.
        """
        from selfclean_hooks.split_storage import load

        return load(Path(folder))


def policies_of(policy: Policy | Mapping[str, Policy] | None, splits: Iterable[str]) -> dict[str, Policy]:
    """A policy for every split, the one that is trained on first.

    Raises:
        SettingError: there is no such split, or samples are to be dropped from another one than the first.
    """
    first, *rest = splits
    if not isinstance(policy, Mapping):
        _, policy = checked_settings("default", None, policy)
        return {first: policy, **dict.fromkeys(rest, policy.without_drops())}
    unknown = [name for name in policy if name not in (first, *rest)]
    if unknown:
        names = ", ".join([first, *rest])
        raise SettingError(f"policies must be given by the name of a split ({names}), got {unknown[0]!r}")
    policies = {name: checked_settings("default", None, policy.get(name))[1] for name in (first, *rest)}
    for name in rest:
        if policies[name] != policies[name].without_drops():
            raise SettingError(
                f"the policy of {name!r} says 'drop': samples are dropped only from the split that is trained on "
                f"({first!r}), results on others would no longer compare. Choose 'warn' or 'raise'"
            )
    return policies


def check_classes(classes: Mapping[str, frozenset[str] | None]) -> None:
    """See that no split has classes that the first one lacks; those without labels (None) are not compared.

    Raises:
        DataError: one has.
    """
    (first, known), *others = classes.items()
    for name, found in others:
        odd = sorted(found - known) if known is not None and found is not None else []
        if odd:
            told = ", ".join(odd[:SHOWN]) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
            raise DataError(
                f"splits must have the same classes: {name!r} has {told}, and {first!r}, which is trained on, has none "
                f"of that name ({len(known or ())} classes). Rename the classes, or audit {name!r} by itself"
            )


def classes_of(labels: Any, class_names: tuple[str, ...] | None) -> frozenset[str] | None:
    """What the classes that samples carry are called; None where the labels are none."""
    if labels is None or not is_classes(np.asarray(labels)):
        return None
    codes = {int(code) for code in labels} - {-1}
    return frozenset(class_names[code] if class_names and code < len(class_names) else str(code) for code in codes)


def labels_told(audit: Audit) -> list[str]:
    """What the label of each sample is called, "" where there is none."""
    texts, scores = label_texts(audit.scores), audit.scores
    if scores.targets is not None:
        return texts
    return [text if code >= 0 else "" for text, code in zip(texts, scores.given_label.tolist(), strict=True)]
