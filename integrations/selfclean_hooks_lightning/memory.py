"""What is known of data that was audited: it travels in checkpoints, so that a resumed run drops the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.errors import DataError
from selfclean_hooks.fingerprints import data_fingerprint
from selfclean_hooks.ranks import Ranks


@dataclass(frozen=True, eq=False)
class Known:
    """The outcome of the audit of the data behind one loader."""

    n: int
    fingerprint: str  # of the data
    settings: str  # that the outcome depends on
    dropped: NDArray[np.int64]  # ascending positions
    epoch: int  # before which the audit was made

    def changed(self, now: Known) -> str:
        """What is not as it was, or ""."""
        if (self.n, self.fingerprint) != (now.n, now.fingerprint):
            return f"the data changed since the last audit ({self.n} samples then, {now.n} now)"
        return "the settings of the audit changed since the last one" if self.settings != now.settings else ""

    def state(self) -> dict[str, Any]:
        """As plain numbers and words, which every checkpoint can hold and every loader reads."""
        return {**vars(self), "dropped": self.dropped.tolist()}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Known:
        """What `state` gave."""
        return cls(**{**state, "dropped": np.asarray(state["dropped"], np.int64)})


def met(ranks: Ranks, data: Any, settings: str, epoch: int) -> Known:
    """Data before its audit, with nothing dropped yet.

    Raises:
        DataError: the processes of the training hold different data.
    """
    prints = ranks.every(lambda: data_fingerprint(data))
    if len(set(prints)) > 1:
        raise DataError(
            "all processes of the training must hold the same data in the same order, and do not: seed what chooses "
            "it, as random_split(..., generator=torch.Generator().manual_seed(0))"
        )
    return Known(len(data), prints[0], settings, np.empty(0, np.int64), epoch)
