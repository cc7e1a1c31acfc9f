"""A function in place of a method of the user's object, until it is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


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
