"""What the audits of a training ask of its trainer, in the adapter that a host package writes."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from torch import nn

from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.errors import DataError, PolicyError
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.training import loaders as dropping
from selfclean_hooks.training.loader_collections import corrected, data_of, map_loaders
from selfclean_hooks.training.loaders import sampled_indices
from selfclean_hooks.training.settings import TrainingSettings
from selfclean_hooks.utils.processes import Processes

LAST_BATCH = (
    "DataAudit: without the dropped samples the last batch of an epoch holds a single one, which BatchNorm may refuse"
)
LEFT_OUT = "it is left out, one sample an epoch; with another batch_size none is"
CURE = "set drop_last=True or another batch_size"


class Host(ABC):
    """A trainer as its audits see it: a subclass overrides what the trainer knows better than these defaults.

    Attributes:
        packages: Top-level packages of the trainer, whose base classes' methods are not the user's own.
    """

    packages: tuple[str, ...] = ()

    @abstractmethod
    def epochs_done(self) -> int:
        """How many epochs have been trained, those of a resumed run included."""

    @abstractmethod
    def steps_done(self) -> int:
        """How many optimizer steps have been made, those of a resumed run included."""

    def has_loaded_weights(self) -> bool:
        """Whether the module starts from a checkpoint, so that its features are worth looking at from the start."""
        return False

    def device(self) -> Any:
        """The torch device to embed on, or "auto"."""
        return "auto"

    def processor(self) -> Any:
        """The image processor or tokenizer of a model of transformers, where the trainer has it; None: the model's."""
        return None

    def shows_progress(self) -> bool:
        """Whether audits show progress bars."""
        return False

    def rehearsal(self) -> str:
        """Name of the mode that only tries whether everything works ("fast_dev_run"), or ""."""
        return ""

    def sampler_shards(self) -> int:
        """Among how many processes the trainer's own sampler will divide the samples; 1 if it adds none."""
        return 1

    def loggers(self) -> Sequence[Any]:
        """Loggers with `log_metrics(metrics, step=)` and perhaps `log_image(key=, images=, step=)`."""
        return ()

    def logger(self) -> logging.Logger:
        """Where the trainer writes its own lines."""
        return logging.getLogger("selfclean_hooks")

    def inform(self, text: str) -> None:
        """Show the user a line, in the first process alone."""
        self.logger().info(text)

    def batch_maker(self, loader: Any) -> tuple[Callable[[list[Any]], Any] | None, str]:
        """What makes of items the batch that the module is fed, where the user has hooks for that, and their names."""
        return None, ""

    def epochs_planned(self) -> int | None:
        """How many epochs will be trained at most, those of a resumed run included; None: not known."""
        return None

    def map_loaders(self, loaders: Any, change: Callable[[str, Any], Any]) -> Any:
        """Change every loader of a collection, as `map_loaders` does; for collections of the trainer's own."""
        return map_loaders(loaders, change)

    def held_out(self, given: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
        """Loaders of the validation and test data by name, and notes on those that cannot be had.

        Args:
            given: Names of the data sets that the user gave, which need not be looked for.
        """
        return {}, []

    def why_too_few(self, batches: int) -> str | None:
        """Why the trainer would refuse an epoch of that many batches; None: it would not."""
        return None

    def why_not_recorded(self, loader: Any) -> str:
        """Why it is not known which samples are in the batches that the trainer draws from a loader, or ""."""
        return ""

    def fetched(self) -> tuple[Any, int] | None:
        """The iterator that the batch of this step came from, and how many batches were fetched ahead of it."""
        return None


def refuses_one(module: nn.Module) -> bool:
    """Whether a module may not train on a batch of one sample, as BatchNorm may not; its subclasses see to it."""
    return any(type(part) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) for part in module.modules())


def corrected_loader(
    host: Host, name: str, loader: Any, corrections: Corrections, reading: EmbeddingSettings, module: nn.Module
) -> tuple[Any, str]:
    """The loader with its `data_of` corrected, and a warning about its last batch or "".

    A last batch of a single sample, of several before, is left out where the module refuses it.

    Raises:
        PolicyError: No training is possible on what is left.
    """
    if (new := corrected(loader, corrections, reading)) is loader:
        return loader, ""
    shards, warning = host.sampler_shards(), ""
    if dropping.single_sample_batch(new, loader, shards):
        shorter = dropping.without_last_batch(new) if refuses_one(module) else new
        new, warning = shorter, f"{LAST_BATCH}: {CURE if shorter is new else LEFT_OUT}"
    why = dropping.problem(new, len(loader.dataset), shards)
    why = why or host.why_too_few(dropping.batches(new, shards))
    if why is not None:
        raise PolicyError(f"training on what is left of {name or 'the training data'} cannot work: {why}")
    return new, warning


def fewer_steps(host: Host, loader: Any, new: Any) -> str:
    """What the drops cost in steps, and how to keep their number; "" where nothing is lost."""
    shards = host.sampler_shards()
    if new is loader or (after := dropping.batches(new, shards)) >= (before := dropping.batches(loader, shards)):
        return ""
    text, planned = f"an epoch has {after} steps instead of {before}", host.epochs_planned()
    if planned is None:
        return text
    epochs = math.ceil(planned * before / after)
    return f"{text}: {epochs} epochs make as many steps as the {planned} planned would have"


def held_out_splits(settings: TrainingSettings, processes: Processes, host: Host) -> tuple[dict[str, Any], list[str]]:
    """The data sets to compare with, which all processes have alike, by name; and notes on those that cannot be."""
    if not settings.check_leakage:
        return {}, []
    splits, notes = processes.run_on_each(lambda: _splits_here(settings, host))
    if processes.size == 1:
        return splits, notes
    notes = list(dict.fromkeys(note for part in processes.gather_all(lambda: notes) for note in part))
    prints = processes.gather_all(lambda: {name: data_fingerprint(data) for name, data in splits.items()})
    names = dict.fromkeys(name for part in prints for name in part)
    alike = [name for name in names if len({part.get(name) for part in prints}) == 1]
    notes += [
        f"{name} is not compared with the training data: the processes of the training hold different data for it"
        for name in names
        if name not in alike
    ]
    return {name: splits[name] for name in alike}, notes


def _splits_here(settings: TrainingSettings, host: Host) -> tuple[dict[str, Any], list[str]]:
    splits, notes = dict(settings.held_out), list[str]()
    collections, missing = host.held_out(splits)
    for split, loaders in collections.items():

        def add(key: str, loader: Any, split: str = split) -> Any:
            if not isinstance(loader, (list, tuple, dict)) or loader:  # empty: an old way to say that there is none
                _add(f"{split}/{key}" if key else split, loader, splits, notes)
            return loader

        host.map_loaders(loaders, add)
    return {name: data for name, data in splits.items() if len(data) > 0}, [*notes, *missing]


def _add(name: str, loader: Any, splits: dict[str, Any], notes: list[str]) -> None:
    try:
        check_map_style(data := data_of(loader))
        splits.setdefault(name, data)
        if sampled_indices(loader) is not None:
            notes.append(f"the sampler of {name} draws only {len(data)} samples: positions count among these")
    except DataError as error:
        notes.append(f"{name} is not compared with the training data: {error}")
