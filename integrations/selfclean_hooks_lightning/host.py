"""Lightning's Trainer as audits see it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from selfclean_hooks.training.host import Host
from selfclean_hooks.training.loader_collections import map_loaders
from selfclean_hooks.training.margins.epoch_recorder import COMPILED
from selfclean_hooks_lightning import lightning_internals
from selfclean_hooks_lightning.held_out import HeldOut


class LightningHost(Host):
    """The adapter of one `fit`.

    Args:
        trainer: In the setup of `fit`.
        module: The LightningModule.
        held_out: Validation and test loaders; None: they are not compared.
    """

    packages = ("lightning", "pytorch_lightning")

    def __init__(self, trainer: Any, module: Any, held_out: HeldOut | None) -> None:
        """See the class."""
        self.trainer, self.module, self.validation_and_test = trainer, module, held_out

    def epochs_done(self) -> int:
        """Not current_epoch, which lags behind by one in a checkpoint of the end of an epoch."""
        return int(self.trainer.fit_loop.epoch_progress.current.processed)

    def steps_done(self) -> int:
        """Optimizer steps."""
        return int(self.trainer.global_step)

    def has_loaded_weights(self) -> bool:
        """Whether `fit` was given a checkpoint."""
        return self.trainer.ckpt_path is not None

    def device(self) -> Any:
        """The trainer's."""
        return self.trainer.strategy.root_device

    def shows_progress(self) -> bool:
        """As the trainer does; not into a live display of Rich, which would garble both."""
        bar = self.trainer.progress_bar_callback
        return bar is not None and getattr(bar, "is_enabled", True) and getattr(bar, "progress", None) is None

    def rehearsal(self) -> str:
        """Whether this is a fast_dev_run."""
        return "fast_dev_run" if self.trainer.fast_dev_run else ""

    def sampler_shards(self) -> int:
        """The processes that a DistributedSampler of Lightning's serves."""
        return int(self.trainer.world_size) if lightning_internals.adds_distributed_sampler(self.trainer) else 1

    def loggers(self) -> Sequence[Any]:
        """The trainer's."""
        loggers: Sequence[Any] = self.trainer.loggers
        return loggers

    def inform(self, text: str) -> None:
        """Where Lightning writes its own lines."""
        modules = (base.__module__ for base in type(self.trainer).__mro__)  # users derive their own
        package = next(module for module in modules if module.split(".")[0] in self.packages)
        logging.getLogger(package.split(".trainer")[0]).info(text)

    def map_loaders(self, loaders: Any, change: Callable[[str, Any], Any]) -> Any:
        """CombinedLoaders too."""
        return map_loaders(loaders, change, lightning_internals.rebuild_combined)

    def held_out(self, given: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
        """The loaders that `fit` validates on, and those of the test split if they are ready."""
        return ({}, []) if self.validation_and_test is None else self.validation_and_test.loaders("test" not in given)

    def why_too_few(self, batches: int) -> str | None:
        """Lightning refuses to validate more rarely than once an epoch, unless it is set to count on."""
        every = self.trainer.val_check_interval
        whole_epochs = self.trainer.check_val_every_n_epoch is not None and self.trainer.limit_val_batches
        if not isinstance(every, int) or not whole_epochs or batches >= every:
            return None
        return (
            f"val_check_interval={every} asks for validation every {every} batches, and {batches} are left in an "
            "epoch: lower it, pass check_val_every_n_epoch=None or drop fewer samples"
        )

    def why_not_recorded(self, loader: Any) -> str:
        """Modules compiled by Lightning, and steps that fetch their own batches."""
        if lightning_internals.is_compiled(self.module):
            return COMPILED
        return "training_step fetches the batches itself" if lightning_internals.fetches_in_step(self.trainer) else ""

    def fetched(self) -> tuple[Any, int] | None:
        """Of the one loader that is trained on."""
        return lightning_internals.fetched(self.trainer)
