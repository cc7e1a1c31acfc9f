"""The validation and test loaders that Lightning knows of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks_lightning import lightning_internals
from selfclean_hooks_lightning.hooks import MethodOverride


class HeldOut:
    """Validation and test loaders, without a hook of the user's being called more often than by Lightning alone.

    The validation hook is called once: the loaders that an audit had to ask for first are those that Lightning gets.

    Args:
        trainer: In the setup of `fit`.
    """

    def __init__(self, trainer: Any) -> None:
        """Override the hook that returns the validation loaders, if there is one."""
        self.trainer, self.source = trainer, lightning_internals.validation_source(trainer)
        self.validates = trainer.limit_val_batches != 0 and self.source.is_defined()
        self.validation: Any = None
        self.asked_early = False
        self.test: Any = None
        self.override: MethodOverride | None = None
        if self.validates and self.source.is_module():
            self.override = MethodOverride(self.source.instance, self.source.name, self._hand_over)

    def loaders(self, with_test: bool) -> tuple[Mapping[str, Any], list[str]]:
        """The loaders by name, and a note on a test split that is not ready."""
        validation = self._validation_loaders()
        test, notes = self._test_loaders() if with_test else ([], [])
        return {"val": validation, "test": test}, notes

    def undo(self) -> None:
        """Restore the hook."""
        if self.override is not None:
            self.override.undo()

    def _validation_loaders(self) -> Any:
        if not self.validates:
            return []
        if not self.source.is_module():
            return self.source.instance
        if self.validation is None:
            self.validation = self.source.dataloader()
            self.asked_early = True
        return self.validation

    def _hand_over(self, hook: Callable[[], Any]) -> Any:
        if not self.asked_early:
            self.validation = hook()
        self.asked_early = False
        return self.validation

    def _test_loaders(self) -> tuple[Any, list[str]]:
        """The loaders of the test split, where the user's object has them ready while fitting."""
        owner = self.trainer.datamodule or self.trainer.lightning_module
        if type(owner).test_dataloader.__module__.split(".")[0] in ("lightning", "pytorch_lightning"):
            return [], []
        try:
            if self.test is None:
                with preserve_rng_state():
                    self.test = owner.test_dataloader() or []
            return self.test, []
        except Exception as error:  # whatever the user's hook raises: most set the split up in setup("test") only
            return [], [
                f"test is not compared with the training data: {type(owner).__name__} has it not ready while fitting "
                f"({type(error).__name__}: {error}). Pass held_out={{'test': dataset}} to compare it"
            ]
