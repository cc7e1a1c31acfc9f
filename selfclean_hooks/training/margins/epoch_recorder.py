"""The margins of one epoch in one process, from the logits that the module in training computes anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from selfclean_hooks.training.host import Host
from selfclean_hooks.training.margins.batch_indices import BatchIndexRecorder, why_unsupported
from selfclean_hooks.utils.arrays import FloatArray, IntArray
from selfclean_hooks.utils.torch_internals import in_backward, is_compiled


class Head:
    """Listens to the layer that gives the logits: the last linear one executed whose output fits the labels.

    Of these one with as many outputs as there are classes comes first. Which it is shows in the first batch. Hooks are
    there from `listen` to `margins` only, during a step of training.

    Args:
        module: in training.
        classes: the highest label plus one.
    """

    def __init__(self, module: nn.Module, classes: int) -> None:
        """Nothing is hooked yet."""
        self.classes = classes
        self.layers: list[nn.Module] = [part for part in module.modules() if isinstance(part, nn.Linear)]
        self.outputs = 0  # of the layer, once it is found
        self.error: Exception | None = None  # of a hook
        self._labels = torch.empty(0)
        self._margins: dict[nn.Module, tuple[int, Tensor]] = {}  # in order of execution
        self._handles: list[RemovableHandle] = []

    def listen(self, labels: IntArray) -> None:
        """Hook the layers for a step on samples with these labels (B,); those below 0 are unknown."""
        self.stop()
        self._labels = torch.from_numpy(labels).clamp(min=0)
        self._handles = [layer.register_forward_hook(_Hook(self)) for layer in self.layers]

    def margins(self) -> Tensor | None:
        """(B,) of the last forward pass of the step, on the device; None: no output fits. Unhooks the layers."""
        self.stop()
        if self.error is not None:
            raise self.error
        seen, self._margins = self._margins, {}
        if not seen:
            return None
        layer = next((at for at in reversed(seen) if seen[at][0] == self.classes), next(reversed(seen)))
        self.outputs, margins = seen[layer]
        self.layers = [layer]
        return margins

    def stop(self) -> None:
        """Unhook the layers."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @torch.no_grad()
    def see(self, layer: nn.Module, output: Any) -> None:
        """A layer was executed."""
        if type(output) is not Tensor or output.ndim != 2 or in_backward():
            return
        (rows, outputs), labels = output.shape, self._labels
        if rows != len(labels) or outputs < max(2, self.classes):
            return
        self._margins.pop(layer, None)
        self._margins[layer] = (outputs, margins_of(output.detach().float(), labels.to(output.device)))


class _Hook:
    """Copies and pickles of a module, should any be made in the middle of a step, get one that does nothing."""

    def __init__(self, head: Head | None = None) -> None:
        self.head = head

    def __call__(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self.head is None:
            return
        try:
            self.head.see(layer, output)
        except Exception as error:  # in the user's forward pass: raised once the step is over
            self.head.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Hook, ())


def margins_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) logit of the label minus the highest other one, of logits (B, C), C >= 2, and labels (B,)."""
    own = labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
    return logits.gather(1, labels[:, None])[:, 0] - logits.masked_fill(own, -torch.inf).amax(1)


def agrees(batch: Any, labels: IntArray) -> bool:
    """Whether a tensor of a batch holds these labels (B,), those below 0 aside, in this order."""
    known = labels >= 0
    for tensor in _tensors(batch):
        if tensor.numel() == len(labels) and not tensor.is_complex():
            values = tensor.detach().reshape(-1).double().cpu().numpy()
            if (values[known] == labels[known]).all():
                return True
    return False


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from (tensor for value in batch.values() for tensor in _tensors(value))
    elif isinstance(batch, (list, tuple)):
        yield from (tensor for value in batch for tensor in _tensors(value))
    elif is_dataclass(batch):
        yield from (tensor for field in fields(batch) for tensor in _tensors(getattr(batch, field.name)))


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

    def fail(self, why: str) -> None:
        """Record no more in this epoch."""
        self.why, self._at = why, None
        self.head.stop()

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
