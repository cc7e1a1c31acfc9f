"""Samples of one split that another split holds too, as plain arrays. Whether a pair is near enough is derived."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Leaks:
    """The nearest pairs of samples between one split and others, worst first.

    Listed are the nearest sample in the other split of every sample on both sides, and all neighbours looked at that
    lie below the near-duplicate threshold. Unreadable samples are in no pair.
    """

    splits: tuple[str, ...]  # the audited split first, then the others
    sizes: tuple[int, ...]  # samples in each
    other: NDArray[np.int64]  # (P,) number of the other split in `splits`, from 1
    index: NDArray[np.int64]  # (P,) position in the audited split
    other_index: NDArray[np.int64]  # (P,) position in the other split
    distance: NDArray[np.float32]  # (P,) in [0, 1]; 0: the same content
    other_names: tuple[str, ...] | None = None  # (P,) file behind each sample of the other split, "" where unknown
    other_digests: tuple[str, ...] | None = None  # (P,) content of each sample of the other split, "" where unknown
    scaled: NDArray[np.float32] | None = None  # (P,) score by the neighbourhood in the split trained on; None: distance
    automatic: float = 0.0  # score below which "auto" flags: that for near duplicates of the split trained on

    @classmethod
    def none(cls) -> Leaks:
        """No pairs."""
        nothing = np.empty(0, np.int64)
        return cls((), (0,), nothing, nothing, nothing, nothing.astype(np.float32))

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.distance)

    @property
    def score(self) -> NDArray[np.float32]:
        """(P,) in [0, 1], low = near duplicates."""
        return self.distance if self.scaled is None else self.scaled

    @cached_property
    def worst(self) -> NDArray[np.float32]:
        """(N,) smallest score of the pairs that each sample of the audited split is in; NaN: not compared."""
        found = np.full(self.sizes[0], np.nan, np.float32)
        np.fmin.at(found, self.index, self.score)
        return found

    def spread(self, positions: NDArray[np.int64], n: int) -> Leaks:
        """The same where the samples of the audited split are those at `positions` among n."""
        return replace(self, index=positions[self.index], sizes=(n, *self.sizes[1:]))

    def name(self, pair: int) -> str:
        """The other split of a pair."""
        return self.splits[int(self.other[pair])]
