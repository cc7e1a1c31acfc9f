"""A baseline as a text file that merges line by line.

A line with the version, then a sorted JSON object for each automatic threshold and each finding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct, structs

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.utils import files
from selfclean_hooks.utils.files import write
from selfclean_hooks.utils.json_content import check, parse

VERSION = 1
HEADER = "selfclean_hooks_baseline"
LONGEST_HEADER = 1000


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


class _Threshold(Struct, frozen=True, forbid_unknown_fields=True):
    """A line about an automatic threshold."""

    issue: str
    split: str
    threshold: Annotated[float, Meta(ge=-1, le=2)]


class _Finding(Struct, frozen=True, forbid_unknown_fields=True):
    """A line about a finding: the fields of `Entry`."""

    issue: str
    samples: Annotated[tuple[str, ...], Meta(min_length=1, max_length=2)]
    split: str = ""
    label: str = ""
    copies: Annotated[int, Meta(ge=1, lt=2**53)] = 1
    names: tuple[str, ...] = ()
    note: str = ""


AutomaticThresholds = Mapping[tuple[str, str], float]  # (split, issue): threshold


def read_baseline(path: str | Path) -> tuple[dict[Key, Entry], dict[tuple[str, str], float]]:
    """Read the entries and thresholds of a baseline.

    Lines that a merge left twice are joined: the larger number of copies, any note, and the lower threshold stay.

    Raises:
        AuditFileError: it is missing, damaged, or of another version; names the line and the reason.
    """
    try:
        lines = files.read_text(path).split("\n")  # other ends of lines may be in notes
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
        AuditFileError: it cannot be written, or there is a file that is no baseline.
    """
    if Path(path).is_file():
        with Path(path).open("rb") as file:
            _version(path, file.readline(LONGEST_HEADER).decode("utf-8-sig", "replace"))
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
        version = parse(line)[HEADER]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise AuditFileError(
            f'{path} must be a baseline, that is begin with {{"{HEADER}": {VERSION}}}, got {line[:60]!r}: give the '
            "file that --update-baseline wrote, or resolve the merge conflict in it"
        ) from error
    if version != VERSION or isinstance(version, bool):
        raise AuditFileError(
            f"the baseline {path} must be of version {VERSION}, got {version!r:.60}: use the version of "
            "selfclean-hooks that wrote it, or delete the file and write it again with --update-baseline"
        )
    return VERSION


def _is_header(line: str, version: int) -> bool:
    return line.strip() == json.dumps({HEADER: version})


def _parsed(path: str | Path, number: int, line: str) -> Entry | tuple[tuple[str, str], float]:
    try:
        fields = parse(line)
        is_threshold = isinstance(fields, dict) and "threshold" in fields
        found = check(fields, _Threshold) if is_threshold else check(fields, _Finding)
        if found.issue not in NAMES:
            raise ValueError(f"the issue {found.issue!r:.60}")
    except ValueError as error:
        raise AuditFileError(
            f"line {number} of the baseline {path} is not an entry: {line[:60]!r} ({error}). "
            "Restore the file, or resolve the merge conflict in it (both sides may stay)"
        ) from error
    if isinstance(found, _Threshold):
        return (found.split, found.issue), found.threshold
    return Entry(**structs.asdict(found))
