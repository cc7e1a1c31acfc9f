"""The margins of one epoch of training, as one process makes its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfclean_hooks.training.host import Host
from selfclean_hooks.training.margins.batch_indices import BatchIndexRecorder, why_unsupported
from selfclean_hooks.training.margins.logits import Head, agrees
from selfclean_hooks.utils.arrays import FloatArray, IntArray
from selfclean_hooks.utils.torch_internals import is_compiled

TRIES = 8  # batches within which the layer that gives the logits must have been found
COMPILED = "hooks would disturb what torch.compile made of the module"
NO_LOGITS = "the outputs of the last linear layer do not predict the labels better than one guess for all"
NO_HEAD = "no linear layer gave the logits of a batch, one row a sample and one column a class"
UNKNOWN = "batch indices are unavailable"


class EpochRecorder:
    """Records the margins of one epoch in one process.

    Args:
        indices: What the loader draws.
        positions: (len(indices.dataset),) positions in the audited data; -1: not audited.
        labels: (N,) of the audited data; below 0: unknown.
        loader: That the trainer iterates over.
        host: The trainer.
        module: In training.

    Attributes:
        why: The reason why nothing is recorded, or "".
    """

    def __init__(
        self,
        indices: BatchIndexRecorder,
        positions: IntArray,
        labels: IntArray,
        loader: Any,
        host: Host,
        module: nn.Module,
    ) -> None:
        """Nothing is recorded yet."""
        self.indices, self.positions, self.labels, self.host = indices, positions, labels, host
        self.head = Head(module, int(labels.max()) + 1)
        self.why = COMPILED if is_compiled(module) else why_unsupported(loader) or host.why_not_recorded(loader)
        self.checked, self.steps = False, 0
        self._at: IntArray | None = None  # positions of the current batch
        self._recorded: list[tuple[IntArray, Tensor]] = []

    def batch_starts(self, batch: Any) -> None:
        """Before a step."""
        self.steps += 1
        fetched = None if self.why else self.host.fetched()
        drawn = None if fetched is None else self.indices.of_batch(*fetched)
        if drawn is None:
            self._at = None
            return
        self._at = self.positions[drawn]
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

    def result(self) -> tuple[str, FloatArray, IntArray]:
        """`why`, sums and counts (N,) of this process."""
        n = len(self.labels)
        if not self._recorded:
            nothing = "" if not self.steps else NO_HEAD if self.checked else UNKNOWN
            return self.why or nothing, np.zeros(n), np.zeros(n, np.int64)
        at = np.concatenate([positions for positions, _ in self._recorded])
        margins = torch.cat([margins for _, margins in self._recorded]).cpu().double().numpy()
        valid = (at >= 0) & (self.labels[at] >= 0) & np.isfinite(margins)
        at, margins = at[valid], margins[valid]
        why = self.why or self._why_no_classifier(self.labels[at], margins)
        total, count = np.bincount(at, margins, n), np.bincount(at, minlength=n)
        return why, total.astype(np.float64), count.astype(np.int64)

    def _why_no_classifier(self, labels: IntArray, margins: FloatArray) -> str:
        """Why the margins are not those of a classifier, or "": layers of any other use have many outputs too."""
        if self.head.outputs == self.head.classes or not len(labels):
            return ""
        guess = np.bincount(labels).max() / len(labels)
        chance = guess + 2 * np.sqrt(guess * (1 - guess) / len(labels))
        return "" if (margins > 0).mean() > chance else NO_LOGITS

    def stop(self) -> None:
        """Restore the module."""
        self.head.stop()

    def _check(self, batch: Any, labels: IntArray) -> None:
        """See that the batch holds the samples drawn for it, in their order; collate functions may sort them."""
        known = labels[labels >= 0]
        if not len(known):
            return
        if not agrees(batch, labels):
            self.why = "a batch does not hold the labels of the samples drawn for it, in their order"
        self.checked = len(labels) == 1 or bool((known != known[0]).any())  # else any order looks right
