"""The measurements of an Audit as one .npz file without pickle, and back, exactly."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.leaks import Leaks
from selfclean_hooks.scores import Scores
from selfclean_hooks.thresholds import ISSUES

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

Arrays = dict[str, NDArray[Any]]

PER_SAMPLE = ("near_duplicate", "off_topic", "label", "nearest_neighbor", "given_label", "predicted_label")
PER_PAIR = ("pair_index", "pair_distance", "pair_score")
PER_EDGE = ("tree_index", "tree_distance")
PER_LEAK = ("other", "index", "other_index", "distance")  # stored as leak_other and so on
POSITIONS = ("nearest_neighbor", "pair_index", "tree_index", "error_index", "thumbnail_index")
UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


def pack(audit: Audit) -> bytes:
    """Scores, names and thumbnails as the content of scores.npz, which loads with allow_pickle=False."""
    s = audit.scores
    arrays: Arrays = {name: getattr(s, name) for name in (*PER_SAMPLE, *PER_PAIR, *PER_EDGE)}
    arrays["pairs_complete_below"] = np.float64(s.pairs_complete_below)[None]
    arrays["automatic"] = np.array([s.automatic.get(issue, np.nan) for issue in ISSUES])
    arrays["error_index"] = np.array(list(s.errors), np.int64)
    arrays["thumbnail_index"] = np.array(list(audit.thumbnails), np.int64)
    arrays |= _packed("error", map(_encode, s.errors.values()))
    arrays |= _packed("thumbnail", audit.thumbnails.values())
    for name, texts in (("class_name", s.class_names), ("name", audit.names)):
        arrays |= {} if texts is None else _packed(name, map(_encode, texts))
    if s.leaks is not None:
        arrays |= _leaks_packed(s.leaks, audit.leak_thumbnails)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack(
    content: bytes, n: int, not_run: Mapping[str, str]
) -> tuple[Scores, tuple[str, ...] | None, dict[int, bytes], dict[tuple[str, int], bytes]]:
    """Scores, names and thumbnails of n samples, and thumbnails of samples of other splits.

    Raises:
        ValueError: the content is no such file, or its parts do not fit together.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
        _check(arrays, n)
        errors = dict(zip(arrays["error_index"].tolist(), _texts(arrays, "error") or (), strict=True))
        thumbnails = dict(zip(arrays["thumbnail_index"].tolist(), _unpacked(arrays, "thumbnail"), strict=True))
        names = _texts(arrays, "name")
        if names is not None and len(names) != n:
            raise ValueError(f"it holds {len(names)} names for {n} samples")
        leaks = _leaks(arrays, n)
        pictures = {} if leaks is None else _leak_thumbnails(arrays, leaks)
        return replace(_scores(arrays, not_run, errors), leaks=leaks), names, thumbnails, pictures
    except UNREADABLE as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _scores(arrays: Arrays, not_run: Mapping[str, str], errors: Mapping[int, str]) -> Scores:
    automatic = zip(ISSUES, arrays["automatic"].tolist(), strict=True)
    measured: dict[str, Any] = {name: arrays[name] for name in (*PER_SAMPLE, *PER_PAIR, *PER_EDGE)}
    return Scores(
        **measured,
        pairs_complete_below=float(arrays["pairs_complete_below"][0]),
        automatic={issue: value for issue, value in automatic if not np.isnan(value)},
        not_run=not_run,
        errors=errors,
        class_names=_texts(arrays, "class_name"),
    )


def _check(arrays: Arrays, n: int) -> None:
    """What the rest of the package takes for granted: lengths that agree, positions that exist."""
    pairs, edges = len(arrays["pair_distance"]), len(arrays["tree_distance"])
    for names, length in ((PER_SAMPLE, n), (PER_PAIR, pairs), (PER_EDGE, edges)):
        for name in names:
            shape = (length, 2) if name in ("pair_index", "tree_index") else (length,)
            if arrays[name].shape != shape:
                raise ValueError(f"{name} must be of shape {shape} for {n} samples, got {arrays[name].shape}")
    for name in POSITIONS:
        if not ((arrays[name] >= -1) & (arrays[name] < n)).all():
            raise ValueError(f"{name} points outside of {n} samples")


def _leaks_packed(leaks: Leaks, thumbnails: Mapping[tuple[str, int], bytes]) -> Arrays:
    """What other splits share with this one; there where it was looked for."""
    shown = [(leaks.splits.index(split), index) for split, index in thumbnails]
    return {
        **{f"leak_{name}": getattr(leaks, name) for name in PER_LEAK},
        "leak_sizes": np.array(leaks.sizes, np.int64),
        "leak_thumbnail_index": np.array(shown, np.int64).reshape(-1, 2),
        **_packed("leak_split", map(_encode, leaks.splits)),
        **_packed("leak_thumbnail", thumbnails.values()),
        **({} if leaks.other_names is None else _packed("leak_name", map(_encode, leaks.other_names))),
    }


def _leaks(arrays: Arrays, n: int) -> Leaks | None:
    splits = _texts(arrays, "leak_split")
    if splits is None:
        return None
    sizes, names = tuple(arrays["leak_sizes"].tolist()), _texts(arrays, "leak_name")
    leaks = Leaks(splits, sizes, **{name: arrays[f"leak_{name}"] for name in PER_LEAK}, other_names=names)
    shapes = {values.shape for values in (getattr(leaks, name) for name in PER_LEAK)}
    if shapes != {(len(leaks),)} or len(sizes) != len(splits) or sizes[0] != n:
        raise ValueError(f"the pairs between splits do not fit together: {shapes}, {splits} of {sizes} samples")
    if names is not None and len(names) != len(leaks):
        raise ValueError(f"it holds {len(names)} names for {len(leaks)} samples of other splits")
    there = (leaks.other >= 1) & (leaks.other < len(splits)) & (leaks.index >= 0) & (leaks.index < n)
    if not there.all() or not (leaks.other_index >= 0).all():
        raise ValueError("leak_other, leak_index or leak_other_index points outside of the splits")
    if not (leaks.other_index < np.array(sizes)[leaks.other]).all():
        raise ValueError("leak_other_index points outside of the other splits")
    return leaks


def _leak_thumbnails(arrays: Arrays, leaks: Leaks) -> dict[tuple[str, int], bytes]:
    shown = [(leaks.splits[split], index) for split, index in arrays["leak_thumbnail_index"].tolist()]
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
