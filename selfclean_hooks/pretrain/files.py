"""A trained encoder as one file: weights as safetensors, what it expects in their metadata. Nothing in it is code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from selfclean_hooks.errors import BackboneError
from selfclean_hooks.pretrain import Canvas, Pretrained, Recipe
from selfclean_hooks.randomness import kept_rng
from selfclean_hooks.storage import write

MARK = "selfclean_hooks_encoder"
VERSION = 1


def save(trained: Pretrained, path: str | Path) -> None:
    """Put the file in place at once.

    Raises:
        AuditFileError: it cannot be written.
    """
    from safetensors.torch import save as packed

    facts = {
        "version": VERSION,
        "canvas": asdict(trained.canvas),
        "recipe": asdict(trained.recipe),
        "epochs": trained.epochs,
        "pictures": trained.pictures,
        "seconds": trained.seconds,
    }
    state = {name: value.cpu().contiguous() for name, value in trained.encoder.state_dict().items()}
    write(Path(path), packed(state, {MARK: json.dumps(facts)}))


def is_encoder(path: str | Path) -> bool:
    """Whether a file is one that `save` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            return MARK in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load(path: str | Path, device: torch.device | str = "cpu") -> Pretrained:
    """The encoder that `save` wrote, in eval mode.

    Raises:
        BackboneError: it is none, damaged, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    from selfclean_hooks.pretrain.networks import network_of
    from selfclean_hooks.pretrain.objectives import projection_of
    from selfclean_hooks.pretrain.representation import Representation

    try:
        with safe_open(str(path), "pt") as file:
            facts = json.loads((file.metadata() or {})[MARK])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BackboneError(f"{path} is no encoder that selfclean-hooks pretrain wrote ({error})") from error
    if facts.get("version") != VERSION:
        raise BackboneError(
            f"the encoder {path} must be of version {VERSION}, got {facts.get('version')!r}: use the version of "
            "selfclean-hooks that wrote it, or train it anew"
        )
    told = facts["canvas"]
    canvas = Canvas(told["size"], told["channels"], tuple(told["low"]), tuple(told["high"]))
    recipe = Recipe(**{**facts["recipe"], "start": "random"})
    mean, std = state["network.mean"], state["network.std"]
    with kept_rng():
        network = network_of(recipe.network, "random", mean, std, canvas.size)
        encoder = Representation(network, projection_of(recipe.objective, network.dim), canvas.channels)
    try:
        encoder.load_state_dict(state)
    except RuntimeError as error:
        raise BackboneError(f"the encoder {path} does not fit its own description: {error}") from error
    return Pretrained(encoder.eval().to(device), canvas, recipe, facts["epochs"], facts["pictures"], facts["seconds"])
