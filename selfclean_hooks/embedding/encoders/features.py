"""The penultimate features (B, D) of a module for a batch, without side effects on the module."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.torch_settings import without_autocast

PASSED_THROUGH = (nn.Identity, nn.Dropout, nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.Flatten)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as they are kept in checkpoints, by name, without gradient but in the module's memory."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


@contextmanager
def evaluation_mode(module: nn.Module | None, state: Mapping[str, Tensor] = MappingProxyType({})) -> Iterator[None]:
    """Eval mode, no gradients, compiled parts run as written, other weights for the while if `state` gives some.

    Everything is put back, after an exception too.
    """
    modules = list(module.modules()) if module is not None else []
    held = tensors_of(module) if module is not None and state else {}
    before = {name: held[name].clone() for name in state}
    training = [part.training for part in modules]
    compiles = "torch._dynamo" in sys.modules  # else nothing is compiled, and it takes seconds to import
    stance = getattr(torch.compiler, "set_stance", None) if compiles else None  # hooks in compiled parts do not fire
    eager: AbstractContextManager[Any] = stance("force_eager") if stance and modules else nullcontext()
    try:
        for part in modules:
            part.training = False  # not eval(), which users override
        for name, value in state.items():
            held[name].copy_(value)
        with (
            torch.no_grad(),
            without_autocast() if modules else nullcontext(),
            eager,
        ):  # not inference_mode: buffers cached there break the training after it
            yield
    finally:
        for name, value in before.items():
            held[name].copy_(value)
        for part, flag in zip(modules, training, strict=True):
            part.training = flag


class _ReachedError(Exception):
    """Ends a forward pass at the part of the model that is wanted."""


def input_of(part: nn.Module, whole: nn.Module, batch: Any) -> Any:
    """What a model hands to a part of it for a batch; the pass ends there.

    Raises:
        BackboneError: the part is not reached, or is called with more than one argument.
    """
    seen: list[tuple[Any, ...]] = []

    def stop(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        seen.append((*arguments, *keywords.values()))
        raise _ReachedError

    hook = part.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        whole(batch)
    except _ReachedError:
        pass  # as intended: the rest of the pass is not needed
    finally:
        hook.remove()
    if len(seen) != 1 or len(seen[0]) != 1:
        came = f"{len(seen[0])} arguments" if seen else "no call"
        raise BackboneError(
            f"{type(part).__name__} must be called with one argument when {type(whole).__name__} is, got {came}: "
            "name a part that is, or pass a function from a batch to (B, D)"
        )
    return seen[0][0]


def penultimate(module: nn.Module, batch: Any) -> Tensor:
    """Features (B, D) of a batch: what enters the last layer if that is an nn.Linear, else the module's own output.

    timm models are asked for their features before the head.

    Raises:
        BackboneError: neither is (B, D).
    """
    if isinstance(module, Tapped):
        return _two_dimensional(module.penultimate(batch), module.module)
    before_head = _timm_features(module)
    if before_head is not None:
        return _two_dimensional(before_head(batch), module)
    output, layer, features = _watched(module, batch)
    return features if layer is not None else _two_dimensional(output, module)


class Tapped(nn.Module):
    """A module whose output, or penultimate features, a compiled function gives.

    Args:
        module: this object's own: it keeps a hook.
        compiled: what compiles a function of a batch.
    """

    def __init__(self, module: nn.Module, compiled: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> None:
        super().__init__()
        self.module, self._compiled = module, compiled
        self._output: Callable[[Any], Any] | None = None
        self._features: Callable[[Any], Any] | None = None

    def forward(self, batch: Any) -> Any:
        """The output of the module."""
        self._output = self._output or self._compiled(self.module)
        return self._output(batch)

    def penultimate(self, batch: Any) -> Any:
        """What `penultimate` gives of the module; the first batch decides where in the module that is."""
        self._features = self._features or self._compiled(_traceable(self.module, batch))
        return self._features(batch)


def _traceable(module: nn.Module, batch: Any) -> Callable[[Any], Any]:
    """`penultimate` of the module as a function without choices, those being made for this batch."""
    before_head = _timm_features(module)
    layer = None if before_head is not None else _watched(module, batch)[1]
    if layer is None:
        return before_head or module
    entered: list[Any] = []
    layer.register_forward_pre_hook(lambda layer, inputs: entered.append(inputs[0]))

    def before_classifier(batch: Any) -> Any:
        module(batch)
        return entered.pop()

    return before_classifier


def _watched(module: nn.Module, batch: Any) -> tuple[Any, nn.Module | None, Any]:
    """The output for a batch; the last layer and what enters it, (B, D), if that is an nn.Linear and runs once."""
    entered: list[tuple[nn.Module, Any]] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if entered:
            entered[-1] = (entered[-1][0], None)  # not the last: its input need not be kept alive
        entered.append((layer, inputs[0] if isinstance(layer, nn.Linear) and inputs else None))

    hooks = [layer.register_forward_pre_hook(note) for layer in _layers(module)]
    try:
        output = module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    last, features = entered[-1] if entered else (None, None)
    once = sum(layer is last for layer, _ in entered) == 1
    if once and isinstance(features, Tensor) and features.ndim == 2:
        return output, last, features
    return output, None, None


def _timm_features(module: nn.Module) -> Callable[[Any], Any] | None:
    """The function of a timm model that stops before its head; None for other modules."""
    body, head = getattr(module, "forward_features", None), getattr(module, "forward_head", None)
    if not callable(body) or not callable(head) or "pre_logits" not in inspect.signature(head).parameters:
        return None
    return lambda batch: head(body(batch), pre_logits=True)


def _layers(module: nn.Module) -> list[nn.Module]:
    """Modules without parts, a linear layer being one also where its weight is parametrized (weight_norm)."""
    if isinstance(module, (nn.Linear, parametrize.ParametrizationList)):
        return [module] if isinstance(module, nn.Linear) else []
    if isinstance(module, (*PASSED_THROUGH, torch.jit.ScriptModule)):  # a scripted module takes no hooks
        return []
    parts = list(module.children())
    found = [layer for part in parts for layer in _layers(part)] if parts else [module]
    return list(dict.fromkeys(found))


def _two_dimensional(output: Any, module: nn.Module) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise BackboneError(
        f"{type(module).__name__} must end in a classifier (nn.Linear on (B, D)) or give (B, D) features, got {came}: "
        "pass the part of it that does, or a function from a batch to (B, D)"
    )
