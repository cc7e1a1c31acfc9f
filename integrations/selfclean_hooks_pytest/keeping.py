"""Audits, made or taken from an earlier run."""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks import Audit, Thresholds, audit, audit_splits
from selfclean_hooks.errors import AuditFileError, DataError, DataWarning
from selfclean_hooks.splits import SplitsAudit
from selfclean_hooks.storage import is_of_splits

if TYPE_CHECKING:
    from selfclean_hooks_pytest.runs import Run

AUDITS = "selfclean-audits"
KEPT = 32  # audits; those that were not used for longest go


def audited(data: Any, settings: Mapping[str, Any], run: Run | None) -> tuple[Audit | SplitsAudit, bool]:
    """The audit of a data set, or of splits by name, and whether an earlier run had made it.

    Args:
        data: a data set, or name: data set.
        settings: arguments of `audit` or `audit_splits`.
        run: whose folder it is kept in, if there is one.
    """
    folder = run.folder if run is not None and run.reuse else None
    key = None if folder is None else _key(data, settings)
    if folder is None or key is None:
        return _made(data, settings, None), False
    place = folder / AUDITS / key
    found = _kept(place)
    if found is not None:
        return found.at(thresholds=settings["thresholds"] or Thresholds()), True
    made = _made(data, settings, folder)
    _keep(made, place)
    return made, False


def _key(data: Any, settings: Mapping[str, Any]) -> str | None:
    from selfclean_hooks.trees import check_map_style
    from selfclean_hooks_pytest.keys import key_of

    splits, labels = data if isinstance(data, Mapping) else {"": data}, settings["labels"]
    if isinstance(data, Mapping) and not isinstance(labels, (Mapping, type(None))):
        return None  # the audit refuses it in better words
    try:
        for dataset in splits.values():
            check_map_style(dataset)
    except DataError:  # and this too
        return None
    return key_of(splits, settings)


def _made(data: Any, settings: Mapping[str, Any], cache: Path | None) -> Audit | SplitsAudit:
    make: Any = audit_splits if isinstance(data, Mapping) else audit
    made: Audit | SplitsAudit = make(data, **settings, cache_dir=cache, progress=False)
    return made


def _kept(place: Path) -> Audit | SplitsAudit | None:
    """What an earlier run saved; None where it is not, or is damaged and so removed."""
    if not place.is_dir():
        return None
    try:
        os.utime(place)  # used
        return SplitsAudit.load(place) if is_of_splits(place) else Audit.load(place)
    except (AuditFileError, OSError):  # OSError: another process has just removed it
        shutil.rmtree(place, ignore_errors=True)
        return None


def _keep(made: Audit | SplitsAudit, place: Path) -> None:
    """Put the whole folder in place at once; what cannot be kept is no reason for a test to fail."""
    new = place.with_name(f".{uuid.uuid4().hex}")
    try:
        made.save(new)
        if not place.exists():
            new.rename(place)
        _prune(place.parent)
    except (AuditFileError, OSError) as error:
        if not place.exists():  # or another process was quicker
            warnings.warn(f"the audit is not kept for the next run: {error}", DataWarning, stacklevel=2)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _prune(folder: Path) -> None:
    """Remove all but the `KEPT` last used, and so what a killed run left half-made."""
    by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)
