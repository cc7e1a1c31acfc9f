"""The margins of a batch, from the logits that the module in training computes anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from selfclean_hooks.utils.arrays import IntArray
from selfclean_hooks.utils.torch_internals import in_backward


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
        if self.head is not None:
            self.head.see(layer, output)

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
