"""What a policy changes in the data that a model is trained on: samples left out, and labels replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.results.result import AuditResult
from selfclean_hooks.utils.arrays import IntArray


@dataclass(frozen=True, eq=False)
class Corrections:
    """Changes by positions alone, which every checkpoint can hold.

    Attributes:
        dropped: (K,) int64, ascending positions.
        relabelled: (R, 2) int64: the position of a sample, and that of a sample whose given label it gets.
    """

    dropped: IntArray
    relabelled: IntArray

    @classmethod
    def of(cls, audit: AuditResult) -> Corrections:
        """What the policy of an audit changes; with the policy "relabel", labels given by reviewers as well.

        Raises:
            PolicyError: the policy would change too much, or no sample has a label that is to be given.
        """
        kept = audit.clean_indices
        dropped = np.setdiff1d(np.arange(audit.n), kept)
        if audit.policy.label_errors != "relabel":
            return cls(dropped, np.empty((0, 2), np.int64))
        texts, given = label_texts(audit.scores), audit.scores.given_label
        first = {texts[i]: i for i in reversed((given >= 0).nonzero()[0].tolist())}
        new = {i: label for i, label in audit.new_labels.items() if label != texts[i]}
        if unknown := sorted({label for label in new.values() if label not in first}):
            raise PolicyError(
                f"no sample has the label {unknown[0]!r} that reviewers gave, so its form in the data is not known: "
                "correct these labels in the data itself, or use the policy 'drop'"
            )
        pairs = np.array(sorted((i, first[label]) for i, label in new.items()), np.int64).reshape(-1, 2)
        return cls(dropped, pairs[~np.isin(pairs[:, 0], dropped)])

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Corrections:
        """From lists of its attributes; versions before 0.2 relabelled nothing."""
        relabelled = np.asarray(state.get("relabelled", []), np.int64).reshape(-1, 2)
        return cls(np.asarray(state["dropped"], np.int64), relabelled)

    def as_dict(self) -> dict[str, Any]:
        """Lists of its attributes; the new labels only where there are some, so that version 0.1 reads the rest."""
        return {name: values.tolist() for name, values in vars(self).items() if name == "dropped" or len(values)}

    def at(self, positions: IntArray | None) -> Corrections:
        """The same where the samples are those at `positions` of a larger data set; None: they are all of it."""
        return self if positions is None else Corrections(positions[self.dropped], positions[self.relabelled])

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return len(self.dropped) + len(self.relabelled) > 0


NOTHING = Corrections(np.empty(0, np.int64), np.empty((0, 2), np.int64))
