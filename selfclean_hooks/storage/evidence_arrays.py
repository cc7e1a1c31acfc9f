"""Evidence as arrays and back, exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import MAX_CLASS_NEIGHBORS, MAX_OFF_TOPIC_NEIGHBORS, Evidence

Arrays = Mapping[str, NDArray[Any]]
PROJECTIONS = ("", "PCA", "UMAP")


def pack_evidence(evidence: Evidence) -> dict[str, NDArray[Any]]:
    """Evidence as tables of positions, padded with -1."""
    both = [places for pair in evidence.labels.values() for places in pair]
    arrays: dict[str, NDArray[Any]] = {
        "evidence_off_topic_index": np.array(list(evidence.off_topic), np.int64),
        "evidence_off_topic": _table(list(evidence.off_topic.values()), MAX_OFF_TOPIC_NEIGHBORS),
        "evidence_labels_index": np.array(list(evidence.labels), np.int64),
        "evidence_labels": _table(both, MAX_CLASS_NEIGHBORS).reshape(-1, 2, MAX_CLASS_NEIGHBORS),
        "evidence_projection": np.array([PROJECTIONS.index(evidence.projection)], np.int64),
    }
    return arrays | ({} if evidence.map is None else {"evidence_map": evidence.map})


def unpack_evidence(arrays: Arrays, n: int) -> Evidence | None:
    """Evidence of n samples from what `pack_evidence` made of it; None if there is none.

    Raises:
        ValueError: an array does not fit.
        KeyError: an array is missing.
    """
    if "evidence_projection" not in arrays:
        return None
    shapes = {"off_topic": (MAX_OFF_TOPIC_NEIGHBORS,), "labels": (2, MAX_CLASS_NEIGHBORS)}
    for name, shape in shapes.items():
        _check(f"evidence_{name}", arrays[f"evidence_{name}_index"], arrays[f"evidence_{name}"], shape, n)
    places = arrays.get("evidence_map")
    if places is not None and (places.shape != (n, 2) or places.dtype != np.float32):
        raise ValueError(f"evidence_map must be ({n}, 2) float32, got {places.shape} {places.dtype}")
    if places is not None and not (np.isnan(places) | ((places >= 0) & (places <= 1))).all():
        raise ValueError("evidence_map must lie in [0, 1]")
    (projection,) = arrays["evidence_projection"].tolist()
    if projection not in range(len(PROJECTIONS)):
        raise ValueError(f"evidence_projection must be one of {len(PROJECTIONS)}, got {projection}")
    off_topic, labels = (arrays[f"evidence_{name}"].tolist() for name in shapes)
    at = (arrays[f"evidence_{name}_index"].tolist() for name in shapes)
    return Evidence(
        dict(zip(next(at), map(_there, off_topic), strict=True)),
        {i: (_there(given), _there(predicted)) for i, (given, predicted) in zip(next(at), labels, strict=True)},
        places,
        PROJECTIONS[projection],
    )


def _table(rows: Sequence[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    filled = [[*row, *(-1 for _ in range(width - len(row)))] for row in rows]
    return np.array(filled, np.int64).reshape(-1, width)


def _there(places: Sequence[int]) -> tuple[int, ...]:
    return tuple(place for place in places if place >= 0)


def _check(name: str, index: NDArray[Any], table: NDArray[Any], shape: tuple[int, ...], n: int) -> None:
    if index.ndim != 1 or table.shape != (len(index), *shape):
        raise ValueError(f"{name} must be of shape {(len(index), *shape)}, got {table.shape}")
    if any(array.dtype != np.int64 for array in (index, table)):
        raise ValueError(f"{name} must hold int64, got {index.dtype} and {table.dtype}")
    if not (((index >= 0) & (index < n)).all() and ((table >= -1) & (table < n)).all()):
        raise ValueError(f"{name} points outside of {n} samples")
