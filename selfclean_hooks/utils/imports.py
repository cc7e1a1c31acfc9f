"""Packages that are imported only where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from selfclean_hooks.errors import BackboneError


@contextmanager
def needs(package: str, what: str) -> Iterator[None]:
    """A block that imports a package for `what`.

    Raises:
        BackboneError: the package is not installed; says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package:
            raise  # a package that this one needs: its own message is the better one
        raise BackboneError(f"{what} needs {package}: pip install {package}") from error
