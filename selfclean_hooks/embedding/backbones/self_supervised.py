"""Encoders trained on the data itself, now or earlier and saved in a file."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.embedding.encoders.encoder import Encoder, device_of, weights_fingerprint
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.run import Pretrained, content_of, load, pretrain
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.utils.text import bar, console

EPOCHS: int | None = None  # None: derived from the number of images


def train_encoder(
    images: ImageDataset,
    device: str | torch.device,
    seed: int,
    progress: bool,
    why: str = "",
    kept: str | Path | None = None,
) -> Encoder:
    """An encoder trained on the images, now or by an earlier audit; its note says why.

    Args:
        images: what to train on.
        device: "auto" or a torch device.
        seed: of the training.
        progress: show a bar.
        why: why it is trained.
        kept: file of an encoder that an earlier audit trained. It is used if this training would come to the same; else
            the note says why not.

    Raises:
        DataError: fewer than two can be read; says what is wrong with the first.
    """
    if progress and why:
        what = "training a small encoder on the data itself, once: it takes a minute or more and is kept with the audit"
        console(stderr=True).print(f"{why}: {what}", soft_wrap=True, markup=False)
    recipe, where = Recipe(epochs=EPOCHS, seed=seed), device_of(device)
    earlier, problem = _earlier(kept, where)
    try:
        with bar("training an encoder", progress) as tick:
            trained = pretrain(images, recipe, device=where, progress=tick, kept=earlier)
    except DataError as error:
        raise DataError(f"{error}{_first_failure(images)}") from error
    note = f"backbone: trained on the data itself, {trained.epochs} epochs in {trained.seconds:.0f} s"
    if trained is earlier:
        note = f"backbone: {kept}, trained on the same images by an earlier audit, {trained.epochs} epochs"
    elif earlier is not None:
        reason = "unfinished" if earlier.is_unfinished else "of other images or another training"
        problem = f"the encoder kept in {kept} is {reason}"
    return of_pretrained(trained, "self-supervised", "; ".join(filter(None, (note, why, trained.warning, problem))))


def _earlier(kept: str | Path | None, device: torch.device) -> tuple[Pretrained | None, str]:
    """The encoder that an earlier audit trained, or why it cannot be used; neither where there is none."""
    if kept is None or not os.path.isfile(kept):
        return None, ""
    try:
        return load(kept, device), ""
    except BackboneError as error:
        return None, f"the encoder kept by an earlier audit cannot be used: {error}"


def of_file(path: str | Path, device: str | torch.device) -> Encoder:
    """The encoder that `selfclean-hooks pretrain` wrote.

    Raises:
        BackboneError: it cannot be read.
    """
    trained = load(path, device_of(device))
    note = f"backbone: {path}, trained on {trained.images} images for {trained.epochs} epochs"
    encoder = of_pretrained(trained, Path(path).name, "; ".join(filter(None, (note, trained.warning))))
    return replace(encoder, file=Path(path).read_bytes()) if encoder.file else encoder  # as it is, to the byte


def of_pretrained(trained: Pretrained, name: str, note: str = "") -> Encoder:
    """A trained encoder as one that runs on a data set."""
    where = next(iter(trained.encoder.parameters())).device
    return Encoder(
        f"{name}, {trained.recipe.objective}, {trained.epochs} epochs at {trained.canvas.size} px",
        partial(_unit_range, trained.encoder),
        where,
        weights_fingerprint(trained.encoder, repr(trained.canvas)),
        trained.canvas,
        trained.encoder,
        note,
        file=content_of(trained) if trained.recipe.is_small else b"",
    )


def _first_failure(images: ImageDataset) -> str:
    for index in range(len(images)):
        try:
            image = images[index]
            if isinstance(image, Image.Image):
                image.load()
        except Exception as error:  # whatever a user's data set raises: it is what the message is about
            return f"; index {index}: {error}"
    return ""


def _unit_range(model: nn.Module, batch: Tensor) -> Tensor:
    features: Tensor = model(batch.float() / 255)
    return features
