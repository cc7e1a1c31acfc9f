"""What a data set on disk can be: a folder, a table, an array, a saved data set or an object; each is opened."""

from __future__ import annotations

from selfclean_hooks.sources.source import open_source

__all__ = ["open_source"]
