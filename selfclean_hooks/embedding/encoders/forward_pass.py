"""How the forward pass is run: in mixed precision, compiled, and with weights in channels-last where they are ours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.features import Tapped
from selfclean_hooks.errors import BackboneError, SettingError
from selfclean_hooks.utils.arrays import fingerprint

BACKEND = "inductor"
TOLERANCE = 0.03  # of the length of all features: bfloat16 computed in another order differs by up to 0.01


class Compiled:
    """Features of batches, compiled; as they were written where that cannot be done or comes to something else.

    It is compiled once, for batches of one length, since that may take minutes: shorter ones are filled up, those of
    less than half the length computed as written. The first batch is computed both ways. From a batch on for which
    torch would compile anew (of images of another size, or by a module that counts its calls) the rest is computed
    as written.

    Attributes:
        note: why not everything is compiled, or "".
    """

    def __init__(self, features: Callable[[Any], Any], module: nn.Module, length: int) -> None:
        """`features` of batches of at most `length` samples that `module` computes."""
        self.note = ""
        self._features, self._module, self._length = features, module, length
        self._compiled: Callable[[Tensor], Any] | None = None

    def __call__(self, batch: Any) -> Any:
        """Features (B, D)."""
        if not isinstance(batch, Tensor) or self.note or 2 * len(batch) < self._length:
            return self._features(batch)
        expected = self._features(batch) if self._compiled is None else None
        try:
            found = self._run(batch)
        except Exception as error:  # each stage of a compiler raises its own, and any of them may
            self.note = _reason(error, first=expected is not None)
            return self._features(batch) if expected is None else expected
        if expected is not None and not _close(found, expected):
            self.note = "the model was not compiled: compiled it gives other features"
        return found if expected is None else expected

    def _run(self, batch: Tensor) -> Any:
        first, self._compiled = self._compiled is None, self._compiled or compile_model(self._features, self._module)
        with _stance("default" if first else "fail_on_recompile"):
            return self._compiled(_filled(batch, self._length))[: len(batch)]


def compile_model(features: Callable[[Any], Any], module: nn.Module) -> Callable[[Any], Any]:
    """`features`, of a copy of the module that shares its parameters and buffers and is compiled.

    Raises:
        BackboneError: they are those of a part of the module, found by hooks each time, or of a function.
        Exception: the module cannot be copied.
    """
    if getattr(features, "part", module) is not module:
        raise BackboneError("its features are those of a part of it, which is fed as the whole is run")
    tensors: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    twin = Tapped(copy.deepcopy(module, dict(tensors)), _compiled)
    found: Callable[[Any], Any] = copy.deepcopy(features, {**tensors, id(module): twin})
    if found is features:  # a function, whose closure is not copied
        raise BackboneError("its features are those of a function that holds it")
    return found


def _compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(batch: Any) -> Any:
        return function(batch)

    # torch keeps what it compiled with the code object, up to eight versions: one of its own for each model
    run.__code__ = run.__code__.replace()
    # in one piece, else parts would be kept with the user's code; of one length: of any, it takes twice as long
    return torch.compile(run, fullgraph=True, dynamic=False, backend=BACKEND)


def _reason(error: Exception, first: bool) -> str:
    if not first and "recompile" in str(error):
        return "only a part of the data was computed by the compiled model: then it, or the image size, changed"
    return "the model was not compiled: " + (str(error).strip().splitlines() or [type(error).__name__])[0]


def _filled(batch: Tensor, length: int) -> Tensor:
    return (
        batch if len(batch) == length else torch.cat([batch, batch[-1:].expand(length - len(batch), *batch.shape[1:])])
    )


def _stance(stance: str) -> AbstractContextManager[Any]:
    """What torch does with compiled code; `evaluation_mode` has all of it run as written."""
    setting = getattr(torch.compiler, "set_stance", None)
    return setting(stance) if setting else nullcontext()


def _close(found: Any, expected: Any) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    error = (found.float() - expected.float()).norm()
    return bool(error <= TOLERANCE * expected.float().norm())


TYPES = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Forward:
    """The features of an encoder as the settings want them computed."""

    features: Callable[[Any], Any]
    device: str
    dtype: torch.dtype | None = None  # None: in the model's own

    def __call__(self, batch: Any) -> Any:
        """Features (B, D)."""
        with torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            return self.features(batch)


def with_precision(encoder: Encoder, reading: EmbeddingSettings) -> Encoder:
    """The encoder as `reading` wants it run; one that went through this before stays as it is.

    Precision is part of its name and fingerprint, so nothing kept at another one is used. Compiled or not, it is the
    same encoder: features differ by rounding.

    Raises:
        SettingError: the device cannot compute in this precision.
    """
    if isinstance(encoder.features, Forward):
        return encoder
    if encoder.module is None or encoder.device is None:
        why = "precision and compile are for modules: a function computes as it was written"
        return encoder if _as_written(reading) else replace(encoder, note="; ".join(filter(None, [encoder.note, why])))
    if encoder.prepare is not None:  # our own model: convolutions take a third less time; a user's stays as it is
        encoder.module.to(memory_format=torch.channels_last)
    if _as_written(reading):
        return encoder
    features = Compiled(encoder.features, encoder.module, reading.batch_size) if reading.compile else encoder.features
    if reading.precision == "32":
        return replace(encoder, features=Forward(features, encoder.device.type))
    digest = encoder.fingerprint and fingerprint(encoder.fingerprint, reading.precision)
    forward = Forward(features, encoder.device.type, _dtype(reading.precision, encoder.device))
    return replace(encoder, name=f"{encoder.name}, {reading.precision}", features=forward, fingerprint=digest)


def note(encoder: Encoder) -> str:
    """Why a model is not compiled that was to be, or ""."""
    inner = encoder.features.features if isinstance(encoder.features, Forward) else None
    return inner.note if isinstance(inner, Compiled) else ""


def _as_written(reading: EmbeddingSettings) -> bool:
    return reading.precision == "32" and not reading.compile


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "16" and device.type == "cpu":
        raise SettingError(
            'precision="16" needs an accelerator, got the device cpu, which takes ten times as long with it as with '
            '"32": use "bf16" there'
        )
    try:
        torch.autocast(device.type, TYPES[precision])
    except RuntimeError as error:
        raise SettingError(f'precision={precision!r} is not available on {device}: {error}. Use "32"') from error
    return TYPES[precision]
