"""What becomes of each audited data set: what is dropped and relabelled, planned and refused as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selfclean_hooks.core.issues import NAMES
from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.errors import DataError, PolicyError, SettingError, SourceError
from selfclean_hooks.sources.source import Form, Source
from selfclean_hooks.sources.subsets.forms import subset_of
from selfclean_hooks.sources.subsets.subset import Changes, Subset
from selfclean_hooks.storage.applied.new_folder import JOURNAL, Mode, check_new, check_outside
from selfclean_hooks.storage.applied.origin import open_audited
from selfclean_hooks.storage.ownership import CLEAN_FILES, RELABELLED
from selfclean_hooks.storage.splits import split_folders

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


class Dropped(NamedTuple):
    """A sample that is left out."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    issue: str  # the first one, in the order of the table of issues, that it is dropped for; else "reviewed"
    reason: str


def changes_of(audit: AuditResult) -> Changes:
    """What is kept, and the new labels of what is kept.

    Raises:
        PolicyError: the policy would drop too much.
    """
    kept = audit.clean_indices
    given, new = label_texts(audit.scores), audit.new_labels  # by people and by the policy
    labels = {i: new[i] for i in kept.tolist() if i in new and new[i] != given[i]}
    return Changes(kept, labels, frozenset(audit.scores.errors))


def dropped_of(audit: AuditResult) -> list[Dropped]:
    """The samples that are left out, in order."""
    decisions = audit.decisions
    return [Dropped(i, _issue(audit, i), decisions.reason[i]) for i in decisions.dropped.nonzero()[0].tolist()]


def _issue(audit: AuditResult, i: int) -> str:
    """What a person confirmed comes first, then what the policy drops."""
    decisions = audit.decisions
    marks = {issue: decisions.marks.get(issue, {}).get(i) for issue in NAMES}
    confirmed = [issue for issue, mark in marks.items() if mark is not None and mark.verdict == "confirmed"]
    drops = {issue for issue in decisions.flags if audit.policy.action(issue) == "drop"}
    drops |= {"label_errors"} if audit.policy.label_errors == "relabel" and i not in decisions.replaced else set()
    by_policy = (issue for issue in drops if decisions.contamination_mask(issue)[i])
    found = set(confirmed[:1] or by_policy)
    return next((issue for issue in NAMES if issue in found), "reviewed")


DROPPED = "dropped.csv"
LISTS = (DROPPED, RELABELLED, CLEAN_FILES, JOURNAL)


@dataclass(frozen=True, eq=False)
class Part:
    """What becomes of one audited data set.

    Attributes:
        audit: of it, with its review.
        source: opened again.
        changes: what is kept, and which labels are new.
        dropped: what is left out.
        subset: what the new data set is made of; nothing where files are only listed.
        place: its folder within the new one; "": that one itself.
    """

    audit: AuditResult
    source: Source
    changes: Changes
    dropped: Sequence[Dropped]
    subset: Subset
    place: str

    def name(self, name: str) -> str:
        """The name of one of its files in the new folder."""
        return f"{self.place}/{name}" if self.place else name

    @property
    def paths(self) -> Sequence[str]:
        """(N,) files of a folder of images; nothing for other sources."""
        return () if self.source.form is not Form.folder else self.source.dataset.paths  # type: ignore[union-attr]

    @cached_property
    def moved_to(self) -> dict[int, str]:
        """Position -> where a dropped image is moved to, in the new folder; nothing for other sources."""
        if not self.paths:
            return {}
        root = self.source.paths[0]
        relative = {row: os.path.relpath(self.paths[row.index], root) for row in self.dropped}
        return {row.index: f"dropped/{row.issue}/{self.name(name)}" for row, name in relative.items()}


def plan(audits: Mapping[str, AuditResult], target: Path, mode: Mode, sources: Mapping[str, str]) -> dict[str, Part]:
    """What becomes of each split. See `apply`."""
    check_new(target)
    if unknown := [name for name in sources if name not in audits]:
        names = ", ".join(filter(None, audits)) or "none: one data set was audited"
        raise SettingError(f"sources must be given by the name of a split ({names}), got {unknown[0]!r}")
    places = {"": ""} if "" in audits else split_folders(audits)
    parts = {}
    for name, audit in audits.items():
        with _split_named(name):
            changes = changes_of(audit)
            source = open_audited(audit, sources.get(name))
            if os.path.isdir(folder := os.path.expanduser(source.name)):
                check_outside(target, folder)
            if mode is Mode.move and source.form is not Form.folder:
                raise SettingError(
                    f"files can be moved out of a folder of images, and {source.name} is {source.form.value}: "
                    "link or copy"
                )
            subset = Subset({}) if mode is Mode.list else subset_of(source, changes, target / places[name])
            parts[name] = Part(audit, source, changes, dropped_of(audit), subset, places[name])
    for part in parts.values():
        if taken := sorted(set(LISTS) & {part.name(name) for name in (*part.subset.files, *part.subset.made)}):
            raise SettingError(f"{taken[0]} is a name of a list that is written: give the file of the source another")
    return parts


@contextmanager
def _split_named(split: str) -> Iterator[None]:
    """Name the split in errors."""
    try:
        yield
    except (SourceError, SettingError, DataError, PolicyError) as error:
        if not split:
            raise
        raise type(error)(f"split {split!r}: {error}") from error
