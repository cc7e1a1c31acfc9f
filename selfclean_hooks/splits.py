"""`SplitsAudit`: the audits of several splits, what they share, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.audit import Audit, checked_settings
from selfclean_hooks.errors import DataError, SettingError
from selfclean_hooks.policy import Policy
from selfclean_hooks.scores import label_texts
from selfclean_hooks.thresholds import Thresholds

if TYPE_CHECKING:
    import pandas as pd

    from selfclean_hooks.baseline import Baseline
    from selfclean_hooks.gate import Limits, Verdict

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
        import pandas as pd

        names = list(self.audits)
        tables = []
        for at, audit in enumerate(self.audits.values()):
            table = audit.leakage
            later = table["split_2"].isin(names[at + 1 :])  # each pair is listed in both splits
            tables.append(table[table["is_leakage_issue"] & later])
        pairs = pd.concat(tables, ignore_index=True)
        found = pairs.drop(columns="is_leakage_issue").sort_values("distance", kind="stable")
        worst_first: pd.DataFrame = found.reset_index(drop=True)
        return worst_first

    @property
    def label_disagreements(self) -> pd.DataFrame:
        """The rows of `leakage` whose samples carry different labels, with label_1 and label_2."""
        import pandas as pd

        pairs = self.leakage
        labels = {name: label_texts(audit.scores) for name, audit in self.audits.items() if has_labels(audit)}
        pairs = pairs[pairs["split_1"].isin(list(labels)) & pairs["split_2"].isin(list(labels))]
        for side in ("1", "2"):
            places = zip(pairs[f"split_{side}"], pairs[f"index_{side}"], strict=True)
            pairs = pairs.assign(**{f"label_{side}": pd.Series([labels[s][i] for s, i in places], pairs.index, object)})
        disagreeing: pd.DataFrame = pairs[pairs["label_1"] != pairs["label_2"]].reset_index(drop=True)
        return disagreeing

    def at(
        self, *, thresholds: Thresholds | None = None, policy: Policy | Mapping[str, Policy] | None = None
    ) -> SplitsAudit:
        """The same measurements under other thresholds or policies; costs nothing. See `Audit.at`."""
        policies = {} if policy is None else policies_of(policy, self.audits)
        audits = self.audits.items()
        decided = {name: audit.at(thresholds=thresholds, policy=policies.get(name)) for name, audit in audits}
        return replace(self, audits=decided)

    def check(self, limits: Limits | Mapping[str, Limits], baseline: Baseline | None = None) -> Verdict:
        """Whether every split is within its limits; findings in `baseline` do not count.

        Args:
            limits: the same for every split, or by name of the split (one left out has none).
            baseline: with one and no limit, no finding beside it is tolerated.

        Raises:
            SettingError: limits are given for a split that there is not.
        """
        from selfclean_hooks.gate import check

        by_split = limits if isinstance(limits, Mapping) else dict.fromkeys(self.audits, limits)
        return check(self.audits, by_split, baseline)

    def save(self, folder: str | Path) -> None:
        """Write a folder for each split as `Audit.save` does, leakage.csv, splits.json and report.html.

        Raises:
            AuditFileError: the folder cannot be written.
            PolicyError: a policy would drop too much; everything but that clean_indices.txt is written first.
        """
        from selfclean_hooks.split_storage import save

        save(self, Path(folder))

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
    """What the classes that samples carry are called; None where there are no labels."""
    if labels is None:
        return None
    codes = {int(code) for code in labels} - {-1}
    return frozenset(class_names[code] if class_names and code < len(class_names) else str(code) for code in codes)


def has_labels(audit: Audit) -> bool:
    """Whether samples carry labels."""
    return bool((audit.scores.given_label >= 0).any())
