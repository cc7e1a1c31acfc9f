"""An audit of several splits as a folder: one folder per split, and splits.json that lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.errors import AuditFileError, PolicyError
from selfclean_hooks.results.splits import LEAKAGE, SplitsResult, conflicting_labels
from selfclean_hooks.storage.folder import FILES, SPLITS, damaged_error, read_index
from selfclean_hooks.storage.folder import load as load_one
from selfclean_hooks.storage.folder import save as save_one
from selfclean_hooks.utils.files import clear, write
from selfclean_hooks.utils.text import as_csv, plain

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

FORMAT = 1
COLUMNS = (*LEAKAGE, "sample_1", "label_1", "sample_2", "label_2")
BACK = "../report.html"  # from the page of a split to the index page
LONGEST = 100  # characters of a folder's name
RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)  # no valid file names on Windows


def save(result: SplitsResult[Any], folder: Path, page: bytes, pages: Mapping[str, bytes]) -> None:
    """Write the audits of all splits; splits.json is written last: nothing loads without it.

    Args:
        result: the audits.
        folder: where to.
        page: index page of all splits.
        pages: page of each split by name.

    Raises:
        AuditFileError: the folder cannot be written.
        PolicyError: a policy would drop too much; all is written but clean_indices.txt of that split.
    """
    places = split_folders(result)
    leakage = leakage_rows(result)
    contents = {
        "leakage.csv": _as_csv(leakage),
        "report.html": page,
    }
    clear(folder, (SPLITS, *FILES))  # of an earlier audit
    refused = []
    for name, audit in result.audits.items():
        try:
            save_one(audit, folder / places[name], {"report.html": pages[name]})
        except PolicyError as error:
            refused.append(f"split {name!r}: {error}")
    for file, content in contents.items():
        write(folder / file, content)
    index = {
        "format": FORMAT,
        "splits": [
            {"name": name, "folder": place, "scores_blake2b": _scores_of(folder / place)}
            for name, place in places.items()
        ],
        "shift": result.shifts,
    }
    write(folder / SPLITS, (json.dumps(plain(index), indent=2) + "\n").encode())
    if refused:
        raise PolicyError("; ".join(refused))


def load(folder: Path) -> SplitsResult[AuditResult]:
    """Read what `save` wrote.

    Raises:
        AuditFileError: the folder holds no audit of splits, is damaged, or has another version.
    """
    index = read_index(folder / SPLITS, FORMAT)
    try:
        audits: dict[str, AuditResult] = {}
        for entry in index["splits"]:
            place = folder / re.fullmatch(r"[\w=-]+", entry["folder"]).group()  # type: ignore[union-attr]
            if _scores_of(place) != entry["scores_blake2b"]:
                raise damaged_error(place / "manifest.json", "it is from another audit than splits.json")
            if not isinstance(entry["name"], str) or entry["name"] in ("", *audits):
                raise ValueError(f"a split has the name {entry['name']!r}")
            audits[entry["name"]] = load_one(place)
        shifts = tuple(dict(row) for row in index["shift"])
        if not audits:
            raise ValueError("it lists no split")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged_error(folder / SPLITS, f"{type(error).__name__}: {error}") from error
    return SplitsResult(audits, shifts)


def write_reports(result: SplitsResult[Any], folder: Path, page: bytes, pages: Mapping[str, bytes]) -> None:
    """Write the page of every split and the index page.

    Raises:
        AuditFileError: the folder cannot be written.
    """
    places = split_folders(result)
    for name, content in pages.items():
        write(folder / places[name] / "report.html", content)
    write(folder / "report.html", page)


def split_folders(result: SplitsResult[Any]) -> dict[str, str]:
    """Folder names of the splits: their own names without characters that file systems may refuse."""
    places: dict[str, str] = {}
    for name in result.audits:
        place = re.sub(r"[^\w=-]+", "_", name, flags=re.ASCII)[:LONGEST]
        while RESERVED.fullmatch(place) or place.lower() in (other.lower() for other in places.values()):
            place += "_"
        places[name] = place
    return places


def _scores_of(place: Path) -> str:
    digest = read_index(place / "manifest.json").get("scores_blake2b")
    if not isinstance(digest, str):
        raise AuditFileError(f"{place / 'manifest.json'} must be as Audit.save wrote it: run the audit again")
    return digest


def leakage_rows(result: SplitsResult[Any]) -> list[dict[str, Any]]:
    """The pairs with the file names and labels of both samples."""
    names = {split: audit.names or ("",) * len(audit) for split, audit in result.audits.items()}
    labels = {split: conflicting_labels(audit) for split, audit in result.audits.items()}

    def details(row: Mapping[str, Any], side: str) -> dict[str, str]:
        split, index = row[f"split_{side}"], row[f"index_{side}"]
        return {f"sample_{side}": names[split][index], f"label_{side}": labels[split][index]}

    return [{**row, **details(row, "1"), **details(row, "2")} for row in result.leaking]


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    import pandas as pd

    kinds = {"index_1": "int64", "index_2": "int64", "distance": "float32"}
    columns = {name: pd.Series([row[name] for row in rows], dtype=kinds.get(name, object)) for name in COLUMNS}
    return as_csv(pd.DataFrame(columns), index=False)
