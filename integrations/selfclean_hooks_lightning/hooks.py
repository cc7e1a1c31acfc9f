"""Hooks of the user's module and data module: a function in place of one, and the batches they make of items."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from selfclean_hooks.errors import BackboneError

HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
CONTAINERS = (list, dict, set)


class MethodOverride:
    """Is called in place of `owner.name()`, with the function that stood there.

    Copies and pickles of the owner (weight averaging makes some) get the owner's own method. Several may stand on top
    of each other and may be undone in any order.

    Args:
        owner: A LightningModule, a LightningDataModule or any object with attributes.
        name: Of its method.
        instead: Is called with the former function.
        former: What stands there for; None: the owner's own.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        instead: Callable[[Callable[[], Any]], Any],
        former: Callable[[], Any] | None = None,
    ) -> None:
        """Put it in place."""
        self.owner, self.name, self.instead = owner, name, instead
        self.before = vars(owner).get(name)  # an attribute of the object itself, nearly always none
        self.own = getattr(owner, name)
        self.former = former or self.own
        # by this the host tells whether the user has written the method
        self.__wrapped__: Any = getattr(self.former, "__wrapped__", self.former)
        self.active = True
        vars(owner)[name] = self

    def __call__(self) -> Any:
        """What the user's code or the host gets."""
        return self.instead(self.former) if self.active else self.own()

    def undo(self) -> None:
        """Leave the owner as it was found; one that stands on top of this one stays."""
        self.active = False
        if vars(self.owner).get(self.name) is not self:
            return
        before = self.before
        while isinstance(before, MethodOverride) and not before.active:
            before = before.before
        if before is None:
            del vars(self.owner)[self.name]
        else:
            vars(self.owner)[self.name] = before

    def __reduce__(self) -> tuple[Any, ...]:
        """What stood there: the owner's own method, as its copy has no attribute of that name at that moment."""
        return (getattr, (self.owner, self.name)) if self.before is None else (_itself, (self.before,))


def _itself(former: Any) -> Any:
    return former


class BatchHooks:
    """Makes of the items of an audit the batch that the module would be fed in validation.

    The hooks run on copies of their owners, so that counters and lists of the user's stay what they are; buffers are
    restored. They find `trainer.validating`, as augmentation is for training.

    Args:
        trainer: In a fit.
        module: The LightningModule.
        collate: Makes a batch of items, as the loader does.
        packages: Of Lightning, whose own hooks change nothing.
    """

    def __init__(self, trainer: Any, module: Any, collate: Any, packages: tuple[str, ...]) -> None:
        """See the class."""
        self.trainer, self.module, self.collate, self.packages = trainer, module, collate, packages
        self.owners = {hook: self._owner(hook) for hook in HOOKS}

    @property
    def names(self) -> str:
        """The hooks that the user has written, "" for none."""
        owners = ((hook, owner) for hook, owner in self.owners.items() if self._is_written(owner, hook))
        return ", ".join(f"{hook} of {type(owner).__name__}" for hook, owner in owners)

    def __call__(self, items: list[Any]) -> Any:
        """The batch.

        Raises:
            BackboneError: A hook fails.
        """
        try:
            with self._validating():
                batch, device = self.collate(items), self.trainer.strategy.root_device
                for hook, owner in self.owners.items():
                    with _spared(owner) as spare:
                        where = (device, 0) if hook == "transfer_batch_to_device" else (0,)
                        batch = getattr(spare, hook)(batch, *where)
                return batch
        except Exception as error:  # whatever the user's code raises
            why = f"{type(error).__name__}: {error}"
            raise BackboneError(f"a batch of the audit cannot pass {self.names}: {why}") from error

    def _owner(self, hook: str) -> Any:
        """As Lightning does: the data module goes first if it has the hook."""
        data = self.trainer.datamodule
        return data if data is not None and self._is_written(data, hook) else self.module

    def _is_written(self, owner: Any, hook: str) -> bool:
        function = vars(owner).get(hook) or getattr(type(owner), hook)
        return getattr(function, "__module__", "").split(".")[0] not in self.packages

    @contextmanager
    def _validating(self) -> Iterator[None]:
        state = self.trainer.state
        before = state.stage
        try:
            if before is not None:
                state.stage = type(before)("validate")
            yield
        finally:
            state.stage = before


@contextmanager
def _spared(owner: Any) -> Iterator[Any]:
    """A copy that shares what it refers to, but for containers; buffers of a module are put back."""
    spare = object.__new__(type(owner))
    for name, held in vars(owner).items():
        vars(spare)[name] = copy.copy(held) if type(held) in CONTAINERS else held
    modules = [part for part in (owner, *vars(owner).values()) if isinstance(part, nn.Module)]
    buffers = [buffer for module in modules for buffer in module.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield spare
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)
