"""Backbone -> Encoder: a function from a batch of samples to features, wherever it comes from.

A file of weights is ``resnet18:weights.ckpt``, or ``weights.ckpt`` where it names its architecture.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.backbones.hugging_face import PREFIX, is_transformer, of_hub, of_transformer
from selfclean_hooks.embedding.backbones.self_supervised import of_file, train_encoder
from selfclean_hooks.embedding.backbones.timm import Config, of_timm, read_config, timm_encoder
from selfclean_hooks.embedding.encoders.encoder import Encoder, device_of, of_callable, of_module, unpickled
from selfclean_hooks.embedding.encoders.features import tensors_of
from selfclean_hooks.embedding.pretrain.representation import MARK
from selfclean_hooks.embedding.weights.checkpoint_file import read
from selfclean_hooks.embedding.weights.state_dict import check_fit, find_prefix, load_into, strip_prefix
from selfclean_hooks.embedding.weights.stored_tensor import Checkpoint, outline
from selfclean_hooks.embedding.weights.timm_hub import PRETRAINED, import_timm
from selfclean_hooks.errors import BackboneError
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import visible
from selfclean_hooks.utils.torch_settings import plain_torch

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".safetensors", ".tar")
OWN = MARK  # in the metadata of what `selfclean-hooks pretrain` wrote
COLOURS = (1, 3)  # channels that images can be converted to


def named_architecture(text: str) -> tuple[str, Path] | None:
    """The timm name ("": the file must say it) and the file that a backbone's text means; None if it means no file.

    A text that is a file as it stands is that (``C:\\x.ckpt`` too); else what stands before the first colon must be a
    timm name for the rest to be a file.
    """
    if os.path.isfile(text):  # unlike those of Path, these functions refuse no name
        return "", Path(text)
    name, colon, rest = text.partition(":")
    if colon and _is_timm(name):
        return name, Path(os.path.expanduser(rest))
    if Path(text).suffix in SUFFIXES or (os.path.isdir(text) and not _is_timm(text)):
        return "", Path(text)  # reading it says what is wrong
    return None


def is_checkpoint(text: str) -> bool:
    """Whether a text names weights: a file that exists, with or without a timm name before it, or "hf:NAME".

    Loads timm only if need be.
    """
    rest = text.partition(":")[2]
    return (
        os.path.isfile(text)
        or text.startswith(PREFIX)
        or (rest != "" and os.path.exists(os.path.expanduser(rest)) and named_architecture(text) is not None)
    )


def of_checkpoint(name: str, path: Path, images: ImageDataset, device: str | torch.device) -> Encoder:
    """A timm model with the weights in a file, fed as its configuration says.

    Args:
        name: of timm; "": the file, or a config.json beside it, says it.
        path: the file.
        images: the input size follows theirs.
        device: "auto" or a torch device.

    Raises:
        BackboneError: the file cannot be read, does not say its architecture, or does not fit it.
    """
    file = read(path)
    if not name and OWN in file.says:
        return of_file(path, device)
    config = read_config(path.with_name("config.json"))
    name = name or _architecture(file, config)
    config = config.checked() if config.architecture.split(".")[0] == name.split(".")[0] else Config()
    channels = _channels(name, file, config)
    with preserve_rng_state():  # a model draws weights before it is given any
        with outline():
            check_fit(_created(name, file, config, channels), file, name)
        model = _created(name, file, config, channels)
    load_into(model, file, name)
    encoder = timm_encoder(model, f"{name} from {path}", images, device, channels or 3)
    return replace(encoder, note=f"backbone: {name} with weights from {path}")


def _architecture(file: Checkpoint, config: Config) -> str:
    """The timm name in a file or in the config.json beside it."""
    arguments = file.says.get("hyper_parameters")
    texts = list(arguments.values()) if isinstance(arguments, dict) else []
    for candidates in ([file.says.get("arch")], [config.architecture], texts):
        names = sorted({name for name in candidates if isinstance(name, str) and _is_timm(name)})
        if len(names) == 1:
            return names[0]
        if names:
            raise BackboneError(f"{file.path} must say one architecture, got {', '.join(names)}: {_cure(file)}")
    raise BackboneError(
        f"{file.path} does not say its architecture (looked for a timm name in its 'arch' and 'hyper_parameters', and "
        f"for a config.json beside it with 'architecture'): {_cure(file)}"
    )


def _cure(file: Checkpoint) -> str:
    return f"write its timm name before it, as resnet18:{file.path}"


def _is_timm(name: str) -> bool:
    return len(name) > 1 and import_timm(f"a checkpoint of {name!r}").is_model(name.split(".")[0])


def _channels(name: str, file: Checkpoint, config: Config) -> int | None:
    """The channels of images that the file's first layer takes; None where they are not those of the model."""
    with outline():
        model = _created(name, file, config)
    config_of: Any = model.pretrained_cfg
    first = config_of.get("first_conv")
    key = f"{first if isinstance(first, str) else first[0] if first else ''}.weight"
    kernel, own = strip_prefix(find_prefix(tensors_of(model), file), file).get(key), tensors_of(model).get(key)
    if kernel is None or own is None or len(kernel.shape) != 4 or kernel.shape[1] == own.shape[1]:
        return own.shape[1] if own is not None and own.shape[1] in COLOURS else None
    if kernel.shape[1] not in COLOURS:
        raise BackboneError(
            f"{file.path} must be of images of 1 or 3 channels, got {kernel.shape[1]} ({key}): pass an nn.Module"
        )
    return kernel.shape[1]


def _created(name: str, file: Checkpoint, config: Config, channels: int | None = None) -> nn.Module:
    """A timm model without classifier."""
    timm = import_timm(f"a checkpoint of {name!r}")
    settings = {**config.model_args, "num_classes": 0, **({"in_chans": channels} if channels else {})}
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, pretrained_cfg_overlay=config.feeding, **settings)
        return model
    except Exception as error:  # each model refuses settings, and the lack of a classifier, in its own way
        reason = visible(str(error))
        raise BackboneError(f"timm cannot make the {name} of {file.path} ({reason}): pass an nn.Module") from error


WANTED = (
    'backbone must be "auto", "self-supervised", a timm name, "hf:NAME", a file of weights, an nn.Module or a callable '
    "from a batch to (B, D)"
)


def resolve(
    backbone: Any,
    images: ImageDataset,
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = False,
    kept: str | Path | None = None,
) -> Encoder:
    """The encoder that `backbone` means.

    Args:
        backbone: "auto", "self-supervised", a timm name, "hf:NAME" of transformers, a file of weights ("last.ckpt",
            "resnet18:FILE"), an nn.Module, a callable from a batch to (B, D), an Encoder.
        images: those of the data set; a self-supervised encoder is trained on them, input sizes follow theirs.
        device: "auto" or a torch device. "auto" leaves a module where it is and puts others on an accelerator if any.
        seed: of self-supervised training.
        progress: show a bar while training.
        kept: file of an encoder that an earlier audit trained, see `train_encoder`.

    Raises:
        BackboneError: it is none of these, or cannot be used; says what to do.
        DataError: an encoder was to be trained on the data, and there are no images in it.
        SettingError: there is no such device.
    """
    if isinstance(backbone, Encoder):
        return backbone
    if isinstance(backbone, nn.Module):
        return of_transformer(backbone, device) if is_transformer(backbone) else of_module(backbone, device)
    if isinstance(backbone, (str, Path)):
        with plain_torch():  # models of our own are made and trained whatever the user has set
            return _named(str(backbone), images, device, seed, progress, kept)
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
    kept: str | Path | None = None,
) -> Encoder:
    """`resolve` by each process for its own copy of a module; what has a name is fetched or trained by the first."""

    def resolved() -> Encoder:
        return resolve(backbone, images, device=device, seed=seed, progress=progress, kept=kept)

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


def _named(
    name: str,
    images: ImageDataset,
    device: str | torch.device,
    seed: int,
    progress: bool,
    kept: str | Path | None,
) -> Encoder:
    if name == "self-supervised":
        return train_encoder(images, device, seed, progress, kept=kept)
    if name.startswith(PREFIX):
        return of_hub(name.removeprefix(PREFIX), device)
    if name != "auto":
        found = named_architecture(name)
        return of_checkpoint(*found, images, device) if found else of_timm(name, images, device)
    # pretrained weights where the data are images they are made for and they are soon available; else trained ones
    why = "pretrained weights are for images of up to 4 channels"
    if not images.are_rasters():
        try:
            return replace(of_timm(PRETRAINED, images, device), note=f"backbone: pretrained {PRETRAINED}")
        except BackboneError:
            why = f"no pretrained weights are available ({PRETRAINED})"
    return train_encoder(images, device, seed, progress, why, kept)
