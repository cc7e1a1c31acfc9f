"""An Encoder: a function from a batch to features, with all that is needed to run it on a data set."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from selfclean_hooks.embedding.encoders.features import evaluation_mode, input_of, penultimate
from selfclean_hooks.errors import BackboneError, SettingError
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.torch_internals import uncompiled


@dataclass(frozen=True, eq=False)
class Encoder:
    """A function from a collated batch to (B, D) features, and what it needs."""

    name: str
    features: Callable[[Any], Any]
    device: torch.device | None  # where batches of tensors go; None: left where they are
    fingerprint: str | None  # None: what it computes is unknown, so nothing is cached
    prepare: Callable[[Any], Tensor] | None = None  # PIL image -> tensor; None: the data set's own items are fed
    module: nn.Module | None = None  # whose training flags are set aside
    note: str = ""  # how it was chosen, in one line
    state: Mapping[str, Tensor] | None = None  # weights that the module has for the time of the audit

    def ready(self) -> AbstractContextManager[None]:
        """Eval mode, no gradients and the weights of `state`, put back afterwards."""
        return evaluation_mode(self.module, self.state or {})

    def sent(self) -> bytes:
        """The encoder as another process can load it, with `unpickled`."""
        buffer = io.BytesIO()
        torch.save(self, buffer)
        return buffer.getvalue()


def unpickled(content: bytes, device: torch.device) -> Encoder:
    """An encoder that another process of this training `sent`, on `device`."""
    encoder: Encoder = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
    return replace(encoder, device=device)


def of_module(module: nn.Module, device: str | torch.device = "auto", within: nn.Module | None = None) -> Encoder:
    """The features of a module before its classifier; on a device that it is not on, those of a copy.

    Args:
        module: whose features are wanted.
        device: "auto": where the module is.
        within: a model that the module is a part of and is fed by; stays where it is.
    """
    inner: Any = uncompiled(module)
    inner = inner.module if type(inner).__name__ in ("DistributedDataParallel", "DataParallel") else inner
    if any(is_lazy(parameter) for parameter in inner.parameters()):
        raise BackboneError(f"{type(inner).__qualname__} has lazy parameters: run one batch through it first")
    own = next((tensor.device for tensor in (*inner.parameters(), *inner.buffers())), torch.device("cpu"))
    target = own if device == "auto" else device_of(device)
    if target != own and not (target.type == own.type and target.index is None):
        inner = copy.deepcopy(inner).to(target)
    name = type(inner).__qualname__
    whole = inner if within is None else within
    return Encoder(name, SubmoduleFeatures(whole, inner), target, weights_fingerprint(whole, name), module=whole)


class SubmoduleFeatures:
    """Features of a part of a model in the model's precision, as trainers feed it: half, bfloat16 or double.

    The part gets what the model hands to it; if the model fails on the first batch (its forward takes a dict, or is a
    generator's), the part gets the batches themselves.
    """

    def __init__(self, whole: nn.Module, part: nn.Module) -> None:
        self.whole, self.part = whole, part
        self.direct = part is whole
        self.decided = self.direct

    def __call__(self, batch: Any) -> Tensor:
        """(B, D) features of a batch."""
        types = {p.dtype for p in self.whole.parameters() if p.is_floating_point()}
        if isinstance(batch, Tensor) and batch.is_floating_point() and len(types) == 1:
            batch = batch.to(types.pop())
        if not self.decided:
            self.direct, self.decided = not self._feeds(batch), True
        return penultimate(self.part, batch if self.direct else input_of(self.part, self.whole, batch))

    def _feeds(self, batch: Any) -> bool:
        try:
            input_of(self.part, self.whole, batch)
        except BackboneError:  # it runs, and the part cannot be used: an error to report
            raise
        except Exception as error:  # whatever a user's forward raises about a batch it is not made for
            if "out of memory" in str(error):
                raise
            return False
        return True


def of_callable(function: Callable[[Any], Any], device: str | torch.device = "auto") -> Encoder:
    """A function from a batch to (B, D), used as it is."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return Encoder(name, function, None if device == "auto" else device_of(device), None)


def device_of(device: str | torch.device) -> torch.device:
    """The device meant; "auto" is an accelerator if there is one.

    Raises:
        SettingError: there is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingError(
            f'device must be "auto" or a torch device that this machine has, got {device!r}: {reason}'
        ) from error
    return found


def weights_fingerprint(module: nn.Module, *more: str) -> str:
    """Of the structure of a module, the names, shapes and values of its parameters and buffers, and of `more`."""
    state = sorted(module.state_dict().items())
    values = [(name, value.detach().cpu().reshape(-1)) for name, value in state if isinstance(value, Tensor)]
    return fingerprint(
        type(module).__qualname__,
        repr(module),
        *(part for name, value in values for part in (name, value.float().numpy())),
        *more,
    )
