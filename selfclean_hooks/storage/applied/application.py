"""Apply audits to the data: written as a whole under a temporary name, or moved by a journal."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.core.issues import BY_NAME, NAMES
from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.sources.source import Form
from selfclean_hooks.sources.subsets.saved import FOLDER
from selfclean_hooks.storage.applied.journal import Move, carry_out, journal_of
from selfclean_hooks.storage.applied.new_folder import JOURNAL, Mode, new_folder, take
from selfclean_hooks.storage.applied.plan import DROPPED, Part, plan
from selfclean_hooks.storage.ownership import CLEAN_FILES, RELABELLED
from selfclean_hooks.utils.files import write_synced
from selfclean_hooks.utils.text import as_csv, as_lines

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

SPLITS = "dataset_dict.json"  # says what splits a Hugging Face data set has, beside their folders


@dataclass(frozen=True)
class Applied:
    """What was changed in one audited data set.

    Attributes:
        split: "" for the only one.
        kept: number of samples.
        dropped: issue -> number of samples.
        relabelled: number of samples.
        notes: what the user should know, one sentence each.
    """

    split: str
    kept: int
    dropped: Mapping[str, int]
    relabelled: int
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """In one line."""
        causes = ", ".join(f"{BY_NAME[issue].words} {count}" for issue, count in self.dropped.items())
        dropped = f"{sum(self.dropped.values())} dropped" + (f" ({causes})" if causes else "")
        split = f"{self.split}: " if self.split else ""
        return f"{split}{self.kept} samples kept, {dropped}, {self.relabelled} relabelled"


def apply(
    audits: Mapping[str, AuditResult],
    target: Path,
    mode: Mode = Mode.link,
    sources: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> list[Applied]:
    """Write the audited data without what is dropped and with the new labels. See `Audit.apply`.

    Args:
        audits: by name of the split; {"": audit} for one data set.
        target: a folder that is new or empty.
        mode: how files come to be.
        sources: split -> SOURCE, where it lies elsewhere now.
        dry_run: check everything and write nothing.

    Raises:
        SourceError: a source is not there, changed since the audit, or cannot take a new label.
        SettingError: the folder is no new one, lies in a source, or the mode does not suit a source.
        PolicyError: a policy would drop too much.
        AuditFileError: something cannot be written; nothing is left of it.
    """
    parts = plan(audits, target, mode, sources or {})
    copied = {} if dry_run else _moved(parts, target) if mode is Mode.move else _written(parts, target, mode)
    return [
        Applied(
            split,
            len(part.changes.kept),
            dict(sorted(Counter(row.issue for row in part.dropped).items(), key=lambda item: NAMES.index(item[0]))),
            len(part.changes.labels),
            (
                *part.subset.notes,
                *([f"{copied[split]} files were copied, as they cannot be linked there"] if copied.get(split) else []),
            ),
        )
        for split, part in parts.items()
    ]


def _written(parts: Mapping[str, Part], target: Path, mode: Mode) -> dict[str, int]:
    """Write the new folder. Returns by split how many files were copied that should have been linked."""
    copied = {}
    with new_folder(target) as folder:
        for split, part in parts.items():
            place, is_link = folder / part.place, mode is Mode.link
            place.mkdir(exist_ok=True)
            linked = [take(original, place / name, is_link) for name, original in part.subset.files.items()]
            copied[split] = linked.count(False) if is_link else 0
            for name, make in part.subset.made.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                make(place if name == FOLDER else place / name)
        for name, content in lists_of(parts, mode).items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_synced(folder / name, content)
        _keep_splits(parts, folder)
    return copied


def _keep_splits(parts: Mapping[str, Part], folder: Path) -> None:
    """The splits of one saved `DatasetDict` stay one."""
    parents = {Path(os.path.abspath(path)).parent for part in parts.values() for path in part.source.paths}
    are_saved = all(part.place and part.source.form is Form.saved and part.subset.made for part in parts.values())
    if are_saved and len(parents) == 1 and (index := parents.pop() / SPLITS).is_file():
        shutil.copyfile(index, folder / SPLITS)


def _moved(parts: Mapping[str, Part], target: Path) -> dict[str, int]:
    """Move what is dropped into the new folder, and images with a new label to the folder of their class."""
    moves = [move for part in parts.values() for move in _moves(part, target.absolute())]
    lists = lists_of(parts, Mode.move)
    with new_folder(target) as folder:
        for name, content in {**lists, JOURNAL: journal_of(moves, list(lists), target.absolute())}.items():
            write_synced(folder / name, content)
    carry_out(target)
    return {}


def _moves(part: Part, target: Path) -> list[Move]:
    root = Path(os.path.abspath(part.source.paths[0]))
    names, along = part.subset.places, part.subset.along
    moves = []
    for row in part.dropped:
        aside = target / "dropped" / row.issue / part.place
        moves.append(Move(os.path.abspath(part.paths[row.index]), str(target / part.moved_to[row.index])))
        moves += [Move(os.path.abspath(path), str(aside / name)) for path, name in along.get(row.index, {}).items()]
    for i in part.changes.labels:
        if i in names:
            moves.append(Move(os.path.abspath(part.paths[i]), str(root / names[i])))
            moves += [Move(os.path.abspath(path), str(root / name)) for path, name in along.get(i, {}).items()]
    return [move for move in moves if os.path.lexists(move.before) and move.before != move.after]


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
    return as_csv({name: [row[name] for row in rows] for name in columns})
