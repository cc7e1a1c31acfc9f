"""Every private name of Lightning that the package relies on; no other module uses one."""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader

PRIVATE_NAMES = {  # by the object that has them
    "fit loop": (
        "_data_source",
        "_combined_loader",
        "_data_fetcher",
        "_can_stop_early",
        "_last_train_dl_reload_epoch",
    ),
    "validation loop": ("_data_source",),
    "CombinedLoader": ("_mode", "_iterator"),
    "trainer": ("_accelerator_connector",),
    "compiled LightningModule": ("_compiler_ctx",),
    "data fetcher of dataloader_iter": ("_DataLoaderIterDataFetcher",),
}
OLD = "__old__"  # begins the names under which Lightning keeps the methods of loaders that it replaces


def train_source(trainer: Any) -> Any:
    """Where the training loaders come from: an object with `instance`, `name`, `dataloader()`, `is_module()`."""
    return trainer.fit_loop._data_source


def set_train_source(trainer: Any, source: Any) -> None:
    """Have the training loaders come from elsewhere."""
    trainer.fit_loop._data_source = source


def validation_source(trainer: Any) -> Any:
    """Where the validation loaders come from, as for `train_source`."""
    return trainer.fit_loop.epoch_loop.val_loop._data_source


def can_stop_early(trainer: Any) -> bool:
    """Whether `should_stop` ends the training now, past min_epochs and min_steps."""
    return bool(trainer.fit_loop._can_stop_early)


def last_reload_epoch(trainer: Any) -> Any:
    """The epoch in which training loaders were last asked for."""
    return trainer.fit_loop._last_train_dl_reload_epoch


def set_last_reload_epoch(trainer: Any, epoch: Any) -> None:
    """Restore `last_reload_epoch`."""
    trainer.fit_loop._last_train_dl_reload_epoch = epoch


def adds_distributed_sampler(trainer: Any) -> bool:
    """Whether the trainer gives each process a share of the samples by a sampler of its own."""
    return bool(getattr(trainer._accelerator_connector, "use_distributed_sampler", True))


def fetched(trainer: Any) -> tuple[Any, int] | None:
    """The one iterator that batches come from, and how many batches were fetched ahead of the current step."""
    loop = trainer.fit_loop
    combined = getattr(getattr(loop, "_combined_loader", None), "_iterator", None)
    iterators: Any = getattr(combined, "iterators", ())
    ahead = len(getattr(loop._data_fetcher, "batches", ()))
    return (iterators[0], ahead) if len(iterators) == 1 else None


def fetches_in_step(trainer: Any) -> bool:
    """Whether training_step takes `dataloader_iter` and fetches the batches itself."""
    return type(trainer.fit_loop._data_fetcher).__name__ == "_DataLoaderIterDataFetcher"


def is_compiled(module: Any) -> bool:
    """Whether a LightningModule is the one inside of a compiled module."""
    return getattr(module, "_compiler_ctx", None) is not None


def rebuild_combined(loaders: Any) -> tuple[Any, Any] | None:
    """The collection in a CombinedLoader of either package, and what makes another one like it; None: it is none."""
    if type(loaders).__name__ != "CombinedLoader":
        return None

    def rebuild(iterables: Any) -> Any:
        combined = type(loaders)(iterables, loaders._mode)
        combined.limits = loaders.limits
        return combined

    return loaders.iterables, rebuild


def restore_patches() -> None:
    """Restore the methods of loaders that Lightning replaces while it asks for them, and leaves so if that fails."""
    classes: list[type] = [DataLoader, BatchSampler]
    for kind in classes:  # and their subclasses, which join in on the way
        classes.extend(kind.__subclasses__())
        for kept in [name for name in vars(kind) if name.startswith(OLD)]:
            setattr(kind, kept.removeprefix("__old"), vars(kind)[kept])
            delattr(kind, kept)
