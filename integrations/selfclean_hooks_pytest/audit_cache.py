"""What an audit depends on, in one digest: two runs with the same digest would find the same.

Safer than quick: a test that passes because a change went unseen is worse than one that audits again. Hashed are the
bytes of every sample's file, or its content if it has none; and of evenly spaced samples what is read of them, so that
other code or transforms show.
"""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.audit_dataset import audit
from selfclean_hooks.audits.audit_splits import audit_splits
from selfclean_hooks.audits.settings import checked_settings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.labels import as_labels
from selfclean_hooks.data.contents import evenly
from selfclean_hooks.data.dataset_tree import class_names, read_groups
from selfclean_hooks.data.digests import digest, file_key, item_digests, own_files
from selfclean_hooks.data.fingerprint import data_fingerprint
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.data.views.dataset_view import DatasetView
from selfclean_hooks.decisions.settings import Thresholds
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.errors import AuditFileError, DataError, DataWarning
from selfclean_hooks.storage.folder import is_of_splits
from selfclean_hooks.utils.rng import preserve_rng_state

if TYPE_CHECKING:
    from selfclean_hooks_pytest.session import Run

AUDITS = "selfclean-audits"
KEPT = 32  # audits; those that were not used for longest go


def load_or_audit(data: Any, settings: Mapping[str, Any], run: Run | None) -> tuple[Audit | SplitsAudit, bool]:
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
    from selfclean_hooks.data.dataset_tree import check_map_style

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


FORMAT = 1  # of the key; another one makes all audits anew
READ = 256  # samples read although the bytes of their files are known


def key_of(splits: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """The digest, None for functions as backbone, which may have changed unseen.

    Args:
        splits: name: map-style data set; {"": dataset} for one.
        settings: arguments of `audit`; of the thresholds only that which decides on the pairs that are listed.

    Raises:
        BackboneError: the backbone is none.
        DataError: labels do not fit.
        SettingError: there is no such method, or thresholds are none.
    """
    backbone, labels = settings["backbone"], settings["labels"]
    named = isinstance(backbone, (str, Path))
    encoder = str(backbone) if named else resolve(backbone, ImageDataset(()), device=settings["device"]).fingerprint
    if encoder is None:
        return None
    thresholds, _ = checked_settings(settings["method"], settings["thresholds"], None)
    return digest(
        [
            FORMAT,
            [version(package) for package in ("selfclean-hooks", "torch", "timm")],
            [named, encoder, str(settings["device"]), settings["method"], settings["seed"]],
            thresholds.near_duplicates,
            [[name, *_contents(dataset, named), *_asked(name, dataset, settings)] for name, dataset in splits.items()],
            [
                as_labels(labels if name == "" else (labels or {}).get(name), len(dataset))
                for name, dataset in splits.items()
            ],
        ]
    )


def _asked(name: str, dataset: Any, settings: Mapping[str, Any]) -> Iterator[Any]:
    """What was asked for besides: the groups, and that image quality is measured."""
    given = settings.get("group_key")
    key = given.get(name) if isinstance(given, Mapping) else given
    if key is not None:
        yield list(read_groups(dataset, DatasetView(dataset).files, key))
    if settings.get("image_quality"):
        yield "image_quality"


def _contents(dataset: Any, as_stored: bool) -> Iterator[Any]:
    """What there is to know of a data set. Encoders with a name get what is stored, modules what a data set returns."""
    view, n = DatasetView(dataset), len(dataset)
    files = view.files
    yield from (data_fingerprint(view), files, class_names(dataset))
    read = set(evenly(n, READ).tolist()) if n else set()
    with preserve_rng_state(dataset):
        items = (view.stored if as_stored else view.evaluation).items
        for i, file in enumerate(own_files(files)):
            stored = file_key(file) if file else ""
            yield [stored, *(item_digests(items, i) if not stored or i in read else ())]
