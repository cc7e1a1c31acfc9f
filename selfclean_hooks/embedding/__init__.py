"""Samples -> vectors. `load_weights` is public: errors about checkpoints name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfclean_hooks.embedding.weights.state_dict import load_weights

__all__ = ["load_weights"]


def __getattr__(name: str) -> Any:
    if name == "load_weights":  # late, as it needs torch
        from selfclean_hooks.embedding.weights.state_dict import load_weights

        return load_weights
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
