"""The source that was audited: opened again, and refused where it is not what it was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import glob
from typing import TYPE_CHECKING, Any

import numpy as np

from selfclean_hooks.core.labels import Labels, class_codes, read_labels
from selfclean_hooks.core.scores import class_name
from selfclean_hooks.data.dataset_tree import is_huggingface
from selfclean_hooks.data.digests import digest, file_key, none_on_error, own_files
from selfclean_hooks.data.image_files import ImageFiles, suffix
from selfclean_hooks.data.images import encoded_image
from selfclean_hooks.data.items import split
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.results.display_names import files_of, location_of
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.detection.formats import detection_source
from selfclean_hooks.sources.python_object import is_attribute
from selfclean_hooks.sources.source import Form, Source, open_source
from selfclean_hooks.sources.subsets.folder import common_folder
from selfclean_hooks.sources.subsets.saved import label_column
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.text import visible

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

MOST_NAMED = 3  # samples in a message
AGAIN = "Audit it again, or restore what was audited"


def open_audited(audit: AuditResult, text: str | None = None) -> Source:
    """Open what an audit was made of.

    Args:
        audit: any.
        text: SOURCE as on the command line, where it lies elsewhere now; None: where it was.

    Returns:
        The source; for an audit of a data set made by code that lists files, these files.

    Raises:
        SourceError: it is not there, or it changed since the audit.
    """
    source = _opened(audit, text)
    check_unchanged(audit, source)
    return source


def _opened(audit: AuditResult, text: str | None) -> Source:
    about = audit.provenance.get("dataset") or {}
    name = location_of(audit) if text is None else text
    columns = about.get("columns") or {}
    path = os.path.expanduser(name)
    is_there = os.path.exists(path) or (suffix(path) == ".parquet" and glob(path)) or detection_source(path) is not None
    if text is not None or is_there:
        named = ColumnNames(columns.get("path"), tuple(columns.get("labels", ())))
        return open_source(name, columns=named, images=columns.get("images"))
    source = open_source(name) if is_attribute(name) else Source(name)
    if is_huggingface(source.dataset):
        return source
    files = files_of(audit)
    if files and all(files) and len(set(files)) == len(files):
        return _listed_files(audit, name)
    if source.dataset is not None:
        return source
    if not audit.names and name.isidentifier():  # the class of a data set made by code
        raise SourceError(
            f"the samples of {name} are no files of their own: train on torch.utils.data.Subset(dataset, "
            "audit.clean_indices), or give the source that was audited"
        )
    raise SourceError(
        f"{name} is not here: start in the folder that the audit was started in, or say where it lies now with --source"
    )


def _listed_files(audit: AuditResult, name: str) -> Source:
    """The files of a data set made by code; their folder decides about classes only where labels have names."""
    scores, files = audit.scores, list(files_of(audit) or ())
    if not any(map(os.path.lexists, files)):
        raise SourceError(
            f"{name} is not here, and neither is {visible(files[0])}: start in the folder that the audit was started "
            "in, or say where it lies now with --source"
        )
    is_labelled = scores.targets is None and bool((scores.given_label >= 0).any())
    top = int(scores.given_label.max()) + 1 if is_labelled else 0
    names = tuple(class_name(scores, code) for code in range(max(top, len(scores.class_names or ()))))
    labels = scores.given_label.tolist() if is_labelled else None
    dataset = ImageFiles(files, labels, names if is_labelled else None)
    return Source(name, dataset, labels=labels, class_names=names if is_labelled else None, form=Form.files)


def check_unchanged(audit: AuditResult, source: Source) -> None:
    """See that a source holds the samples that were audited: as many, the same files, labels and contents.

    Raises:
        SourceError: it does not; says what changed.
    """
    data: Any = source.dataset if source.dataset is not None else source.vectors
    paths = getattr(source.dataset, "paths", None) if source.dataset is not None else None
    if paths is not None and audit.names:
        _check_files(audit, source, paths)
    if len(data) != len(audit):
        raise SourceError(
            f"{source.name} changed since the audit: it holds {len(data)} samples, the audit {len(audit)}. {AGAIN}"
        )
    for what, changed in (("label", _other_labels(audit, source)), ("content", _other_contents(audit, source, paths))):
        if changed:
            raise SourceError(
                f"{source.name} changed since the audit: another {what} of {len(changed)} samples, "
                f"{_named([_name(audit, i) for i in changed])}. {AGAIN}"
            )


def _check_files(audit: AuditResult, source: Source, paths: Sequence[str]) -> None:
    before, now = _relative(audit, source, paths)
    missing, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    absent = (
        {before[i] for i in range(len(before)) if i not in audit.scores.errors} if len(before) == len(audit) else set()
    )
    gone = [name for name, path in zip(now, paths, strict=True) if name in absent and not os.path.isfile(path)]
    for what, names in (("missing", [*missing, *gone]), ("new", new)):
        if names:
            raise SourceError(
                f"{source.name} changed since the audit: {len(names)} files are {what}, {_named(names)}. {AGAIN}"
            )
    if before != now:
        raise SourceError(f"{source.name} changed since the audit: its samples are in another order. {AGAIN}")


def _relative(audit: AuditResult, source: Source, paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files then and now, each relative to the folder that they were found from."""
    then = list(files_of(audit) or ())
    if list(paths) == then:
        return then, then
    old = os.path.expanduser(location_of(audit))
    new = source.paths[0]
    if source.form is not Form.folder:
        old, new = os.path.dirname(old), os.path.dirname(new)
    if not all(name.startswith(old) for name in then):  # of a data set made by code
        old, new = common_folder(then), common_folder(paths)
    return [os.path.relpath(name, old) for name in then], [os.path.relpath(path, new) for path in paths]


def _other_labels(audit: AuditResult, source: Source) -> list[int]:
    """Positions of the readable samples whose label is another one than was audited."""
    scores, known = audit.scores, _labels(source)
    was: Any = scores.given_label if scores.targets is None else scores.targets
    if known is None or known.shape != was.shape or (scores.targets is None and (was < 0).all()):
        return []
    if class_codes(known) is not None and scores.targets is None:
        names = source.class_names or scores.class_names
        texts = [names[code] if names and 0 <= code < len(names) else str(code) for code in known.tolist()]
        old = [class_name(scores, code) for code in was.tolist()]
        differs = np.array([one != other for one, other in zip(texts, old, strict=True)])
    else:
        same = np.isclose(known.astype(float), was.astype(float), equal_nan=True)
        differs = ~(same if same.ndim == 1 else same.all(1))
    return [i for i in differs.nonzero()[0].tolist() if i not in scores.errors]


def _labels(source: Source) -> Labels | None:
    labels: Any = source.labels
    if labels is None and is_huggingface(source.dataset):
        dataset: Any = source.dataset
        column = label_column(dataset)
        labels = None if column is None else dataset.with_format(None)[column][:]
    try:
        return None if labels is None else read_labels(labels, len(labels)).values
    except DataError:  # the audit could not read them either
        return None


def _other_contents(audit: AuditResult, source: Source, paths: Sequence[str] | None) -> list[int]:
    """Positions of samples whose content is another one than was audited, as far as that is known."""
    if audit.digests is None:
        return []
    if source.dataset is None:
        vectors: Any = source.vectors
        return [i for i, seen in enumerate(audit.digests) if seen and seen != fingerprint(vectors[i])]
    files = files_of(audit)
    own = own_files(list(files)) if files and paths is not None else [""] * len(audit)
    changed = []
    for i, seen in enumerate(audit.digests):
        if seen and own[i] and paths is not None:
            is_same = file_key(paths[i]) == seen
        else:
            is_same = not seen or seen in _digests(source.dataset, i)
        changed += [] if is_same else [i]
    return changed


def _digests(dataset: Any, i: int) -> tuple[str | None, ...]:
    """Of a sample as encoders of this package read it, and as a function of the user's own was given it."""
    value = none_on_error(lambda: split(dataset[i]).value)
    return none_on_error(lambda: digest(encoded_image(value))), none_on_error(lambda: digest(value))


def _name(audit: AuditResult, i: int) -> str:
    return (audit.names[i] if audit.names else "") or f"index {i}"


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(visible, names[:MOST_NAMED])) + (", ..." if len(names) > MOST_NAMED else "")
