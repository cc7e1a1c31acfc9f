"""`SplitsResult`: the audits of several splits, what they share, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.decisions.settings import Policy, Thresholds, split_policies
from selfclean_hooks.results.result import A, AuditResult

LEAKAGE = ("split_1", "index_1", "split_2", "index_2", "distance")
SHIFT = ("split_1", "split_2", "distance", "expected", "p_value", "components", "explained")


S = TypeVar("S", bound="SplitsResult[Any]")


@dataclass(frozen=True, eq=False)
class SplitsResult(Generic[A]):
    """The audits of several splits by one encoder.

    Attributes:
        audits: name: audit, the split that is trained on first. Each holds what it shares with the others.
        shifts: a mapping for each two splits: the rows of `shift`.
    """

    audits: Mapping[str, A]
    shifts: tuple[Mapping[str, Any], ...] = ()

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
                other = leaks.other_split(pair), int(leaks.other_index[pair])
                values = (name, int(leaks.index[pair]), *other, float(leaks.distance[pair]))
                rows.append(dict(zip(LEAKAGE, values, strict=True)))
        return sorted(rows, key=lambda row: float(row["distance"]))

    @cached_property
    def disagreeing(self) -> list[dict[str, Any]]:
        """The rows of `label_disagreements`."""
        labels = {name: conflicting_labels(audit) for name, audit in self.audits.items()}
        rows = []
        for row in self.leaking:
            both = {f"label_{side}": labels[row[f"split_{side}"]][row[f"index_{side}"]] for side in (1, 2)}
            rows += [{**row, **both}] if "" not in both.values() and len(set(both.values())) == 2 else []
        return rows

    def at(self: S, *, thresholds: Thresholds | None = None, policy: Policy | Mapping[str, Policy] | None = None) -> S:
        """The same measurements under other thresholds or policies; costs nothing. See `Audit.at`."""
        policies = {} if policy is None else split_policies(policy, self.audits)
        audits = self.audits.items()
        decided = {name: audit.at(thresholds=thresholds, policy=policies.get(name)) for name, audit in audits}
        return replace(self, audits=decided)


def conflicting_labels(audit: AuditResult) -> list[str]:
    """The label of each sample as text, "": none, or not all of several are known."""
    texts, scores = label_texts(audit.scores), audit.scores
    if scores.targets is not None:
        partly = np.zeros(len(texts), bool) if scores.targets.ndim == 1 else (scores.targets == -1).any(1)
        return ["" if unknown else text for text, unknown in zip(texts, partly.tolist(), strict=True)]
    return [text if code >= 0 else "" for text, code in zip(texts, scores.given_label.tolist(), strict=True)]
