"""An Encoder: a function from a batch to features, with all that is needed to run it on the batches of a data set."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.data import default_collate

from selfclean_hooks.data.reader import unit_range
from selfclean_hooks.embedding.encoders.features import evaluation_mode, input_of, penultimate
from selfclean_hooks.errors import BackboneError, DataError, SettingError
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
    collate: Callable[[list[Any]], Any] | None = None  # makes the batch of whole items; None: of what is in them
    state: Mapping[str, Tensor] | None = None  # weights that the module has for the time of the audit
    file: bytes = b""  # of a small encoder trained by this package: kept with the audit
    pads: bool = False  # a batch may be a list of tensors of several lengths; that of a function always may

    @property
    def takes_lists(self) -> bool:
        """Whether samples of several lengths come as a list of tensors."""
        return self.pads or self.module is None

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
        torch.empty(0, device=found).cpu()  # that of "meta" holds no data
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


def batch_features(encoder: Encoder, contents: Tensor | list[Any]) -> NDArray[np.float32]:
    """(B, D) float32 of the samples' contents."""
    batch = _batch(encoder, contents)
    if isinstance(batch, Tensor) and encoder.device is not None:
        batch = batch.to(encoder.device, non_blocking=True)  # of pinned memory; else it waits
    if isinstance(contents, Tensor) and _takes_items(encoder):
        batch = unit_range(batch)  # there: bytes are sent four times as fast
    shape = (
        f"a batch of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else f"a batch, a {type(batch).__name__}"
    )
    try:
        features = encoder.features(batch)
    except BackboneError:
        raise
    except Exception as error:  # whatever a user's model raises
        raise BackboneError(_failure(encoder, shape, error)) from error
    features = torch.from_numpy(features) if isinstance(features, np.ndarray) else features
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(contents) or not features.numel():
        came = tuple(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise BackboneError(f"the backbone must give (B, D) features, ({len(contents)}, D) for {shape}, got {came}")
    return features.detach().float().cpu().numpy()


def _takes_items(encoder: Encoder) -> bool:
    """Whether it is fed what the data set gives, as `as_input` makes of it."""
    return encoder.prepare is None and encoder.collate is None


def _batch(encoder: Encoder, contents: Tensor | list[Any]) -> Any:
    if encoder.collate is not None:
        return encoder.collate(list(contents))
    if isinstance(contents, Tensor):
        return contents
    contents = [unit_range(content) for content in contents] if _takes_items(encoder) else contents
    return _collated(contents, encoder.takes_lists)


def _failure(encoder: Encoder, shape: str, error: Exception) -> str:
    if "out of memory" in str(error):
        return f"the backbone {encoder.name} ran out of memory on {shape}: pass a smaller batch_size"
    failed = f"the backbone {encoder.name} does not take {shape}: {type(error).__name__}: {error}"
    if encoder.module is None:
        return (
            f"{failed}. A function is given what the data set returns, collated: adapt it, or the data set's transform"
        )
    cure = "Give the data set the transform that the model was trained with, or pass a timm name: it brings its own"
    return f"{failed}. {cure}"


def _collated(contents: list[Any], lists: bool = False) -> Any:
    """As torch's default_collate does; with `lists`, sequences of several lengths are a list of tensors."""
    shapes = sorted({tuple(content.shape) for content in contents if isinstance(content, Tensor)})
    if lists and len(shapes) > 1 and all(isinstance(content, Tensor) and content.ndim <= 2 for content in contents):
        return contents
    if len(shapes) > 1:
        raise DataError(
            f"the samples of a batch must have one shape, got {' and '.join(map(str, shapes[:3]))}: give the data set "
            "a transform that resizes, or pass a timm name as backbone, which brings its own"
        )
    try:
        return default_collate(contents)
    except (TypeError, RuntimeError, LookupError, ValueError, AttributeError) as error:
        kinds = ", ".join(dict.fromkeys(type(content).__name__ for content in contents))
        raise DataError(
            f"the samples of a batch must be alike, images, tensors, numbers, text or dicts of these, got {kinds} "
            f"({error}): let the data set return one kind"
        ) from error
