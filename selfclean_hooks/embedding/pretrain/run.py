"""A trained encoder as one file: weights as safetensors, what it expects in their metadata. Nothing in it is code."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial as with_settings
from pathlib import Path
from typing import Any

import torch

from selfclean_hooks.embedding.pretrain.images import Canvas, read
from selfclean_hooks.embedding.pretrain.networks import brightness, network_of, size_for
from selfclean_hooks.embedding.pretrain.objectives import objective_of, projection_of
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.pretrain.representation import MARK, Description, Representation, read_description
from selfclean_hooks.embedding.pretrain.training import (
    LIGHTNING_STATE,
    STATE,
    Training,
    check_resumable,
    fingerprint_of_training,
    fit,
)
from selfclean_hooks.embedding.weights.checkpoint_file import read as read_weights
from selfclean_hooks.embedding.weights.state_dict import check_fit, load_into
from selfclean_hooks.embedding.weights.stored_tensor import outline
from selfclean_hooks.errors import BackboneError, DataWarning, SettingError, needs
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.files import write
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import Tick
from selfclean_hooks.utils.torch_settings import one_thread, plain_torch

Fit = Callable[[Training, torch.device, "Tick | None", "Path | None"], int]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A trained encoder and what it expects.

    Attributes:
        encoder: in eval mode, on the device it was trained on. (B, channels, size, size) float in [0, 1] to
            (B, D) float32.
        canvas: from an image to the (channels, size, size) uint8 that it is fed, divided by 255.
        recipe: how it was trained, with size and encoder filled in.
        epochs: whole epochs trained; fewer than requested where the training had converged or the time was up.
        images: number it was trained on.
        seconds: wall time of reading and training.
        is_unfinished: whether the time was up before the training was done, see `Recipe.max_seconds`.
        training: fingerprint of images, canvas and recipe, of which the rest follows; "": unknown, of an older version.
    """

    encoder: Representation
    canvas: Canvas
    recipe: Recipe
    epochs: int
    images: int
    seconds: float
    is_unfinished: bool = False
    training: str = ""

    @property
    def version(self) -> int:
        """Of the representation."""
        return self.encoder.version

    @property
    def warning(self) -> str:
        """What is wrong with the encoder, in one sentence, or ""."""
        if not self.is_unfinished:
            return ""
        return (
            f"the training stopped after {self.seconds:.0f} s and {self.epochs} whole epochs, before its end: the "
            "encoder depends on the speed of the machine, and so does what is found with it. Give it more time "
            "(max_seconds, --max-time) or fewer epochs"
        )


def pretrain(
    images: Any,
    recipe: Recipe | None = None,
    *,
    device: torch.device | str = "cpu",
    partial: str | Path | None = None,
    progress: Tick | None = None,
    trainer: Mapping[str, Any] | None = None,
    kept: Pretrained | None = None,
) -> Pretrained:
    """Train an encoder on the images themselves, without labels and without the network.

    Steps and learning rate follow from the data and the recipe alone, never from the clock; an encoder of our own is
    trained in one thread, as sums of several depend on their number. Where the time is up before the end, a DataWarning
    says so. The random states of torch, numpy and `random` are left as they were; torch's default dtype and device,
    grad mode and autocast do not matter.

    Args:
        images: anything with a length whose items are PIL images of any mode and size or (C, H, W) arrays. An item
            that raises is skipped. Above 20,000 images or 2 GiB, a sample drawn with the seed is read.
        recipe: what to train, and how.
        device: where to train.
        partial: file that the state is kept in after each epoch; where it exists, the training goes on from there. It
            is removed at the end.
        progress: called after each step with the steps done and the steps planned.
        trainer: settings of Lightning's Trainer: precision, devices, strategy, logger, callbacks. None: one device in
            full precision, which needs no Lightning.
        kept: an earlier encoder, returned where this training has its fingerprint: of the same images, as they are fed,
            with the same recipe; unless it is unfinished.

    Raises:
        DataError: fewer than two images can be read.
        SettingError: the encoder cannot be made for such images.
        BackboneError: the starting weights are not available, the training diverged, or `trainer` is given and
            Lightning is not installed.
        AuditFileError: `partial` is of another training.
    """
    recipe, start, settings = recipe or Recipe(), time.monotonic(), dict(trainer or {})
    train = _fit_by_lightning(settings) if settings else fit
    with preserve_rng_state(images), plain_torch(), one_thread() if recipe.is_small else nullcontext():
        data, canvas = read(images, recipe.size, recipe.seed)
        side = size_for(recipe.network, canvas.size)
        if side != canvas.size:
            data, canvas = read(images, side, recipe.seed)
        recipe = replace(recipe, encoder=recipe.network, size=canvas.size)
        # torch.manual_seed would also touch the accelerators, which are not restored
        torch.default_generator.manual_seed(recipe.seed)
        network = network_of(recipe.network, recipe.start, *brightness(data), canvas.size)
        objective = objective_of(recipe.objective, network, settings.get("devices", 1) != 1)
        training = Training(objective, data, recipe)
        digest = fingerprint(fingerprint_of_training(training), repr(canvas))
        if kept is not None and kept.training == digest and not kept.is_unfinished:
            return kept
        state = check_resumable(partial, training, LIGHTNING_STATE if settings else STATE)
        epochs = train(training, torch.device(device), progress, state)
        torch.default_generator.manual_seed(recipe.seed)  # untrained layers are the same after a resume
        encoder = Representation(network, objective.projection, canvas)
        encoder.to("cpu").to(memory_format=torch.contiguous_format).calibrate(data)  # as a file is loaded
    if state is not None:
        state.unlink(missing_ok=True)
    encoder = encoder.eval().to(device)
    seconds = time.monotonic() - start
    trained = Pretrained(encoder, canvas, recipe, epochs, len(data), seconds, training.is_unfinished, digest)
    if trained.warning:
        warnings.warn(trained.warning, DataWarning, stacklevel=2)
    return trained


def _fit_by_lightning(settings: Mapping[str, Any]) -> Fit:
    with needs("lightning", "training with settings of its Trainer"):  # takes seconds to import
        from selfclean_hooks.embedding.pretrain.lightning_training import fit_by_lightning
    return with_settings(fit_by_lightning, settings=settings)


def save(trained: Pretrained, path: str | Path) -> None:
    """Put the file in place at once.

    Raises:
        AuditFileError: it cannot be written.
    """
    write(Path(path), content_of(trained))


def content_of(trained: Pretrained) -> bytes:
    """The file of a trained encoder, which `load` reads."""
    from safetensors.torch import save as packed

    facts = Description(**{field.name: getattr(trained, field.name) for field in fields(Description)})
    state = {name: value.cpu().contiguous() for name, value in trained.encoder.state_dict().items()}
    return packed(state, {MARK: facts.to_json()})


def load(path: str | Path, device: torch.device | str = "cpu") -> Pretrained:
    """The encoder that `save` wrote, in eval mode.

    Raises:
        BackboneError: it is no such file, damaged, or of another version.
    """
    try:
        file = read_weights(path, ".safetensors")
    except BackboneError as error:
        raise BackboneError(f"{path} is no encoder that selfclean-hooks pretrain wrote ({error})") from error
    facts = read_description(file)
    channels, name, cure = facts.canvas.channels, "its own description", "train it anew"

    def made() -> Representation:
        network = network_of(
            facts.recipe.network,
            "random",
            torch.zeros(1, channels, 1, 1),
            torch.ones(1, channels, 1, 1),
            facts.canvas.size,
        )
        return Representation(network, projection_of(facts.recipe.objective, network.dim), facts.canvas, facts.version)

    try:
        with preserve_rng_state(), plain_torch():
            with outline():
                check_fit(made(), file, name, cure)
            encoder = made()
    except BackboneError:
        raise
    except (SettingError, RuntimeError, ValueError) as error:
        raise BackboneError(f"the encoder {path} does not fit its own description: {error}") from error
    load_into(encoder, file, name, cure)
    known = {field.name: getattr(facts, field.name) for field in fields(Description) if field.name != "version"}
    return Pretrained(encoder.eval().to(device), **known)
