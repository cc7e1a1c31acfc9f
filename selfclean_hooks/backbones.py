"""Backbone -> Encoder: what turns a batch of samples into features, whoever it comes from.

A module is used as it is found: in eval mode, without gradients, with every training flag put back afterwards. Its features
are those before the classifier.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfclean_hooks.errors import BackboneError
from selfclean_hooks.progress import bar
from selfclean_hooks.provenance import fingerprint

PRETRAINED = "efficientnet_lite0.ra_in1k"  # what "auto" asks for: small, and good at all three issues
HUB_SECONDS = 3.0  # how long an unreachable hub may hold up an audit
GUARD_SECONDS = 600.0  # ends a self-supervised training that a busy machine drags out; about 50 CPU s are normal
PASSED_THROUGH = (nn.Identity, nn.Dropout, nn.Softmax, nn.LogSoftmax, nn.Sigmoid, nn.Flatten)


@dataclass(frozen=True, eq=False)
class Encoder:
    """A function from a collated batch to (B, D) features, and what it needs."""

    name: str
    features: Callable[[Any], Any]
    device: torch.device | None  # where batches of tensors go; None: left where they are
    fingerprint: str
    prepare: Callable[[Any], Tensor] | None = None  # PIL image -> tensor; None: the data set's own items are fed
    module: nn.Module | None = None  # whose training flags are set aside
    note: str = ""  # how it was chosen, in one line

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Eval mode, no gradients, compiled parts run as written; everything is put back, after an exception too."""
        modules = list(self.module.modules()) if self.module is not None else []
        training = [module.training for module in modules]
        stance = getattr(torch.compiler, "set_stance", None)
        eager: AbstractContextManager[Any] = stance("force_eager") if stance and modules else nullcontext()
        try:
            for module in modules:
                module.training = False
            with torch.no_grad(), eager:
                yield
        finally:
            for module, flag in zip(modules, training, strict=True):
                module.training = flag


def resolve(
    backbone: Any, pictures: Sequence[Any], *, device: str = "auto", seed: int = 0, progress: bool = False
) -> Encoder:
    """The encoder that `backbone` means.

    Args:
        backbone: "auto", "self-supervised", a timm name, an nn.Module, or a callable from a batch to (B, D).
        pictures: the data set's pictures, which a self-supervised encoder is trained on and input sizes are derived from.
        device: "auto" or a torch device. "auto" leaves a module where it is and puts others on an accelerator if any.
        seed: of self-supervised training.
        progress: show a bar while training.

    Raises:
        BackboneError: nothing can be made of it; says what to do.
    """
    if isinstance(backbone, nn.Module):
        return of_module(backbone, device)
    if isinstance(backbone, str):
        if backbone == "auto":
            return _auto(pictures, device, seed, progress)
        if backbone == "self-supervised":
            return _self_supervised(pictures, device, seed, progress)
        if Path(backbone).is_file():
            raise BackboneError(
                f"checkpoint files are not read yet, got {backbone!r}: load the weights into a module and pass that"
            )
        return _of_timm(backbone, pictures, device)
    if callable(backbone):
        name = getattr(backbone, "__qualname__", type(backbone).__qualname__)
        return Encoder(name, backbone, None if device == "auto" else torch.device(device), fingerprint(name))
    raise BackboneError(
        'backbone must be "auto", "self-supervised", a timm name, an nn.Module or a callable from a batch to (B, D), '
        f"got {type(backbone).__name__}"
    )


def of_module(module: nn.Module, device: str = "auto") -> Encoder:
    """The features of a module before its classifier; on a device that it is not on, those of a copy."""
    inner = getattr(module, "_orig_mod", module)  # torch.compile
    inner = inner.module if type(inner).__name__ in ("DistributedDataParallel", "DataParallel") else inner
    own = next((p.device for p in inner.parameters()), torch.device("cpu"))
    target = own if device == "auto" else torch.device(device)
    if target != own and not (target.type == own.type and target.index is None):
        inner = copy.deepcopy(inner).to(target)
    return Encoder(type(inner).__qualname__, partial(penultimate, inner), target, _fingerprint(inner), module=inner)


def penultimate(module: nn.Module, batch: Any) -> Tensor:
    """Features (B, D) of a batch: what enters the last layer if that is an nn.Linear, else the module's own (B, D) output.

    timm models are asked for their features before the head.

    Raises:
        BackboneError: neither is (B, D).
    """
    if callable(getattr(module, "forward_features", None)) and callable(getattr(module, "forward_head", None)):
        return _two_dimensional(module.forward_head(module.forward_features(batch), pre_logits=True), module)
    entered: list[tuple[nn.Module, Any]] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        entered.append((layer, inputs[0] if isinstance(layer, nn.Linear) and inputs else None))
        if len(entered) > 1 and isinstance(entered[-2][0], nn.Linear):
            entered[-2] = (entered[-2][0], None)  # not the last: its input need not be kept alive

    leaves = [m for m in module.modules() if not list(m.children()) and not isinstance(m, PASSED_THROUGH)]
    hooks = [leaf.register_forward_pre_hook(note) for leaf in leaves]
    try:
        output = module(batch)
    finally:
        for hook in hooks:
            hook.remove()
    last, features = entered[-1] if entered else (None, None)
    once = sum(layer is last for layer, _ in entered) == 1
    if once and isinstance(features, Tensor) and features.ndim == 2:
        return features
    return _two_dimensional(output, module)


def rank_me(vectors: NDArray[np.floating], at_most: int = 25_600) -> float:
    """RankMe (Garrido et al., 2023): the effective rank of (N, D) embeddings, between 1 and min(N, D).

    exp(-sum p_k log p_k) with p_k = sigma_k / sum(sigma) + 1e-7 over the singular values of the uncentred matrix. Compares
    runs of one method; no value by itself means collapse. Of more than `at_most` samples, evenly spaced ones are taken.
    """
    rows = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), at_most)).astype(np.int64)]
    x = torch.from_numpy(np.ascontiguousarray(rows))
    x = x.T if x.shape[0] < x.shape[1] else x
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(4096):
        gram += part.double().T @ part.double()
    sigma = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = sigma / sigma.sum() + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def _two_dimensional(output: Any, module: nn.Module) -> Tensor:
    if isinstance(output, Tensor) and output.ndim == 2:
        return output
    came = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise BackboneError(
        f"{type(module).__name__} must end in a classifier (nn.Linear on (B, D)) or give (B, D) features, got {came}: "
        "pass the part of it that does, or a function from a batch to (B, D)"
    )


def _accelerator(device: str) -> torch.device:
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def _auto(pictures: Sequence[Any], device: str, seed: int, progress: bool) -> Encoder:
    try:
        found = _of_timm(PRETRAINED, pictures, device)
    except BackboneError:
        note = f"no pretrained weights can be had ({PRETRAINED}): training a small encoder on the data itself"
        return _self_supervised(pictures, device, seed, progress, note)
    return _noted(found, f"backbone: pretrained {PRETRAINED}")


def _noted(encoder: Encoder, note: str) -> Encoder:
    from dataclasses import replace

    return replace(encoder, note=note)


def _self_supervised(pictures: Sequence[Any], device: str, seed: int, progress: bool, note: str = "") -> Encoder:
    from rich.console import Console

    from selfclean_hooks.pretrain import pretrain, shrink

    where = _accelerator(device)
    if progress and note:
        Console(stderr=True).print(note)
    with bar("training an encoder", progress) as tick:
        trained = pretrain(pictures, seed=seed, max_seconds=GUARD_SECONDS, device=where, progress=tick)
    prepare = partial(shrink, size=trained.size, channels=trained.channels)
    return Encoder(
        f"self-supervised, {trained.epochs} epochs at {trained.size} px",
        partial(_unit_range, trained.encoder),
        where,
        _fingerprint(trained.encoder),
        prepare,
        trained.encoder,
        note or f"backbone: trained on the data itself, {trained.epochs} epochs in {trained.seconds:.0f} s",
    )


def _of_timm(name: str, pictures: Sequence[Any], device: str) -> Encoder:
    import timm

    from selfclean_hooks.pretrain import shrink

    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('.')[0]}*")[:5] or timm.list_models("resnet*")[:5]
        raise BackboneError(f"backbone {name!r} is no timm model: did you mean {', '.join(near)}?")
    weights = _weights(name)
    model = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": weights}).eval()
    settings = timm.data.resolve_model_data_config(model)
    size = settings["input_size"][-1]
    if not model.pretrained_cfg.get("fixed_input_size", False):
        size = min(size, _useful_size(pictures))
    where = _accelerator(device)
    model = model.to(where)
    mean, std = (torch.tensor(settings[key], device=where).view(1, 3, 1, 1) for key in ("mean", "std"))
    features = partial(_normalised, model, mean, std)
    return Encoder(f"{name} at {size} px", features, where, _fingerprint(model), partial(shrink, size=size), model)


def _unit_range(model: nn.Module, batch: Tensor) -> Tensor:
    features: Tensor = model(batch.float() / 255)
    return features


def _normalised(model: nn.Module, mean: Tensor, std: Tensor, batch: Tensor) -> Tensor:
    return penultimate(model, (batch.float() / 255 - mean) / std)


def _useful_size(pictures: Sequence[Any], probe: int = 32) -> int:
    """Four times the median longer side, in steps of 32 px: enlarging small pictures more than that buys nothing."""
    sides = []
    for i in range(min(probe, len(pictures))):
        try:
            sides.append(max(pictures[i].size))
        except Exception:  # an unreadable item is the embedding's to report
            continue
    return 32 * -(-4 * int(np.median(sides)) // 32) if sides else 224


def _weights(name: str) -> str:
    """Path of a timm model's pretrained weights: from the local cache, or from the hub if that answers soon."""
    import huggingface_hub
    import timm

    config = timm.get_pretrained_cfg(name)
    repository = getattr(config, "hf_hub_id", None)
    if not repository:
        raise BackboneError(f"timm has no pretrained weights for {name!r}: choose a name with a tag, as {PRETRAINED!r}")
    for file in ("model.safetensors", "pytorch_model.bin"):
        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return cached
    try:
        huggingface_hub.HfApi().model_info(repository, timeout=HUB_SECONDS)
        return huggingface_hub.hf_hub_download(repository, "model.safetensors")
    except Exception as error:  # every HTTP library that the hub has used raises its own
        raise BackboneError(
            f"the weights of {name!r} are not in the local cache and the hub cannot be reached ({type(error).__name__}): "
            'connect once, pass an nn.Module, or use backbone="self-supervised"'
        ) from error


def _fingerprint(module: nn.Module) -> str:
    """Of the names, shapes and values of all parameters and buffers."""
    state = sorted(module.state_dict().items())
    tensors = [(name, value) for name, value in state if isinstance(value, Tensor)]
    return fingerprint(
        *(part for name, value in tensors for part in (name, value.detach().cpu().reshape(-1).float().numpy()))
    )
