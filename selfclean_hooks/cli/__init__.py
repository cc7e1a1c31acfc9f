"""The command line: `selfclean_hooks.cli.main(argv)` runs a command in this process and returns its exit status."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Import the module with the commands when it is first asked for."""
    if name == "main":
        return import_module("selfclean_hooks.cli.main")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
