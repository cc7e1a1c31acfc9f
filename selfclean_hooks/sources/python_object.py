"""A data set in the user's own code, named as ``module:attribute``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selfclean_hooks.errors import SourceError


def load_object(text: str) -> Any:
    """Load the data set that ``module:attribute`` names: itself, a function's result or a DataModule's training data.

    The current folder is importable during the call.

    Raises:
        SourceError: It cannot be imported, cannot be called without arguments, or its own code fails.
    """
    found = load_attribute(text)
    try:
        with _current_folder_importable():
            return _train_dataset(text, _instantiate(text, found))
    except SourceError:
        raise
    except (Exception, SystemExit) as error:  # the user's code, which may also be a script that exits
        raise SourceError(f"{text}: wanted module:attribute, but it failed: {type(error).__name__}: {error}") from error


def is_attribute(text: str) -> bool:
    """Whether a text is written as ``module:attribute``."""
    return re.fullmatch(r"[^\W\d][\w.]*:[^\W\d][\w.]*", text) is not None


def load_attribute(text: str) -> Any:
    """Load what ``module:attribute`` names.

    The current folder is importable during the call.

    Raises:
        SourceError: It cannot be imported.
    """
    module, _, attribute = text.partition(":")
    try:
        with _current_folder_importable():
            found: Any = importlib.import_module(module)
            for name in attribute.split("."):
                found = getattr(found, name)
            return found
    except (Exception, SystemExit) as error:  # the user's code, which may also be a script that exits
        raise SourceError(f"{text}: wanted module:attribute, but it failed: {type(error).__name__}: {error}") from error


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()  # sees files written a moment ago
    try:
        yield
    finally:
        sys.path[:] = before


def _instantiate(text: str, found: Any) -> Any:
    is_ready = hasattr(found, "__getitem__") or hasattr(found, "train_dataloader")
    if not callable(found) or (is_ready and not isinstance(found, type)):
        return found
    signature = inspect.signature(found)
    try:
        signature.bind()
    except TypeError:
        advice = "write a function without required arguments that returns the data set"
        raise SourceError(f"{text}: it wants arguments, {signature}: {advice}") from None
    return found()


def _train_dataset(text: str, found: Any) -> Any:
    """The training data of a LightningDataModule, recognized without importing Lightning; anything else unchanged."""
    if not hasattr(found, "train_dataloader"):
        return found
    found.prepare_data()
    found.setup(stage="fit")
    loader = found.train_dataloader()
    if not hasattr(loader, "dataset"):
        cure = "name one data set instead"
        raise SourceError(f"{text}: wanted one train DataLoader, got {type(loader).__name__}: {cure}")
    return loader.dataset
