"""Where an audit comes from: what manifest.json says besides the counts."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.fitness import Fitness
from selfclean_hooks.policy import Policy
from selfclean_hooks.thresholds import Thresholds


def fingerprint(*parts: NDArray[Any] | str | None) -> str:
    """blake2b of arrays (dtype, shape, content) and texts, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            for start in range(0, len(part), 4096):
                digest.update(np.ascontiguousarray(part[start : start + 4096]).data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def provenance(
    data: Mapping[str, Any],
    encoder: Mapping[str, Any] | None,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    notes: Iterable[str] = (),
    fitness: Fitness | None = None,
) -> dict[str, Any]:
    """The part of the manifest that does not follow from the scores."""
    packages = ("numpy", "torch", "selfclean-hooks")
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "dataset": dict(data),
        "encoder": dict(encoder) if encoder is not None else None,
        "fitness": None if fitness is None else fitness.as_dict(),
        "settings": {"method": method, "thresholds": thresholds.written(), "policy": asdict(policy)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "notes": list(notes),
    }
