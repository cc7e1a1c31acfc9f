"""Accepted findings, by the content of the samples: a gate fails on new findings only.

Samples are identified by digest, so they may be moved, renamed and added; file names are for readers and may be out of
date. A `note` that someone writes into a line of the file is kept when it is updated.

Automatic thresholds are part of it: fitted again to changed data, they would flag samples that did not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.issues import BY_NAME
from selfclean_hooks.decisions.settings import Thresholds
from selfclean_hooks.gate.baseline_entries import Node, digests_of, entries_of, leaks, linked_sets, nodes_of, single
from selfclean_hooks.gate.baseline_file import Entry, Key, read_baseline, write_baseline
from selfclean_hooks.results.result import turned_off
from selfclean_hooks.utils.arrays import BoolArray

if TYPE_CHECKING:
    from selfclean_hooks.results.result import A, AuditResult


@dataclass(frozen=True, eq=False)
class Baseline:
    """Accepted findings, which a check passes over: what `--update-baseline` writes and `--baseline` reads.

    Samples are known by their content, so files may be moved and renamed.
    """

    entries: Mapping[Key, Entry]
    thresholds: Mapping[tuple[str, str], float] = field(default_factory=dict)  # (split, issue): automatic, at the time

    @classmethod
    def of(cls, audits: Mapping[str, AuditResult], before: Baseline | None = None) -> Baseline:
        """All findings of the audits (by split, "" for one data set) but confirmed ones and corrected labels.

        Rejected findings get a note. Notes of `before` are kept, and so are its entries on what these audits did not
        check: other splits, checks that did not run. Samples of unknown content (a broken link, say) have no entry.

        Raises:
            SettingError: an audit holds no digests.
        """
        return cls._collect(audits, before, everything=False)

    @classmethod
    def _collect(cls, audits: Mapping[str, AuditResult], before: Baseline | None, everything: bool) -> Baseline:
        found = {entry.key: entry for split, audit in audits.items() for entry in entries_of(audit, split, everything)}
        old = {} if before is None else before.entries
        checked = _checked(audits)
        unseen = {key: entry for key, entry in old.items() if (entry.split, entry.issue) not in checked}
        notes = {key: old[key].note for key in found if key in old and old[key].note}
        noted = {key: replace(entry, note=notes.get(key, entry.note)) for key, entry in found.items()}
        thresholds = (
            {}
            if before is None
            else {at: threshold for at, threshold in before.thresholds.items() if at not in checked}
        )
        for split, audit in audits.items():
            thresholds |= {
                (split, issue): threshold for issue, threshold in _automatic(audit).items() if (split, issue) in checked
            }
        return cls({**unseen, **noted}, thresholds)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def narrowed(self, audit: A, split: str) -> A:
        """The audit with automatic thresholds at most those of the baseline: higher scores were not findings then."""
        return self._with_thresholds(audit, split, min)

    def _with_thresholds(self, audit: A, split: str, choose: Callable[[float, float], float]) -> A:
        scores = audit.scores
        now = _automatic(audit)
        thresholds = {
            issue: choose(threshold, self.thresholds.get((split, issue), threshold)) for issue, threshold in now.items()
        }
        if thresholds == now:
            return audit
        leaks = scores.leaks and replace(scores.leaks, automatic=thresholds.get("leakage", scores.leaks.automatic))
        automatic = {issue: thresholds.get(issue, threshold) for issue, threshold in scores.automatic.items()}
        settings: dict[str, Any] = {
            i: value if audit.thresholds.is_fixed(i) else "auto" for i, value in vars(audit.thresholds).items()
        }
        return replace(
            audit, scores=replace(scores, automatic=automatic, leaks=leaks), thresholds=Thresholds(**settings)
        )

    def divide(self, audit: AuditResult, split: str) -> dict[str, tuple[BoolArray, BoolArray]]:
        """Issue: (N,) the samples that are new findings, and (N,) those that are accepted.

        As many samples of one content are accepted as there were, those of files in the baseline first. In a set of
        near duplicates, samples that accepted links connect to another copy are accepted, whatever the order of the
        samples and whichever copy is kept, which may be a new one. Confirmed findings are new, whatever was accepted.

        Raises:
            SettingError: the audit holds no digests.
        """
        rank = self._rank(audit, split)
        counted = {issue: audit.decisions.contamination_mask(issue) for issue in audit.contamination}
        accepted = {issue: np.zeros(len(audit), bool) for issue in audit.contamination}
        used: Counter[Key] = Counter()
        sure = audit.decisions.confirmed
        open_ = {issue: hits & ~sure for issue, hits in audit.decisions.flags.items()}
        for issue, index, key in sorted(single(audit, split, open_), key=lambda finding: rank[finding[1]]):
            used[key] += 1
            accepted[issue][index] = key in self.entries and used[key] <= self.entries[key].copies
        for index in self._accepted_leaks(audit, split, rank):
            accepted["leakage"][index] = True
        divided = {issue: (counted[issue] & ~accepted[issue], accepted[issue]) for issue in accepted}
        divided["near_duplicates"] = self._copies_divided(audit, split, rank)
        return {issue: (new | (old & sure), old & ~sure) for issue, (new, old) in divided.items()}

    def _accepted_leaks(self, audit: AuditResult, split: str, rank: NDArray[np.int64]) -> Iterator[int]:
        """Samples with accepted links to all that they leak to; of each content as many as there were.

        Links count in a chain: which of many near duplicates are listed depends on which others there are.
        """
        groups, copies = self._groups("leakage", split)
        seen: Counter[str] = Counter()
        decisions = audit.decisions
        pairs = (leak for leak in leaks(audit, split, decisions.leaks) if not decisions.confirmed[leak[1]])
        for index, same in groupby(sorted(pairs, key=lambda leak: rank[leak[1]]), key=lambda leak: leak[1]):
            own = digests_of(audit)[index]
            seen[own] += 1
            met = {groups.get((1, key.samples[1])) for _, _, key in same}
            if seen[own] <= copies.get(own, 0) and met == {groups[0, own]}:
                yield index

    def _rank(self, audit: AuditResult, split: str) -> NDArray[np.int64]:
        """(N,) place of each sample, those whose file is named in the baseline first."""
        known = {name for entry in self.entries.values() if entry.split == split for name in entry.names}
        is_new = np.array([name not in known for name in audit.names or ("",) * len(audit)])
        rank = np.empty(len(audit), np.int64)
        rank[np.lexsort((np.arange(len(audit)), is_new))] = np.arange(len(audit))
        return rank

    def _copies_divided(self, audit: AuditResult, split: str, rank: NDArray[np.int64]) -> tuple[BoolArray, BoolArray]:
        groups, copies = self._groups("near_duplicates", split)
        sets, kept, digests = audit.decisions.sets, audit.decisions.duplicates.kept, digests_of(audit)
        members = (sets >= 0).nonzero()[0]
        seen: Counter[str] = Counter()
        node: dict[int, object] = {}  # samples of one node are accepted together
        for i in members[np.argsort(rank[members])].tolist():
            seen[content := digests[i]] += 1
            node[i] = groups.get((0, content), content) if content and seen[content] <= copies.get(content, 1) else i
        is_strange = np.array([node[i] == i or (0, digests[i]) not in groups for i in members.tolist()], bool)
        sure = audit.decisions.confirmed[members]
        first = np.lexsort((rank[members], ~np.isin(members, kept), is_strange, sure, sets[members]))
        new, accepted = np.zeros(len(audit), bool), np.zeros(len(audit), bool)
        met: set[object] = set()
        for place, i in enumerate(members[first].tolist()):
            if place and sets[i] == sets[members[first[place - 1]]]:  # the first one of a set is no finding
                (accepted if node[i] in met else new)[i] = True
            else:
                met = set()
            met.add(node[i])
        return new, accepted

    def _groups(self, issue: str, split: str) -> tuple[dict[Node, Node], dict[str, int]]:
        """Node: name of the group that accepted links make; content: accepted number of copies in this split."""
        links = [e for e in self.entries.values() if e.issue == issue and e.split == split]
        group: dict[Node, Node] = {}

        def root(node: Node) -> Node:
            while (above := group.setdefault(node, node)) != node:
                group[node], node = group[above], above
            return node

        copies: dict[str, int] = {}
        for entry in links:
            first, second = nodes_of(entry.key)
            group[root(first)] = root(second)
            for side, content in (first, second):
                if side == 0:
                    copies[content] = max(copies.get(content, 1), entry.copies)
        return {node: root(node) for node in group}, copies

    def stale(self, audits: Mapping[str, AuditResult]) -> tuple[str, ...]:
        """The entries of checks that ran which match nothing, or fewer samples than before."""
        audits = {split: self._with_thresholds(audit, split, max) for split, audit in audits.items()}
        today = self._collect(audits, None, everything=True)
        live = {key: entry.copies for key, entry in today.entries.items()}
        parts = {split: linked_sets(audit) for split, audit in audits.items()}
        leaking = {split: today._groups("leakage", split)[0] for split in audits}

        def matches(entry: Entry) -> bool:
            if entry.issue == "leakage":
                own, other = map(leaking[entry.split].get, nodes_of(entry.key))
                return own is not None and own == other
            if entry.issue != "near_duplicates" or len(set(entry.samples)) == 1:
                return live.get(entry.key, 0) >= entry.copies
            sets = [parts.get(entry.split, {}).get(content, set()) for content in entry.samples]
            return bool(sets[0] & sets[1])

        checked = _checked(audits)
        seen = [entry for _, entry in sorted(self.entries.items()) if (entry.split, entry.issue) in checked]
        return tuple(str(entry) for entry in seen if not matches(entry))

    @classmethod
    def given(cls, baseline: Baseline | str | Path | None) -> Baseline | None:
        """A baseline itself, or the one in a file."""
        return cls.read(baseline) if isinstance(baseline, (str, Path)) else baseline

    @classmethod
    def read(cls, path: str | Path) -> Baseline:
        """Read a baseline.

        Raises:
            AuditFileError: it is missing, damaged, or of another version; names the line and the reason.
        """
        return cls(*read_baseline(path))

    def write(self, path: str | Path) -> None:
        """Write the file atomically, sorted, one line an entry.

        Raises:
            AuditFileError: it cannot be written.
        """
        write_baseline(path, self.entries, self.thresholds)


def _automatic(audit: AuditResult) -> dict[str, float]:
    """Issue: threshold in force, of those that depend on the data."""
    thresholds = audit.decisions.thresholds
    return {
        issue: threshold
        for issue, threshold in thresholds.items()
        if not audit.thresholds.is_fixed(BY_NAME[issue].threshold)
    }


def _checked(audits: Mapping[str, AuditResult]) -> set[tuple[str, str]]:
    """Splits and issues that were checked."""
    ran = {(split, issue) for split, audit in audits.items() for issue in audit.contamination}
    return {(split, issue) for split, issue in ran if not turned_off(audits[split], issue)}
