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


def unpack_evidence(arrays: Arrays) -> Evidence | None:
    """Evidence from what `pack_evidence` made of it; None if there is none.

    Raises:
        KeyError: an array is missing.
    """
    if "evidence_projection" not in arrays:
        return None
    places = arrays.get("evidence_map")
    (projection,) = arrays["evidence_projection"].tolist()
    names = ("off_topic", "labels")
    off_topic, labels = (arrays[f"evidence_{name}"].tolist() for name in names)
    at = (arrays[f"evidence_{name}_index"].tolist() for name in names)
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
