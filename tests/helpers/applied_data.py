"""Audits of sources on disk, made without an encoder, and the slow way to say what applying them leaves."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selfclean_hooks import Audit, Policy, audit_embeddings
from selfclean_hooks.data.digests import digest, file_key, own_files
from selfclean_hooks.data.items import split
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.source import open_source
from selfclean_hooks.sources.subsets.saved import label_column
from selfclean_hooks.utils.arrays import fingerprint

KEEP = Policy("warn", "warn", "warn", "warn", leakage="warn")


LISTS = ("dropped.csv", "relabelled.csv")


def data(folder: Path) -> dict[str, bytes]:
    """The files of a folder without the lists."""
    return {name: content for name, content in files(folder).items() if name not in LISTS}


def image(path: Path, seed: int) -> Path:
    """Write a small image of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path)
    return path


def pixels(seed: int) -> Any:
    """(6, 5, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (6, 5, 3), np.uint8)


def images(root: Path, *names: str) -> Path:
    """A folder of images of these names."""
    for seed, name in enumerate(names):
        image(root / name, seed)
    return root


def audited(
    source: str | Path,
    drop: Collection[int] = (),
    relabel: Mapping[int, str] | None = None,
    columns: ColumnNames = ColumnNames(),  # noqa: B008
    split_name: str = "",
) -> Audit:
    """An audit of a source as the command makes it, in which a person drops and relabels samples by position."""
    opened = open_source(str(source), columns=columns)
    data: Any = opened.dataset if opened.dataset is not None else opened.vectors
    labels: Any = opened.labels
    if labels is None and (column := label_column(data) if hasattr(data, "features") else None):
        labels = data[column][:]
    made = audit_embeddings(np.random.default_rng(0).normal(size=(len(data), 8)), labels, policy=KEEP)
    paths = getattr(opened.dataset, "paths", None)
    if opened.dataset is None:
        seen = [fingerprint(row) for row in data]
    else:
        own = own_files(paths or [None] * len(data))
        seen = [file_key(own[i]) if own[i] else digest(split(data[i]).value) for i in range(len(data))]
    named = {key: value for key, value in vars(columns).items() if value}
    found = replace(made, names=None if paths is None else tuple(paths), digests=tuple(seen))
    found = found.described(str(source), opened.class_names or getattr(made.scores, "class_names", None), (), named)
    marks = [Mark("off_topic", "confirmed", i, split=split_name) for i in drop]
    marks += [
        Mark("label_errors", "relabelled", i, label=label, split=split_name) for i, label in (relabel or {}).items()
    ]
    return found.with_decisions(Review(tuple(marks), split=split_name))


def files(root: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
