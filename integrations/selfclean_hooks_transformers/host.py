"""A transformers Trainer as audits see it."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch.utils.data import DataLoader

from selfclean_hooks.training import Host


class TrainerHost(Host):
    """The adapter of one Trainer.

    Args:
        trainer: before `train()`.
    """

    packages = ("transformers",)

    def __init__(self, trainer: Any) -> None:
        """See the class."""
        self.trainer, self.args = trainer, trainer.args

    def loader(self, dataset: Any) -> DataLoader[Any]:
        """A loader as the Trainer makes it, to be looked at and never iterated over."""
        size, workers = self.args.train_batch_size, self.args.dataloader_num_workers
        drop_last = self.args.dataloader_drop_last
        return DataLoader(
            dataset, size, collate_fn=self.trainer.data_collator, num_workers=workers, drop_last=drop_last
        )

    def epochs_done(self) -> int:
        """None: there is one audit, before training."""
        return 0

    def steps_done(self) -> int:
        """None, or those of the run that is resumed."""
        return int(self.trainer.state.global_step)

    def epochs_planned(self) -> int | None:
        """By `num_train_epochs`, unless `max_steps` says otherwise."""
        return None if self.args.max_steps > 0 else math.ceil(self.args.num_train_epochs)

    def device(self) -> Any:
        """The trainer's."""
        return self.args.device

    def shows_progress(self) -> bool:
        """As the trainer does."""
        return not self.args.disable_tqdm and bool(self.trainer.is_world_process_zero())

    def sampler_shards(self) -> int:
        """Accelerate divides the samples among the processes."""
        return int(self.args.world_size)

    def processor(self) -> Any:
        """The image processor or tokenizer that the trainer was given."""
        return getattr(self.trainer, "processing_class", None) or getattr(self.trainer, "tokenizer", None)

    def loggers(self) -> Sequence[Any]:
        """What the trainer reports to."""
        return (TrainerLogger(self.trainer),)

    def logger(self) -> logging.Logger:
        """Where the trainer writes its own lines."""
        return logging.getLogger("transformers.trainer")

    def held_out(self, given: Collection[str]) -> tuple[Mapping[str, Any], list[str]]:
        """The data set, or the several, that the trainer evaluates on."""
        data = self.trainer.eval_dataset
        if data is None or "eval" in given:
            return {}, []
        several = type(data) is dict
        return {"eval": {k: self.loader(each) for k, each in data.items()} if several else self.loader(data)}, []


class TrainerLogger:
    """The trainer's `log`, with the names of a logger."""

    def __init__(self, trainer: Any) -> None:
        """Nothing is logged yet."""
        self.trainer = trainer

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """At the trainer's own step."""
        self.trainer.log(dict(metrics))
