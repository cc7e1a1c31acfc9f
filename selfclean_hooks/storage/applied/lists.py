"""Tables of what was dropped and relabelled, and the names of the files that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.storage.applied.modes import Mode
from selfclean_hooks.storage.applied.plan import DROPPED, Part
from selfclean_hooks.storage.ownership import CLEAN_FILES, RELABELLED
from selfclean_hooks.utils.text import as_csv, as_lines

Rows = list[dict[str, Any]]


def lists_of(parts: Mapping[str, Part], mode: Mode) -> dict[str, bytes]:
    """Name: content. The first column is `split` where there are several.

    dropped.csv has the columns index, sample, issue, reason and, of files that are moved, file; relabelled.csv index,
    sample, given_label, new_label and file, the name in the new folder (or in the source, where files are moved).
    """
    columns = ["split", "index", "sample"] if "" not in parts else ["index", "sample"]
    moved = ["file"] if mode is Mode.move else []
    dropped = [row for split, part in parts.items() for row in _dropped(split, part)]
    relabelled = [row for split, part in parts.items() for row in _relabelled(split, part, mode)]
    lists = {
        DROPPED: _table(dropped, [*columns, "issue", "reason", *moved]),
        RELABELLED: _table(relabelled, [*columns, "given_label", "new_label", "file"]),
    }
    if mode is Mode.list:
        lists |= {part.name(CLEAN_FILES): _kept(part) for part in parts.values() if part.audit.names}
    return lists


def _dropped(split: str, part: Part) -> Rows:
    moved = part.moved_to
    return [
        {**_sample(split, part, row.index), "issue": row.issue, "reason": row.reason, "file": moved.get(row.index, "")}
        for row in part.dropped
    ]


def _relabelled(split: str, part: Part, mode: Mode) -> Rows:
    given, places = label_texts(part.audit.scores), part.subset.places
    folder = f"{part.place}/" if part.place and mode is not Mode.move else ""
    return [
        {
            **_sample(split, part, i),
            "given_label": given[i],
            "new_label": label,
            "file": folder + places[i] if i in places else "",
        }
        for i, label in part.changes.labels.items()
    ]


def _sample(split: str, part: Part, i: int) -> dict[str, Any]:
    return {"split": split, "index": i, "sample": part.audit.names[i] if part.audit.names else ""}


def _kept(part: Part) -> bytes:
    names = part.audit.names or ()
    return as_lines(names[i] for i in part.changes.kept.tolist())


def _table(rows: Rows, columns: Sequence[str]) -> bytes:
    kinds = {"index": "int64"}
    frame = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kinds.get(name, object)) for name in columns}
    )
    return as_csv(frame, index=False)
