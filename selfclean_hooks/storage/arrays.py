"""The measurements of an audit as one .npz file without pickle, and back, exactly."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.core.embeddings import MAX_CLASS_NEIGHBORS, MAX_OFF_TOPIC_NEIGHBORS, Evidence
from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.core.scores import LeakPairs, Scores
from selfclean_hooks.storage.array_schema import PREDICTED_TARGET, PROJECTIONS, Arrays, read_arrays

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

PER_SAMPLE = ("near_duplicate", "off_topic", "label", "nearest_neighbor", "given_label", "predicted_label")
PER_PAIR = ("pair_index", "pair_distance", "pair_score")
PER_EDGE = ("tree_index", "tree_distance")
# Fields that may be None: their names in the file, which older versions read too.
OPTIONAL = {
    "pixels": "pixels",
    "scaled_tree_score": "tree_scaled",
    "local_scale": "reach",
    "pixel_scale": "pixel_scale",
    "mirrored": "mirrored",
    "targets": "targets",
    "predicted_target": PREDICTED_TARGET,
    "prediction_confidence": "prediction_confidence",
}
PER_LEAK = ("other", "index", "other_index", "distance")  # stored as leak_other and so on


def pack(audit: AuditResult) -> bytes:
    """Scores, names, thumbnails and evidence as the content of scores.npz, which loads with allow_pickle=False."""
    s = audit.scores
    arrays: Arrays = {name: getattr(s, name) for name in (*PER_SAMPLE, *PER_PAIR, *PER_EDGE)}
    arrays["pairs_complete_below"] = np.float64(s.pairs_complete_below)[None]
    last = max(at for at, issue in enumerate(SCORED) if issue in s.automatic or not BY_NAME[issue].is_by_request)
    arrays["automatic"] = np.array([s.automatic.get(issue, np.nan) for issue in SCORED[: last + 1]])
    arrays["error_index"] = np.array(list(s.errors), np.int64)
    arrays["thumbnail_index"] = np.array(list(audit.thumbnails), np.int64)
    arrays |= _packed("error", map(_encode, s.errors.values()))
    arrays |= _packed("thumbnail", audit.thumbnails.values())
    arrays |= {key: getattr(s, name) for name, key in OPTIONAL.items() if getattr(s, name) is not None}
    arrays |= {f"extra_{issue}": scores for issue, scores in s.extra.items()}
    arrays |= {f"aspects_{issue}": scores for issue, scores in s.aspects.items()}
    arrays |= {f"calibration_{i}": np.stack([c.score, c.clean]) for i, c in s.calibration.items()}
    arrays |= {
        f"bounds_{i}": np.stack([c.clean if c.low is None else c.low, c.clean if c.high is None else c.high])
        for i, c in s.calibration.items()
        if c.low is not None or c.high is not None
    }
    for name, texts in (("class_name", s.class_names), ("name", audit.names), ("digest", audit.digests)):
        arrays |= {} if texts is None else _packed(name, map(_encode, texts))
    if s.leaks is not None:
        arrays |= _leaks_packed(s.leaks, audit.leak_thumbnails)
    arrays |= {} if audit.evidence is None else pack_evidence(audit.evidence)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(
    content: bytes, n: int, not_run: Mapping[str, str], unknown: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Fields of an audit of n samples from what `pack` made of them: scores, names, digests, thumbnails, evidence.

    Raises:
        ValueError: the content is no such file, or its parts do not fit together.
    """
    try:
        arrays = read_arrays(content, n)
        _check_calibration(arrays)
        _check_targets(arrays)
        errors = dict(zip(arrays["error_index"].tolist(), _texts(arrays, "error") or (), strict=True))
        thumbnails = dict(zip(arrays["thumbnail_index"].tolist(), _unpacked(arrays, "thumbnail"), strict=True))
        texts = {f"{what}s": _texts(arrays, what) for what in ("name", "digest")}
        leaks = _leaks(arrays, n)
        leaked = {} if leaks is None else _leak_thumbnails(arrays, leaks)
        scores = replace(_scores(arrays, not_run, errors, unknown), leaks=leaks)
        evidence = unpack_evidence(arrays)
        return {"scores": scores, **texts, "thumbnails": thumbnails, "leak_thumbnails": leaked, "evidence": evidence}
    except ValueError:
        raise
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from error
    except Exception as error:  # zipfile, zlib and numpy raise many kinds about changed bytes
        raise ValueError(f"it cannot be unpacked, {type(error).__name__}: {error}") from error


def _scores(
    arrays: Arrays, not_run: Mapping[str, str], errors: Mapping[int, str], unknown: Mapping[str, str]
) -> Scores:
    automatic = zip(SCORED, arrays["automatic"].tolist(), strict=False)  # older files know fewer issues
    measured: dict[str, Any] = {name: arrays[name] for name in (*PER_SAMPLE, *PER_PAIR, *PER_EDGE)}
    measured |= {name: arrays.get(key) for name, key in OPTIONAL.items()}
    return Scores(
        **measured,
        pairs_complete_below=float(arrays["pairs_complete_below"][0]),
        automatic={issue: value for issue, value in automatic if not np.isnan(value)},
        not_run=not_run,
        errors=errors,
        class_names=_texts(arrays, "class_name"),
        calibration={i: _calibration(arrays, i, unknown) for i in SCORED if f"calibration_{i}" in arrays},
        aspects={issue: arrays[f"aspects_{issue}"] for issue in SCORED if f"aspects_{issue}" in arrays},
        extra={issue: arrays[f"extra_{issue}"] for issue in SCORED if f"extra_{issue}" in arrays},
    )


def _calibration(arrays: Arrays, issue: str, unknown: Mapping[str, str]) -> Calibration:
    score, clean = arrays[f"calibration_{issue}"]
    low, high = arrays.get(f"bounds_{issue}", (None, None))
    return Calibration(score, clean, low, high, unknown.get(issue, ""))


def _check_calibration(arrays: Arrays) -> None:
    for issue in SCORED:
        knots = arrays.get(f"calibration_{issue}", np.zeros((2, 1)))
        if knots.size == 0 or not (np.diff(knots) >= 0).all():
            raise ValueError(f"calibration_{issue} must be ascending scores and probabilities, got {knots.shape}")


def _check_targets(arrays: Arrays) -> None:
    """Check regression targets with predictions, or several labels a sample with the code of the doubtful one."""
    targets, predicted = arrays.get("targets"), arrays.get(PREDICTED_TARGET)
    if targets is None or predicted is None:
        return
    if targets.ndim == 2 and not (np.isnan(predicted) | (predicted >= -1) & (predicted < 2 * targets.shape[1])).all():
        raise ValueError(f"{PREDICTED_TARGET} points outside of {targets.shape[1]} labels")


def _leaks_packed(leaks: LeakPairs, thumbnails: Mapping[tuple[str, int], bytes]) -> Arrays:
    """Near duplicates in other splits; only where they were searched."""
    shown = [(leaks.splits.index(split), index) for split, index in thumbnails]
    return {
        **{f"leak_{name}": getattr(leaks, name) for name in PER_LEAK},
        **({} if leaks.scaled_score is None else {"leak_scaled": leaks.scaled_score}),
        "leak_sizes": np.array(leaks.sizes, np.int64),
        "leak_thumbnail_index": np.array(shown, np.int64).reshape(-1, 2),
        **_packed("leak_split", map(_encode, leaks.splits)),
        **_packed("leak_thumbnail", thumbnails.values()),
        "leak_automatic": np.float64(leaks.automatic)[None],
        **({} if leaks.other_names is None else _packed("leak_name", map(_encode, leaks.other_names))),
        **({} if leaks.other_digests is None else _packed("leak_digest", map(_encode, leaks.other_digests))),
    }


def _leaks(arrays: Arrays, n: int) -> LeakPairs | None:
    splits = _texts(arrays, "leak_split")
    if splits is None:
        return None
    sizes = tuple(arrays["leak_sizes"].tolist())
    found: dict[str, Any] = {name: arrays[f"leak_{name}"] for name in PER_LEAK}
    found |= {f"other_{what}s": _texts(arrays, f"leak_{what}") for what in ("name", "digest")}
    threshold = float(arrays["leak_automatic" if "leak_automatic" in arrays else "automatic"][0])  # near duplicates
    leaks = LeakPairs(splits, sizes, **found, scaled_score=arrays.get("leak_scaled"), automatic=threshold)
    if not splits or sizes[0] != n:
        raise ValueError(f"leak_sizes must begin with {n}, got {sizes} for the splits {splits}")
    if not (leaks.other_index < np.array(sizes)[leaks.other]).all():
        raise ValueError("leak_other_index points outside of the other splits")
    return leaks


def _leak_thumbnails(arrays: Arrays, leaks: LeakPairs) -> dict[tuple[str, int], bytes]:
    places = arrays["leak_thumbnail_index"]
    if not (places[:, 0] < len(leaks.splits)).all():
        raise ValueError(f"leak_thumbnail_index points outside of {len(leaks.splits)} splits")
    shown = [(leaks.splits[split], index) for split, index in places.tolist()]
    return dict(zip(shown, _unpacked(arrays, "leak_thumbnail"), strict=True))


def _packed(name: str, parts: Iterable[bytes]) -> Arrays:
    """Byte strings end to end, and where each starts; the last entry is the end."""
    parts = list(parts)
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    return {f"{name}_bytes": np.frombuffer(b"".join(parts), np.uint8), f"{name}_offsets": ends}


def _unpacked(arrays: Arrays, name: str) -> list[bytes]:
    content, ends = arrays[f"{name}_bytes"].tobytes(), arrays[f"{name}_offsets"].tolist()
    if ends[:1] != [0] or ends[-1] != len(content) or ends != sorted(ends):
        raise ValueError(f"{name}_offsets do not fit the {len(content)} bytes of {name}_bytes")
    return [content[start:end] for start, end in pairwise(ends)]


def _texts(arrays: Arrays, name: str) -> tuple[str, ...] | None:
    if f"{name}_bytes" not in arrays:
        return None
    return tuple(part.decode("utf-8", "surrogatepass") for part in _unpacked(arrays, name))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


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
