"""The margins of one epoch of training, as one process makes its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.training.batch_indices import BatchIndexRecorder, why_unsupported
from selfclean_hooks.training.logits import Head, agrees, is_compiled

TRIES = 8  # batches by which the layer that gives the logits must have shown
NO_LOGITS = "the outputs of the last linear layer do not tell the labels better than one guess for all"
NO_HEAD = "no linear layer gave the logits of a batch, one row a sample and one column a class"
UNKNOWN = "there is no telling which samples are in a batch"


class Epoch:
    """Records one epoch in one process.

    Args:
        draws: what the loader draws.
        places: (len(draws.dataset),) positions in the audited data; -1: not audited.
        labels: (N,) of these; below 0: unknown.
        loader: that the trainer iterates over.
        trainer: of the fit.
        module: in training.

    Attributes:
        why: the reason why nothing is recorded, or "".
    """

    def __init__(
        self,
        draws: BatchIndexRecorder,
        places: NDArray[np.int64],
        labels: NDArray[np.int64],
        loader: Any,
        trainer: Any,
        module: Any,
    ) -> None:
        """Nothing is recorded yet."""
        self.draws, self.places, self.labels, self.trainer = draws, places, labels, trainer
        self.head = Head(module, int(labels.max()) + 1)
        self.why = "hooks would disturb what torch.compile made of the module" if is_compiled(module) else ""
        self.why = self.why or why_unsupported(loader, trainer)
        self.checked, self.steps = False, 0
        self._at: NDArray[np.int64] | None = None  # positions of the batch in hand
        self._recorded: list[tuple[NDArray[np.int64], Tensor]] = []

    def batch_starts(self, batch: Any) -> None:
        """Before a step."""
        self.steps += 1
        self._at = None if self.why else self.draws.of_batch(self.trainer)
        if self._at is None:
            return
        self._at = self.places[self._at]
        labels = np.where(self._at >= 0, self.labels[self._at], -1)
        if not self.checked:
            self._check(batch, labels)
        if self.why:
            self._at = None
        else:
            self.head.listen(labels)

    def batch_ends(self) -> None:
        """After a step."""
        if self._at is None:
            return
        margins = self.head.margins()
        if margins is not None:
            self._recorded.append((self._at, margins))
        self._at = None
        if self.steps >= TRIES and not self.head.outputs:
            self.why = NO_HEAD

    def result(self) -> tuple[str, NDArray[np.float64], NDArray[np.int64]]:
        """`why`, sums and counts (N,) of this process."""
        n = len(self.labels)
        if not self._recorded:
            nothing = "" if not self.steps else NO_HEAD if self.checked else UNKNOWN
            return self.why or nothing, np.zeros(n), np.zeros(n, np.int64)
        at = np.concatenate([positions for positions, _ in self._recorded])
        margins = torch.cat([margins for _, margins in self._recorded]).cpu().double().numpy()
        good = (at >= 0) & (self.labels[at] >= 0) & np.isfinite(margins)
        at, margins = at[good], margins[good]
        why = self.why or self._doubt(self.labels[at], margins)
        total, count = np.bincount(at, margins, n), np.bincount(at, minlength=n)
        return why, total.astype(np.float64), count.astype(np.int64)

    def _doubt(self, labels: NDArray[np.int64], margins: NDArray[np.float64]) -> str:
        """Why the margins are not those of a classifier, or "": layers of any other use have many outputs too."""
        if self.head.outputs == self.head.classes or not len(labels):
            return ""
        guess = np.bincount(labels).max() / len(labels)
        chance = guess + 2 * np.sqrt(guess * (1 - guess) / len(labels))
        return "" if (margins > 0).mean() > chance else NO_LOGITS

    def stop(self) -> None:
        """Leave the module as it was found."""
        self.head.stop()

    def _check(self, batch: Any, labels: NDArray[np.int64]) -> None:
        """See that the batch holds the samples drawn for it, in their order; collate functions may sort them."""
        known = labels[labels >= 0]
        if not len(known):
            return
        if not agrees(batch, labels):
            self.why = "a batch does not hold the labels of the samples drawn for it, in their order"
        self.checked = len(labels) == 1 or bool((known != known[0]).any())  # else any order looks right
