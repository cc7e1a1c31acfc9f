"""Backbone -> Encoder: what turns a batch of samples into features, whoever it comes from."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from selfclean_hooks.encoders import Encoder, device_of, of_callable, of_module, received, weights_fingerprint
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.features import tensors_of
from selfclean_hooks.progress import bar
from selfclean_hooks.ranks import Ranks
from selfclean_hooks.reading import Pictures
from selfclean_hooks.timm_models import PRETRAINED, of_timm

__all__ = ["Encoder", "rank_me", "resolve", "resolve_among"]

GUARD_SECONDS = 600.0  # ends a self-supervised training that a busy machine drags out; about 50 CPU s are normal
EPOCHS: int | None = None  # of self-supervised training; None: as many as the number of pictures asks for
WANTED = 'backbone must be "auto", "self-supervised", a timm name, an nn.Module or a callable from a batch to (B, D)'


def resolve(
    backbone: Any,
    pictures: Pictures,
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Encoder:
    """The encoder that `backbone` means.

    Args:
        backbone: "auto", "self-supervised", a timm name, an nn.Module, a callable from a batch to (B, D), an Encoder.
        pictures: the data set's pictures; a self-supervised encoder is trained on them, input sizes follow them.
        device: "auto" or a torch device. "auto" leaves a module where it is and puts others on an accelerator if any.
        seed: of self-supervised training.
        progress: show a bar while training.

    Raises:
        BackboneError: nothing can be made of it; says what to do.
        DataError: an encoder was to be trained on the data, and there are no pictures in it.
        SettingError: there is no such device.
    """
    if isinstance(backbone, Encoder):
        return backbone
    if isinstance(backbone, nn.Module):
        return of_module(backbone, device)
    if isinstance(backbone, (str, Path)):
        return _named(str(backbone), pictures, device, seed, progress)
    if isinstance(backbone, type):
        raise BackboneError(f"{WANTED}, got the class {backbone.__name__}: make an instance of it")
    if callable(backbone):
        return of_callable(backbone, device)
    raise BackboneError(f"{WANTED}, got {type(backbone).__name__}")


def resolve_among(
    ranks: Ranks,
    backbone: Any,
    pictures: Pictures,
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Encoder:
    """`resolve` by each process for its own copy of a module; what has a name is fetched or trained by the first."""

    def resolved() -> Encoder:
        return resolve(backbone, pictures, device=device, seed=seed, progress=progress)

    if ranks.size == 1 or not isinstance(backbone, (str, Path)):
        return _alike(ranks, ranks.each(resolved))
    content = ranks.once(lambda: resolved().sent())
    return received(content, device_of(device))


def _alike(ranks: Ranks, encoder: Encoder) -> Encoder:
    """The encoder with the first process's weights in all: in training each has batch statistics of its own."""
    module, prints = encoder.module, ranks.every(lambda: encoder.fingerprint)
    if module is None or len(set(prints)) == 1:
        return encoder
    state = ranks.once(lambda: {name: value.cpu() for name, value in tensors_of(module).items()})
    return replace(encoder, fingerprint=prints[0], state=state)


def rank_me(vectors: NDArray[np.floating], at_most: int = 25_600) -> float:
    """RankMe (Garrido et al., 2023): the effective rank of (N, D) embeddings, between 1 and min(N, D).

    exp(-sum p_k log p_k) with p_k = sigma_k / sum(sigma) + 1e-7 over the singular values of the uncentred matrix.
    Compares runs of one method; no value by itself means collapse. Of more than `at_most` samples, evenly spaced ones
    are taken.
    """
    rows = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), at_most)).astype(np.int64)]
    x = torch.from_numpy(np.ascontiguousarray(rows))
    x = x.T if x.shape[0] < x.shape[1] else x
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for start in range(0, len(x), 4096):
        part = x[start : start + 4096].double()
        gram += part.T @ part
    sigma = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    p = sigma / sigma.sum() + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def _named(name: str, pictures: Pictures, device: str | torch.device, seed: int, progress: bool) -> Encoder:
    if name == "auto":
        return _auto(pictures, device, seed, progress)
    if name == "self-supervised":
        return _self_supervised(pictures, device, seed, progress)
    if Path(name).is_file():
        raise BackboneError(
            f"checkpoint files are not read yet, got {name!r}: load the weights into a module and pass that"
        )
    return of_timm(name, pictures, device)


def _auto(pictures: Pictures, device: str | torch.device, seed: int, progress: bool) -> Encoder:
    try:
        found = of_timm(PRETRAINED, pictures, device)
    except BackboneError:
        return _self_supervised(pictures, device, seed, progress, f"no pretrained weights can be had ({PRETRAINED})")
    return replace(found, note=f"backbone: pretrained {PRETRAINED}")


def _self_supervised(
    pictures: Pictures, device: str | torch.device, seed: int, progress: bool, why: str = ""
) -> Encoder:
    from rich.console import Console

    from selfclean_hooks.pretrain import pretrain, shrink

    where = device_of(device)
    if progress and why:
        Console(stderr=True).print(f"{why}: training a small encoder on the data itself", soft_wrap=True, markup=False)
    try:
        with bar("training an encoder", progress) as tick:
            trained = pretrain(
                pictures, seed=seed, max_seconds=GUARD_SECONDS, epochs=EPOCHS, device=where, progress=tick
            )
    except DataError as error:
        raise DataError(f"{error}{_first_failure(pictures)}") from error
    return Encoder(
        f"self-supervised, {trained.epochs} epochs at {trained.size} px",
        partial(_unit_range, trained.encoder),
        where,
        weights_fingerprint(trained.encoder, str(trained.size), str(trained.channels)),
        partial(shrink, size=trained.size, channels=trained.channels),
        trained.encoder,
        f"backbone: trained on the data itself, {trained.epochs} epochs in {trained.seconds:.0f} s"
        + (f"; {why}" if why else ""),
    )


def _first_failure(pictures: Pictures) -> str:
    for index in range(len(pictures)):
        try:
            pictures[index].load()
        except Exception as error:  # whatever a user's data set raises: it is what the message is about
            return f"; index {index}: {error}"
    return ""


def _unit_range(model: nn.Module, batch: Tensor) -> Tensor:
    features: Tensor = model(batch.float() / 255)
    return features
