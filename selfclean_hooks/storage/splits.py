"""An audit of several splits as a folder: one folder per split, and splits.json that lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import asdict

from selfclean_hooks.errors import PolicyError
from selfclean_hooks.results.splits import LEAKAGE, SplitsResult, conflicting_labels
from selfclean_hooks.storage.commit import read_steadily, replace_audit
from selfclean_hooks.storage.folder import SCORES, contents_of, load_files
from selfclean_hooks.storage.ownership import LEAKAGE as LEAKAGE_FILE
from selfclean_hooks.storage.ownership import MANIFEST, PAGE, SPLITS, SavedFolder, digest_of, write_pages
from selfclean_hooks.storage.schema import FORMAT, Manifest, SplitsIndex, damaged_error, read_index
from selfclean_hooks.utils.text import Column, as_csv, plain

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

COLUMNS = (*LEAKAGE, "sample_1", "label_1", "sample_2", "label_2")
BACK = "../report.html"  # from the page of a split to the index page
LONGEST = 100  # characters of a folder's name
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)  # no valid file names on Windows


def save(result: SplitsResult[Any], folder: Path, page: bytes | None, pages: Mapping[str, bytes]) -> None:
    """Write the audits of all splits and splits.json; an audit there is replaced as a whole.

    Args:
        result: the audits.
        folder: where to.
        page: index page of all splits; None: no pages.
        pages: page of each split by name.

    Raises:
        AuditFileError: the folder cannot be written, or holds files of these names that no audit wrote.
        PolicyError: a policy would drop too much; all is written but clean_indices.txt of that split.
    """
    places = split_folders(result.audits)
    contents, refused, entries = {LEAKAGE_FILE: _as_csv(leakage_rows(result))}, [], []
    contents |= {} if page is None else {PAGE: page}
    for name, audit in result.audits.items():
        files, error = contents_of(audit, {} if page is None else {PAGE: pages[name]})
        contents |= {f"{places[name]}/{file}": content for file, content in files.items()}
        entries.append({"name": name, "folder": places[name], "scores_blake2b": digest_of(files[SCORES])})
        refused += [] if error is None else [f"split {name!r}: {error}"]
    index = {"format": FORMAT, "splits": entries, "shift": result.shifts}
    contents[SPLITS] = (json.dumps(plain(index), indent=2) + "\n").encode()
    replace_audit(folder, contents)
    if refused:
        raise PolicyError("; ".join(refused))


def load(folder: Path) -> SplitsResult[AuditResult]:
    """Read what `save` wrote.

    Raises:
        AuditFileError: the folder holds no audit of splits, is damaged, or has another version.
    """
    return read_steadily(folder, lambda: _loaded(SavedFolder(folder)))


def _loaded(saved: SavedFolder) -> SplitsResult[AuditResult]:
    path = saved.path(SPLITS)
    index, _ = read_index(path, SplitsIndex)
    audits: dict[str, AuditResult] = {}
    for split in index.splits:
        if split.name in audits:
            raise damaged_error(path, f"two splits have the name {split.name!r}")
        place = saved.of(split.folder)
        manifest, _ = read_index(place.path(MANIFEST), Manifest)
        if manifest.scores_blake2b != split.scores_blake2b:
            raise damaged_error(place.path(MANIFEST), "it is from another audit than splits.json")
        audits[split.name] = load_files(place)
    return SplitsResult(audits, tuple(map(asdict, index.shift)))


def write_reports(result: SplitsResult[Any], folder: Path, page: bytes, pages: Mapping[str, bytes]) -> None:
    """Write the page of every split and the index page.

    Raises:
        AuditFileError: the folder cannot be written.
    """
    places = split_folders(result.audits)
    write_pages({**{folder / places[name] / PAGE: content for name, content in pages.items()}, folder / PAGE: page})


def split_folders(names: Iterable[str]) -> dict[str, str]:
    """Folder names of the splits: their own names without characters that file systems may refuse."""
    places: dict[str, str] = {}
    for name in names:
        place = re.sub(r"[^\w=-]+", "_", name, flags=re.ASCII)[:LONGEST]
        while RESERVED.fullmatch(place) or place.lower() in (other.lower() for other in places.values()):
            place += "_"
        places[name] = place
    return places


def leakage_rows(result: SplitsResult[Any]) -> list[dict[str, Any]]:
    """The pairs with the file names and labels of both samples."""
    names = {split: audit.names or ("",) * len(audit) for split, audit in result.audits.items()}
    labels = {split: conflicting_labels(audit) for split, audit in result.audits.items()}

    def details(row: Mapping[str, Any], side: str) -> dict[str, str]:
        split, index = row[f"split_{side}"], row[f"index_{side}"]
        return {f"sample_{side}": names[split][index], f"label_{side}": labels[split][index]}

    return [{**row, **details(row, "1"), **details(row, "2")} for row in result.leaking]


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    columns: dict[str, Column] = {name: [row[name] for row in rows] for name in COLUMNS}
    return as_csv({**columns, "distance": np.array(columns["distance"], np.float32)})
