"""What the audits of a training ask of its trainer: the adapter that a host package writes."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from selfclean_hooks.training.loader_collections import map_loaders


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

    def inform(self, text: str) -> None:
        """Show the user a line, in the first process alone."""
        logging.getLogger("selfclean_hooks").info(text)

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
