"""Findings that were looked at and accepted, by the content of the samples: a gate fails only on what is new.

A baseline is a text file to keep beside the code: a line with the version, then one JSON object a finding, sorted, so
that it merges line by line. Contents are named by digest, so samples may be moved, renamed and added; names of files
are there for readers and may be out of date. A `note` that someone writes into a line is kept when it is updated.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.duplicates import component_of
from selfclean_hooks.errors import AuditFileError, SettingError
from selfclean_hooks.gate import LIMITED
from selfclean_hooks.scores import label_texts
from selfclean_hooks.storage import write
from selfclean_hooks.thresholds import flagged

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit

VERSION = 1
HEADER = "selfclean_hooks_baseline"


class Key(NamedTuple):
    """What a finding is known by."""

    issue: str
    split: str
    samples: tuple[str, ...]  # digests: of one sample, or of two, sorted
    label: str


@dataclass(frozen=True)
class Entry:
    """One accepted finding.

    Near duplicates are accepted as links between two contents, and as a number of copies of one content.
    """

    issue: str
    samples: tuple[str, ...]
    split: str = ""
    label: str = ""  # given to a sample whose label is in doubt: another one is another finding
    copies: int = 1  # of one content, in the split
    names: tuple[str, ...] = ()
    note: str = ""

    @property
    def key(self) -> Key:
        """What the finding is known by."""
        return Key(self.issue, self.split, self.samples, self.label)

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.split, self.issue)))
        known = " ".join(self.names) or " ".join(sample[:12] for sample in self.samples)
        return f"{where}: {known}" + f" (label {self.label})" * bool(self.label)


@dataclass(frozen=True, eq=False)
class Baseline:
    """Accepted findings by key."""

    entries: Mapping[Key, Entry]

    @classmethod
    def of(cls, audits: Mapping[str, Audit], before: Baseline | None = None) -> Baseline:
        """All findings of the audits (by split, "" for one data set); notes in `before` are kept.

        Raises:
            SettingError: an audit does not say what its samples contain.
        """
        found = {entry.key: entry for split, audit in audits.items() for entry in _entries(audit, split)}
        notes = {} if before is None else {key: entry.note for key, entry in before.entries.items()}
        return cls({key: replace(entry, note=notes.get(key, "")) for key, entry in found.items()})

    def __len__(self) -> int:
        """Number of findings."""
        return len(self.entries)

    def accepted(self, audit: Audit, split: str) -> dict[str, NDArray[np.bool_]]:
        """Issue: (N,) the samples that count for it and are accepted.

        A near duplicate is accepted where accepted links lead from it to the copy that is kept, or to another surplus
        copy: who is kept depends on the order of the samples, what they contain does not.

        Raises:
            SettingError: the audit does not say what its samples contain.
        """
        digests = _digests(audit)
        accepted = {issue: np.zeros(len(audit), bool) for issue in audit.contamination}
        for issue, index, key in _single(audit, split):
            accepted[issue][index] = key in self.entries
        for index, keys in groupby(_leaks(audit, split), key=lambda leak: leak[0]):
            accepted["leakage"][index] = all(key in self.entries for _, key in keys)
        accepted["near_duplicates"] = self._accepted_copies(audit, split, digests)
        return accepted

    def _accepted_copies(self, audit: Audit, split: str, digests: Sequence[str]) -> NDArray[np.bool_]:
        groups, copies = self._groups(split)
        seen: Counter[str] = Counter()
        node: list[object] = []  # samples of one node are accepted together
        for index, content in enumerate(digests):
            seen[content] += 1
            is_known = content and seen[content] <= copies.get(content, 1)
            node.append(groups.get(content, content) if is_known else index)
        sets, surplus = audit.decisions.sets, audit.decisions.surplus
        members = (sets >= 0).nonzero()[0]
        accepted, met = np.zeros(len(audit), bool), set()
        for i in members[np.lexsort((members, surplus[members]))].tolist():  # kept copies first
            place = int(sets[i]), node[i]
            accepted[i] = bool(surplus[i]) and place in met
            met.add(place)
        return accepted

    def _groups(self, split: str) -> tuple[dict[str, str], dict[str, int]]:
        """Content: name of the group that accepted links make; content: accepted number of copies."""
        links = [e for e in self.entries.values() if e.issue == "near_duplicates" and e.split == split]
        group: dict[str, str] = {}

        def root(content: str) -> str:
            while (above := group.setdefault(content, content)) != content:
                group[content], content = group[above], above
            return content

        for entry in links:
            group[root(entry.samples[0])] = root(entry.samples[-1])
        copies = {entry.samples[0]: entry.copies for entry in links if len(set(entry.samples)) == 1}
        return {content: root(content) for content in group}, copies

    def stale(self, audits: Mapping[str, Audit]) -> tuple[str, ...]:
        """The entries that nothing matches any more, in order."""
        live = {key: entry.copies for key, entry in self.of(audits).entries.items()}
        linked = {split: _linked(audit) for split, audit in audits.items()}

        def matches(entry: Entry) -> bool:
            if entry.issue != "near_duplicates" or len(set(entry.samples)) == 1:
                return live.get(entry.key, 0) >= entry.copies
            sets = [linked.get(entry.split, {}).get(content, set()) for content in entry.samples]
            return bool(sets[0] & sets[1])

        return tuple(str(entry) for key, entry in sorted(self.entries.items()) if not matches(entry))

    @classmethod
    def read(cls, path: str | Path) -> Baseline:
        """Read a baseline.

        Raises:
            AuditFileError: there is none, it is damaged, or of another version; says which line and why.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # other ends of lines may be in notes
        except (OSError, UnicodeDecodeError) as error:
            raise AuditFileError(
                f"cannot read the baseline {path}: {getattr(error, 'strerror', None) or error}. "
                "Write one with --update-baseline"
            ) from error
        entries: dict[Key, Entry] = {}
        version = _version(path, lines[0])
        for number, line in enumerate(lines, 1):
            if not line.strip() or _is_header(line, version):  # a merge may have left the header twice
                continue
            entry = _parsed(path, number, line)
            other = entries.get(entry.key, entry)
            more = max(other, entry, key=lambda same: same.copies)
            entries[entry.key] = replace(more, note=other.note or entry.note)
        return cls(entries)

    def write(self, path: str | Path) -> None:
        """Put the file in place at once, sorted.

        Raises:
            AuditFileError: it cannot be written.
        """
        lines = [json.dumps({HEADER: VERSION}), *(_line(entry) for _, entry in sorted(self.entries.items()))]
        write(Path(path), ("\n".join(lines) + "\n").encode())


def _entries(audit: Audit, split: str) -> Iterator[Entry]:
    digests, names = _digests(audit), audit.names or ("",) * len(audit)
    for _, index, key in _single(audit, split):
        yield _entry(key, {digests[index]: names[index]})
    named = dict(zip(digests, names, strict=True))
    leaks = audit.scores.leaks
    others = dict(zip(leaks.other_digests or (), leaks.other_names or (), strict=False)) if leaks else {}
    for _, key in _leaks(audit, split):
        if all(key.samples):
            yield _entry(key, {**others, **named})
    component = component_of(audit.scores, audit.decisions.thresholds["near_duplicates"])
    size = np.bincount(component, minlength=1)
    count = Counter(digests[i] for i in (size[component] > 1).nonzero()[0].tolist())
    for content, copies in count.items():
        if content and copies > 1:
            key = Key("near_duplicates", split, (content, content), "")
            yield replace(_entry(key, named), copies=copies)
    near = flagged(audit.scores.tree_distance, audit.decisions.thresholds["near_duplicates"])
    for pair in audit.scores.tree_index[near].tolist():
        first, second = sorted(digests[i] for i in pair)
        if first and first != second:
            yield _entry(Key("near_duplicates", split, (first, second), ""), named)


def _entry(key: Key, named: Mapping[str, str]) -> Entry:
    names = tuple(filter(None, (named.get(sample, "") for sample in dict.fromkeys(key.samples))))
    return Entry(key.issue, key.samples, key.split, key.label, names=names)


def _single(audit: Audit, split: str) -> Iterator[tuple[str, int, Key]]:
    """Findings about one sample by itself, of those whose content is known."""
    digests, labels = _digests(audit), label_texts(audit.scores)
    for issue in ("off_topic", "label_errors", "unreadable"):
        for i in audit.decisions.flags[issue].nonzero()[0].tolist() if issue in audit.contamination else ():
            if digests[i]:
                label = labels[i] if issue == "label_errors" else ""
                yield issue, i, Key(issue, split, (digests[i],), label)


def _leaks(audit: Audit, split: str) -> Iterator[tuple[int, Key]]:
    """Flagged pairs with samples of other splits, by position of the own one. One of unknown content has no match."""
    leaks, digests = audit.scores.leaks, _digests(audit)
    if leaks is None:
        return
    hits = flagged(leaks.distance, audit.decisions.thresholds["leakage"]).nonzero()[0]
    for pair in hits[np.argsort(leaks.index[hits], kind="stable")].tolist():
        own, other = digests[int(leaks.index[pair])], leaks.other_digests[pair] if leaks.other_digests else ""
        yield int(leaks.index[pair]), Key("leakage", split, tuple(sorted((own, other))), "")


def _linked(audit: Audit) -> dict[str, set[int]]:
    """Content: the components of near duplicates that it is in."""
    component = component_of(audit.scores, audit.decisions.thresholds["near_duplicates"])
    linked: dict[str, set[int]] = {}
    for content, number in zip(_digests(audit), component.tolist(), strict=True):
        linked.setdefault(content, set()).add(number)
    return linked


def _digests(audit: Audit) -> tuple[str, ...]:
    if audit.digests is None:
        raise SettingError(
            "a baseline knows findings by the content of the samples, and this audit does not say what that was (an "
            "older version wrote it): audit the data again"
        )
    return audit.digests


def _line(entry: Entry) -> str:
    """Without what says nothing; ASCII, so that names that are no valid text survive."""
    told = {name: value for name, value in asdict(entry).items() if value}
    return json.dumps({name: value for name, value in told.items() if name != "copies" or value > 1})


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
            "that wrote it, or remove the file and write it anew with --update-baseline"
        )
    return VERSION


def _is_header(line: str, version: int) -> bool:
    return line.strip() == json.dumps({HEADER: version})


def _parsed(path: str | Path, number: int, line: str) -> Entry:
    try:
        fields: dict[str, Any] = json.loads(line)
        entry = Entry(**{**fields, "samples": tuple(fields["samples"]), "names": tuple(fields.get("names", ()))})
        texts = (*entry.samples, *entry.names, entry.split, entry.label, entry.note)
        if entry.issue not in LIMITED or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"the issue {entry.issue!r}")
        if len(entry.samples) not in (1, 2) or not isinstance(entry.copies, int) or entry.copies < 1:
            raise ValueError(f"{len(entry.samples)} samples, {entry.copies!r} copies")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AuditFileError(
            f"line {number} of the baseline {path} is no entry: {line[:60]!r} ({type(error).__name__}: {error}). "
            "Restore the file, or resolve the merge conflict in it (both sides may stay)"
        ) from error
    return entry
