"""The data that training is compared with: the validation and test splits that the host knows of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.utils.data import Subset

from selfclean_hooks.data.dataset_tree import check_map_style
from selfclean_hooks.errors import DataError
from selfclean_hooks.training.loaders import map_loaders, sampled_indices
from selfclean_hooks.training.module_features import HOSTS
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks_lightning.method_override import MethodOverride


class HeldOut:
    """The validation hook is called once: loaders that the audit had to ask for first are those that the host gets.

    Args:
        trainer: In the setup of `fit`.
        given: Further data sets by name.
    """

    def __init__(self, trainer: Any, given: Mapping[str, Any]) -> None:
        """Stand in for the hook that returns the validation loaders, if there is one."""
        self.trainer, self.given = trainer, given
        self.source = trainer.fit_loop.epoch_loop.val_loop._data_source
        self.wanted = trainer.limit_val_batches != 0 and self.source.is_defined()
        self.latest: Any = None
        self.early = False
        self.test: Any = None
        self.stand_in: MethodOverride | None = None
        if self.wanted and self.source.is_module():
            self.stand_in = MethodOverride(self.source.instance, self.source.name, self._asked)

    def splits(self) -> tuple[dict[str, Any], list[str]]:
        """Name of a split: its data set; and notes on those that cannot be compared."""
        found, notes = dict(self.given), []

        def take(name: str, loader: Any) -> Any:
            if isinstance(loader, (list, tuple, dict)) and not loader:  # an old way to say that there is none
                return loader
            try:
                check_map_style(data := data_of(loader))
                found.setdefault(name, data)
                if sampled_indices(loader) is not None:
                    notes.append(f"the sampler of {name} draws only {len(data)} samples: positions count among these")
            except DataError as error:
                notes.append(f"{name} is not compared with the training data: {error}")
            return loader

        map_loaders(self._validation(), lambda key, loader: take("val/" + key if key else "val", loader))
        if "test" not in found:
            map_loaders(self._test(notes), lambda key, loader: take("test/" + key if key else "test", loader))
        return {name: data for name, data in found.items() if len(data) > 0}, notes

    def undo(self) -> None:
        """Leave the hook as it was found."""
        if self.stand_in is not None:
            self.stand_in.undo()

    def _validation(self) -> Any:
        if not self.wanted:
            return []
        if not self.source.is_module():
            return self.source.instance
        if self.latest is None:
            self.latest = self.source.dataloader()
            self.early = True
        return self.latest

    def _asked(self, hook: Callable[[], Any]) -> Any:
        if not self.early:
            self.latest = hook()
        self.early = False
        return self.latest

    def _test(self, notes: list[str]) -> Any:
        """Loaders of the test split, where the user's object has them ready while fitting."""
        owner = self.trainer.datamodule or self.trainer.lightning_module
        if type(owner).test_dataloader.__module__.split(".")[0] in HOSTS:
            return []
        try:
            if self.test is None:
                with preserve_rng_state():
                    self.test = owner.test_dataloader() or []
            return self.test
        except Exception as error:  # whatever the user's hook raises: most set the split up in setup("test") only
            notes.append(
                f"test is not compared with the training data: {type(owner).__name__} has it not ready while fitting "
                f"({type(error).__name__}: {error}). Pass held_out={{'test': dataset}} to compare it"
            )
            return []


def data_of(loader: Any) -> Any:
    """The data set that a loader draws from: of a sampler's own choice of positions, these alone.

    Raises:
        DataError: the loader has no data set.
    """
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        raise DataError(f"wanted a DataLoader with a data set, got {type(loader).__name__}: pass a torch DataLoader")
    positions = sampled_indices(loader)
    return dataset if positions is None else Subset(dataset, positions.tolist())
