"""What Lightning leaves behind in torch's classes when a data hook raises."""

from __future__ import annotations

from torch.utils.data import BatchSampler, DataLoader


def restore_lightning_patches() -> None:
    """Put the methods of loaders back that Lightning replaces while it asks for them, and not if that fails.

    It records their arguments that way, and keeps the methods it replaced under names that begin with `__old__`.
    """
    classes: list[type] = [DataLoader, BatchSampler]
    for kind in classes:  # and their subclasses, which join in on the way
        classes.extend(kind.__subclasses__())
        for kept in [name for name in vars(kind) if name.startswith("__old__")]:
            setattr(kind, kept.removeprefix("__old"), vars(kind)[kept])
            delattr(kind, kept)
