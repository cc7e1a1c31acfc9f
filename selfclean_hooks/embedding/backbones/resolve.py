"""Backbone -> Encoder: a function from a batch of samples to features, wherever it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones.checkpoint import named_architecture, of_checkpoint
from selfclean_hooks.embedding.backbones.self_supervised import train_encoder
from selfclean_hooks.embedding.backbones.timm import of_timm
from selfclean_hooks.embedding.encoders.encoder import Encoder, device_of, of_callable, of_module, unpickled
from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.embedding.weights.timm_hub import PRETRAINED
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.processes import Processes

WANTED = (
    'backbone must be "auto", "self-supervised", a timm name, a file of weights, an nn.Module or a callable from a '
    "batch to (B, D)"
)


def resolve(
    backbone: Any,
    images: ImageDataset,
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Encoder:
    """The encoder that `backbone` means.

    Args:
        backbone: "auto", "self-supervised", a timm name, a file of weights ("last.ckpt", "resnet18:FILE"), an
            nn.Module, a callable from a batch to (B, D), an Encoder.
        images: those of the data set; a self-supervised encoder is trained on them, input sizes follow theirs.
        device: "auto" or a torch device. "auto" leaves a module where it is and puts others on an accelerator if any.
        seed: of self-supervised training.
        progress: show a bar while training.

    Raises:
        BackboneError: it is none of these, or cannot be used; says what to do.
        DataError: an encoder was to be trained on the data, and there are no images in it.
        SettingError: there is no such device.
    """
    if isinstance(backbone, Encoder):
        return backbone
    if isinstance(backbone, nn.Module):
        return of_module(backbone, device)
    if isinstance(backbone, (str, Path)):
        return _named(str(backbone), images, device, seed, progress)
    if isinstance(backbone, type):
        raise BackboneError(f"{WANTED}, got the class {backbone.__name__}: make an instance of it")
    if callable(backbone):
        return of_callable(backbone, device)
    raise BackboneError(f"{WANTED}, got {type(backbone).__name__}")


def resolve_distributed(
    processes: Processes,
    backbone: Any,
    images: ImageDataset,
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = False,
) -> Encoder:
    """`resolve` by each process for its own copy of a module; what has a name is fetched or trained by the first."""

    def resolved() -> Encoder:
        return resolve(backbone, images, device=device, seed=seed, progress=progress)

    if processes.size == 1 or not isinstance(backbone, (str, Path)):
        return _alike(processes, processes.run_on_each(resolved))
    content = processes.run_on_first(lambda: resolved().sent())
    return unpickled(content, device_of(device))


def _alike(processes: Processes, encoder: Encoder) -> Encoder:
    """The encoder with the first process's weights in all: in training each has batch statistics of its own."""
    module, prints = encoder.module, processes.gather_all(lambda: encoder.fingerprint)
    if module is None or len(set(prints)) == 1:
        return encoder
    state = processes.run_on_first(lambda: {name: value.cpu() for name, value in tensors_of(module).items()})
    return replace(encoder, fingerprint=prints[0], state=state)


def _named(name: str, images: ImageDataset, device: str | torch.device, seed: int, progress: bool) -> Encoder:
    if name == "auto":
        return _auto(images, device, seed, progress)
    if name == "self-supervised":
        return train_encoder(images, device, seed, progress)
    found = named_architecture(name)
    return of_checkpoint(*found, images, device) if found else of_timm(name, images, device)


def _auto(images: ImageDataset, device: str | torch.device, seed: int, progress: bool) -> Encoder:
    """Pretrained weights where the data are images they are made for and they are soon available; else trained ones."""
    why = "pretrained weights are for images of up to 4 channels"
    if not images.are_rasters():
        try:
            return replace(of_timm(PRETRAINED, images, device), note=f"backbone: pretrained {PRETRAINED}")
        except BackboneError:
            why = f"no pretrained weights are available ({PRETRAINED})"
    return train_encoder(images, device, seed, progress, why)
