"""Audits with every part that a folder can hold, and folders whose scores are changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.scores import LeakPairs, scatter_scores
from selfclean_hooks.results.finding_neighbors import with_evidence

N = 60
HOSTILE = (
    "a\nb.png",
    "<script>alert(1)</script>.png",
    "caf\udce9.png",
    '=HYPERLINK("x")',
    "+1+1",
    "@x",
    "-3.5",
    "a,b\r\"c'",
)


def vectors(n: int = N) -> np.ndarray[Any, Any]:
    found = np.random.default_rng(0).normal(size=(n, 12)).astype(np.float32)
    found[3] = found[1]
    return found


def made(labels: Any = "words", **settings: Any) -> Audit:
    words = np.array(["cat", "<b>dog</b>", "=1+1"])[np.arange(N) % 3]
    return audit_embeddings(vectors(), words if isinstance(labels, str) else labels, **settings)


def full() -> Audit:
    """With all there can be: unreadable samples, hostile names, thumbnails, a note."""
    plain = made()
    positions = np.delete(np.arange(N + 2), [5, 7])
    errors = {5: "OSError: broken\nfile", 7: "=ValueError"}
    scores = scatter_scores(plain.scores, positions, N + 2, errors=errors, class_names=plain.scores.class_names)
    names = (*HOSTILE, *(f"{i}.png" for i in range(N + 2 - len(HOSTILE))))
    provenance = {**plain.provenance, "notes": ["é \udcff"], "encoder": {"name": "x", "rank_me": 3.25}}
    scores = replace(scores, pixels=np.arange(N + 2) - 1)
    digests = ("", *(f"{i:032x}" for i in range(N + 1)))
    thumbnails = {1: b"\x89PNG", 3: b"", 9: b"ab"}
    whole = replace(plain, scores=scores, names=names, digests=digests, provenance=provenance, thumbnails=thumbnails)
    return with_evidence(whole, vectors())


def leaking(names: bool = True) -> Audit:
    """An audit with pairs of two other splits, one of them of hostile name."""
    index, distance = np.array([3, 0, N + 1]), np.array([0, 0.01, 0.9], np.float32)
    leaks = LeakPairs(
        ("train", "val", "=1+1"), (N + 2, 9, 4), np.array([1, 2, 1]), index, np.array([8, 3, 0]), distance
    )
    leaks = replace(leaks, other_names=HOSTILE[:3], other_digests=("a", "", "b"), automatic=0.02) if names else leaks
    audit = full()
    thumbnails = {("=1+1", 3): b"PNG", ("val", 8): b""}
    return replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=thumbnails)


def _edited(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
