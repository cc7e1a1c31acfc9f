"""A training: its batches, loss, schedule and state, and the loop that trains on one device in full precision."""

from __future__ import annotations

import functools
import io
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfclean_hooks.embedding.pretrain.convergence import Convergence
from selfclean_hooks.embedding.pretrain.objectives import LEARNING_RATES, Objective
from selfclean_hooks.embedding.pretrain.recipe import Recipe
from selfclean_hooks.embedding.weights.checkpoint_file import read
from selfclean_hooks.errors import AuditFileError, BackboneError
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.files import write
from selfclean_hooks.utils.text import Tick

IMAGES_SEEN = 66_000  # per training, over all epochs, at most
SIMCLR_SEEN = 460  # times the root of their number: more show no more, see "How long" in benchmarks/README.md
MIN_EPOCHS, MAX_EPOCHS = 2, 40
WARM_UP = 0.15  # share of the training in which the learning rate rises
WEIGHT_DECAY = 1e-4
BATCH = 256  # the learning rates are for this; others follow by the root
STATE, LIGHTNING_STATE = "selfclean_hooks_training_state", "selfclean_hooks_lightning_state"  # what a file says it is
FORMAT = "5"  # changes with what the objectives keep in their state, and with the schedule


class Training:
    """An objective, its batches and its schedule, and how far it has come.

    Attributes:
        step: steps done, in this process.
        spent: seconds, before a resume too.
        is_unfinished: whether the time was up before the end.
        processes: that share the batches of an epoch.
    """

    def __init__(self, objective: Objective, data: Tensor, recipe: Recipe) -> None:
        """`data`: (N, C, S, S) uint8."""
        self.objective = objective.to(memory_format=torch.channels_last)  # a third of the time less at 28 pixels
        self.data, self.recipe = data, recipe
        self.batch_size = min(recipe.batch_size, len(data))
        self.epochs = recipe.epochs or epochs_for(recipe.objective, len(data))
        self.step, self.processes = 0, 1
        self.spent, self.started = 0.0, math.nan
        self.is_unfinished = False

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self.spent + (0.0 if math.isnan(self.started) else time.monotonic() - self.started)

    @property
    def steps_an_epoch(self) -> int:
        """In this process; all have as many."""
        return -(-(len(self.data) // self.batch_size) // self.processes)

    @property
    def planned(self) -> int:
        """Steps of the whole training, in this process."""
        return self.epochs * self.steps_an_epoch

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]: time has no part in it, so that every machine trains alike."""
        return min(self.step / self.planned, 1.0)

    @property
    def is_late(self) -> bool:
        """Whether the time is up before the last step."""
        return self.seconds >= self.recipe.max_seconds and self.step < self.planned

    def batches(self, epoch: int) -> list[Tensor]:
        """Positions of full batches, in an order that follows from the seed and the epoch; what is left is dropped."""
        draw = torch.Generator().manual_seed(_mixed(self.recipe.seed, epoch, -1))
        order = torch.randperm(len(self.data), generator=draw)
        return [batch for batch in torch.split(order, self.batch_size) if len(batch) == self.batch_size]

    def loss(self, batch: Tensor, process: int = 0) -> Tensor:
        """The loss of a (B, C, S, S) uint8 batch.

        Raises:
            BackboneError: it is not finite.
        """
        draw = torch.Generator().manual_seed(_mixed(self.recipe.seed, self.step, process))
        loss: Tensor = self.objective(batch.float().contiguous(memory_format=torch.channels_last) / 255, draw)
        if not bool(torch.isfinite(loss)):
            raise BackboneError(
                f"the self-supervised training came to a loss of {float(loss)} at step {self.step}: lower the "
                "learning rate, or use a precision of 32 bits"
            )
        return loss

    def optimizer(self) -> torch.optim.AdamW:
        """AdamW at the highest learning rate, to be multiplied by `share_of_rate`."""
        rate = self.recipe.learning_rate or LEARNING_RATES[self.recipe.objective] * (self.batch_size / BATCH) ** 0.5
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        return torch.optim.AdamW(trained, rate, weight_decay=WEIGHT_DECAY)

    def share_of_rate(self) -> float:
        """Share of the highest learning rate in the next step: up and down along half a cosine."""
        if self.progress < WARM_UP:
            return (1 - math.cos(math.pi * (self.progress + 1e-3) / WARM_UP)) / 2
        return (1 + math.cos(math.pi * (self.progress - WARM_UP) / (1 - WARM_UP))) / 2


def epochs_for(objective: str, n: int) -> int:
    """Passes over n images that show the encoder enough of them."""
    seen = min(SIMCLR_SEEN * math.sqrt(n), IMAGES_SEEN) if objective == "simclr" else IMAGES_SEEN
    return min(max(int(seen / n), MIN_EPOCHS), MAX_EPOCHS)


def fit(training: Training, device: torch.device, tick: Tick | None, partial: Path | None) -> int:
    """Train in place; returns the whole epochs done, those before a resume included.

    Args:
        training: what to train.
        device: where.
        tick: progress.
        partial: file that the state is kept in between epochs, and that an earlier training is resumed from.
    """
    training.objective.to(device)
    optimizer, convergence = training.optimizer(), Convergence(training.recipe)
    highest = optimizer.param_groups[0]["lr"]
    if partial is not None and partial.exists():
        _restore(partial, training, optimizer, convergence)
    training.started = time.monotonic()
    while training.step < training.planned and not convergence.is_reached:
        for batch in _data_of(training):
            optimizer.param_groups[0]["lr"] = highest * training.share_of_rate()
            optimizer.zero_grad()
            training.loss(batch.to(device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            training.step += 1
            training.objective.after_step(training.progress)
            if tick is not None:
                tick(training.step, training.planned)
            if training.is_late:
                training.is_unfinished = True
                return training.step // training.steps_an_epoch
        convergence.check(training.objective.network, training.data)
        if partial is not None:
            write(partial, _state(training, optimizer, convergence))
    return training.step // training.steps_an_epoch


def _data_of(training: Training) -> Iterator[Tensor]:
    return (training.data[batch] for batch in training.batches(training.step // training.steps_an_epoch))


def _state(training: Training, optimizer: torch.optim.AdamW, convergence: Convergence) -> bytes:
    content = io.BytesIO()
    state = {
        STATE: fingerprint_of_training(training),
        "step": training.step,
        "seconds": training.seconds,
        "objective": training.objective.state_dict(),
        "optimizer": optimizer.state_dict(),
        "convergence": convergence.state_dict(),
    }
    torch.save(state, content)
    return content.getvalue()


def _restore(path: Path, training: Training, optimizer: torch.optim.AdamW, convergence: Convergence) -> None:
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    training.step, training.spent = state["step"], state["seconds"]
    training.objective.load_state_dict(state["objective"])
    optimizer.load_state_dict(state["optimizer"])
    convergence.load_state_dict(state["convergence"])


def fingerprint_of_training(training: Training) -> str:
    """A fingerprint of data and settings except the time limit, which may be raised for a resume."""
    settings = asdict(replace(training.recipe, max_seconds=1.0))
    return fingerprint(training.data.numpy(), repr(sorted(settings.items())), str(training.epochs), FORMAT)


def check_resumable(partial: str | Path | None, training: Training, kind: str) -> Path | None:
    """The file to keep the state in; one that exists must be of this training, and of this kind of state.

    Raises:
        AuditFileError: it is of another one, or damaged.
    """
    if partial is None or not (path := Path(partial)).exists():
        return None if partial is None else Path(partial)
    try:
        found = read(path, ".ckpt").says.get(kind)
    except BackboneError as error:
        raise AuditFileError(
            f"{path} is no training that was interrupted ({error}): remove it to start anew"
        ) from error
    if found != fingerprint_of_training(training):
        raise AuditFileError(
            f"{path} is an interrupted training of other data or with other settings, or of another version: give the "
            "same ones to go on, or remove it to start anew"
        )
    return path


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return functools.reduce(lambda mixed, number: (mixed * 1_000_003 + number + 1) % 2**63, numbers, 0)
