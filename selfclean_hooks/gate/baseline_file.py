"""A baseline as a text file that merges line by line.

A line with the version, then a sorted JSON object for each automatic threshold and each finding.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils.files import write

VERSION = 1
HEADER = "selfclean_hooks_baseline"


class Key(NamedTuple):
    """Identity of a finding."""

    issue: str
    split: str
    samples: tuple[str, ...]  # digests: of one sample, of two near duplicates, sorted, or of a leak: ours and theirs
    label: str


@dataclass(frozen=True)
class Entry:
    """One accepted finding, or several of samples of the same content.

    Near duplicates are accepted as links between two contents, and as a number of copies of one content; leakage as
    links from a content of this split to one of another.
    """

    issue: str
    samples: tuple[str, ...]
    split: str = ""
    label: str = ""  # given to a sample whose label is in doubt: another one is another finding
    copies: int = 1  # of one content, in the split
    names: tuple[str, ...] = ()  # files, for readers; may be out of date
    note: str = ""

    @property
    def key(self) -> Key:
        """What the finding is known by."""
        return Key(self.issue, self.split, self.samples, self.label)

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.split, self.issue)))
        known = " ".join(self.names) or " ".join(sample[:12] for sample in self.samples)
        return f"{where}: {known}" + f" (label {self.label})" * bool(self.label)


AutomaticThresholds = Mapping[tuple[str, str], float]  # (split, issue): threshold


def read_baseline(path: str | Path) -> tuple[dict[Key, Entry], dict[tuple[str, str], float]]:
    """Read the entries and thresholds of a baseline.

    Lines that a merge left twice are joined: the larger number of copies, any note, and the lower threshold stay.

    Raises:
        AuditFileError: it is missing, damaged, or of another version; names the line and the reason.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # other ends of lines may be in notes
    except (OSError, UnicodeDecodeError) as error:
        raise AuditFileError(
            f"cannot read the baseline {path}: {getattr(error, 'strerror', None) or error}. "
            "Write one with --update-baseline"
        ) from error
    entries: dict[Key, Entry] = {}
    thresholds: dict[tuple[str, str], float] = {}
    version = _version(path, lines[0])
    for number, line in enumerate(lines, 1):
        if not line.strip() or _is_header(line, version):  # a merge may have left the header twice
            continue
        entry = _parsed(path, number, line)
        if not isinstance(entry, Entry):
            where, threshold = entry
            thresholds[where] = min(threshold, thresholds.get(where, threshold))
            continue
        other = entries.get(entry.key, entry)
        more = max(other, entry, key=lambda same: same.copies)
        entries[entry.key] = replace(more, note=other.note or entry.note)
    return entries, thresholds


def write_baseline(path: str | Path, entries: Mapping[Key, Entry], thresholds: AutomaticThresholds) -> None:
    """Write the file atomically, sorted.

    Raises:
        AuditFileError: it cannot be written.
    """
    levels = [{"issue": issue, "split": split, "threshold": t} for (split, issue), t in sorted(thresholds.items())]
    found = [_line(entry) for _, entry in sorted(entries.items())]
    lines = [json.dumps({HEADER: VERSION}), *map(json.dumps, levels), *found]
    write(Path(path), ("\n".join(lines) + "\n").encode())


def _line(entry: Entry) -> str:
    """Without default values; ASCII, so that undecodable names survive."""
    fields = {name: value for name, value in asdict(entry).items() if value}
    return json.dumps({name: value for name, value in fields.items() if name != "copies" or value > 1})


def _version(path: str | Path, line: str) -> int:
    try:
        version = json.loads(line)[HEADER]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AuditFileError(
            f'{path} must be a baseline, that is begin with {{"{HEADER}": {VERSION}}}, got {line[:60]!r}: give the '
            "file that --update-baseline wrote, or resolve the merge conflict in it"
        ) from error
    if version != VERSION:
        raise AuditFileError(
            f"the baseline {path} must be of version {VERSION}, got {version!r}: use the version of selfclean-hooks "
            "that wrote it, or delete the file and write it again with --update-baseline"
        )
    return VERSION


def _is_header(line: str, version: int) -> bool:
    return line.strip() == json.dumps({HEADER: version})


def _parsed(path: str | Path, number: int, line: str) -> Entry | tuple[tuple[str, str], float]:
    try:
        fields: dict[str, Any] = json.loads(line)
        if "threshold" in fields:
            split, issue, threshold = fields["split"], fields["issue"], float(fields["threshold"])
            if issue not in NAMES or not isinstance(split, str) or math.isnan(threshold):
                raise ValueError(f"the issue {issue!r}")
            return (split, issue), threshold
        entry = Entry(**{**fields, "samples": tuple(fields["samples"]), "names": tuple(fields.get("names", ()))})
        texts = (*entry.samples, *entry.names, entry.split, entry.label, entry.note)
        if entry.issue not in NAMES or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the issue {entry.issue!r}")
        if len(entry.samples) not in (1, 2) or not isinstance(entry.copies, int) or entry.copies < 1:
            raise ValueError(f"{len(entry.samples)} samples, {entry.copies!r} copies")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AuditFileError(
            f"line {number} of the baseline {path} is not an entry: {line[:60]!r} ({type(error).__name__}: {error}). "
            "Restore the file, or resolve the merge conflict in it (both sides may stay)"
        ) from error
    return entry
