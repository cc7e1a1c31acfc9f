"""SOURCE... on the command line: one data set, or several splits as NAME=SOURCE."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.audits.audit_dataset import audit, audit_embeddings
from selfclean_hooks.audits.audit_splits import audit_splits, split_named, splits_of
from selfclean_hooks.audits.pipeline import led
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.labels import check_same_classes, class_codes, collect_class_names, read_labels
from selfclean_hooks.data.views.item_fields import Fields
from selfclean_hooks.decisions.settings import split_policies
from selfclean_hooks.embedding.quality import quality_of_vectors
from selfclean_hooks.errors import SettingError, SourceError
from selfclean_hooks.sources.columns import ColumnNames
from selfclean_hooks.sources.folder_names import group_of_file
from selfclean_hooks.sources.source import Source, open_source
from selfclean_hooks.sources.splits import splits_in
from selfclean_hooks.utils.arrays import as_vectors, fingerprint, note_identical

if TYPE_CHECKING:
    import torch

    from selfclean_hooks.audits.audit import Audit
    from selfclean_hooks.audits.settings import AuditSettings

NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def named_sources(texts: Sequence[str], without: Path | None = None) -> dict[str, str]:
    """Split the arguments into names and sources; folders are listed, nothing is opened.

    Args:
        texts: one SOURCE, or at least two as NAME=SOURCE. A text that exists on disk is a path. A single folder that
            holds folders named as splits, or tables of several splits, stands for these.
        without: a folder that is not read.

    Returns:
        Name of the split ("" for one data set): source. The training split ("train", else the first) comes first.

    Raises:
        SourceError: names are missing, given twice, or given for a single source.
    """
    named = [("", text) if os.path.exists(text) else _named(text) for text in texts]
    names = [name for name, _ in named]
    if names != [""] and ("" in names or len(names) == 1 or len(set(names)) < len(names)):
        raise SourceError(
            "SOURCE is one data set, or at least two splits, each with a name of its own, as train=DIR val=DIR; got "
            + " ".join(texts)
        )
    if names == [""] and (splits := splits_in(os.path.expanduser(texts[0]), without)):
        return splits
    return dict(sorted(named, key=lambda entry: entry[0] != "train"))


def open_sources(
    named: Mapping[str, str],
    without: Path | None = None,
    columns: ColumnNames = ColumnNames(),  # noqa: B008
    images: str | None = None,
) -> dict[str, Source]:
    """Open what `named_sources` named, before any work starts.

    Args:
        named: sources by name.
        without: a folder that is not read.
        columns: of tables, see `open_source`.
        images: of COCO files, see `open_source`.

    Raises:
        SourceError: one cannot be read.
        DataError: a split has classes that the training split lacks.
    """
    opened = {}
    for name, text in named.items():
        with split_named(name) if name else nullcontext():
            opened[name] = open_source(text, without, columns, images)
    if len({source.vectors is None for source in opened.values()}) > 1:
        raise SourceError("splits must all be embeddings, or none of them: one encoder serves all of them")
    _check_classes(opened)
    return opened


def label_of(text: str, opened: Mapping[str, Source]) -> int | str:
    """The label that a text on the command line stands for: the class of that name, else a whole number, else itself.

    Raises:
        SourceError: the sources have class names, and none is that, nor is it a number.
    """
    names = next((source.class_names for source in opened.values() if source.class_names), ())
    if text in names:
        return names.index(text)
    try:
        return int(text)
    except ValueError:
        if names:
            raise SourceError(
                f"--ignore-label {text!r} is none of the classes: {', '.join(map(repr, names[:20]))}"
            ) from None
        return text


def groups_of(opened: Mapping[str, Source], column: str | None, pattern: str | None) -> Any:
    """Which samples belong together: `group_key` of `audit`, or of `audit_splits` where there are several sources.

    Raises:
        SettingError: both a column and a pattern are given, or the pattern is none.
    """
    if column is not None and pattern is not None:
        raise SettingError("groups are by --group-column or by --group-pattern, got both: leave one out")
    if column is None:
        return None if pattern is None else group_of_file(pattern)
    # of tables the cells; the name of a column of a Hugging Face data set, or of an attribute
    groups = {name: getattr(source.dataset, "groups", None) or column for name, source in opened.items()}
    return groups.get("", groups)


def audit_sources(opened: Mapping[str, Source], backbone: Any, settings: AuditSettings) -> SplitsAudit:
    """Audit what `open_sources` opened. With several splits, samples are dropped from the first alone.

    Raises:
        SettingError: a source holds embeddings, and what images or files tell is asked for.
    """
    reading, vectors = settings.embedding, [each.name for each in opened.values() if each.vectors is not None]
    if vectors and (reading.image_quality or reading.group_key is not None):
        raise SettingError(f"{vectors[0]} holds embeddings, not images: leave --image-quality and --group-... out")
    if "" in opened:
        return SplitsAudit({"": _audit_one(opened[""], backbone, settings)})
    if any(source.vectors is not None for source in opened.values()):
        result = _audit_vectors(opened, settings)
    else:
        datasets = {name: source.dataset for name, source in opened.items()}
        labels = {name: source.labels for name, source in opened.items() if source.labels is not None}
        result = audit_splits(datasets, backbone, **_arguments(settings), labels=labels)
    audits = {name: _described(audit, opened[name]) for name, audit in result.audits.items()}
    return SplitsAudit(audits, result.shifts)


def _audit_one(source: Source, backbone: Any, settings: AuditSettings) -> Audit:
    if source.vectors is not None:
        audit_vectors = partial(
            audit_embeddings,
            source.vectors,
            _known_labels(source, settings),
            settings.method,
            settings.thresholds,
            settings.policy,
            settings.embedding.progress,
            settings.max_items,
            search=settings.search,
            device=settings.embedding.device,
        )
        result = led(settings.embedding.device, audit_vectors)
    else:
        result = audit(source.dataset, backbone, **_arguments(settings), labels=source.labels)
    return _described(result, source)


def _known_labels(source: Source, settings: AuditSettings) -> Sequence[Any] | None:
    """The labels of embeddings, None where one is the ignored one."""
    fields = Fields(ignore_label=settings.embedding.ignore_label)
    return None if source.labels is None else [fields.known(label) for label in source.labels]


def _described(audit: Audit, source: Source) -> Audit:
    """With all that is needed to open the source again."""
    named = {**vars(source.columns), "images": source.images}
    columns = {key: value for key, value in named.items() if value and key != "group"}
    return audit.described(source.name, source.class_names, source.notes, columns)


def _audit_vectors(opened: Mapping[str, Source], settings: AuditSettings) -> SplitsAudit:
    """Audit splits that are all embeddings."""
    embeddings = {}
    for name, source in opened.items():
        with split_named(name):
            known = _known_labels(source, settings)
            device = settings.embedding.device
            embeddings[name] = embeddings_of(source.vectors, known, source.class_names, source.name, device)
    policies = split_policies(settings.policy, opened)
    return led(settings.embedding.device, lambda: splits_of(embeddings, settings, policies))


def _arguments(settings: AuditSettings) -> dict[str, Any]:
    own = {name: value for name, value in vars(settings).items() if name != "embedding"}
    reading = {name: value for name, value in vars(settings.embedding).items() if name != "worker_options"}
    return {**own, **reading}


def embeddings_of(
    vectors: Any,
    labels: Any = None,
    class_names: tuple[str, ...] | None = None,
    name: str = "",
    device: str | torch.device = "cpu",
) -> Embeddings:
    """The user's own vectors, (N, D), as if they had been embedded here."""
    from selfclean_hooks.embedding.encoders.encoder import device_of

    array = as_vectors(vectors)
    known = read_labels(labels, len(array))
    codes = known.values
    keys = tuple(fingerprint(row) for row in array)
    return Embeddings(
        vectors=array,
        n=len(array),
        errors={},
        labels=codes,
        why_no_labels=known.why_none,
        class_names=(class_names or known.class_names) if codes is not None else None,
        names=None,
        digests=keys,
        data={"name": name, "fingerprint": fingerprint(array, codes)},
        encoder={"name": "given", "fingerprint": None},
        notes=(*note_identical(array), *known.notes),
        keys=keys,
        fitness=quality_of_vectors(array, class_codes(codes), keys),
        device=str(device_of(device)),
    )


def _named(text: str) -> tuple[str, str]:
    match = NAMED.fullmatch(text)
    return (match[1], match[2]) if match else ("", text)


def _check_classes(opened: Mapping[str, Source]) -> None:
    """Fail fast where sources already know their labels."""

    def classes(source: Source) -> frozenset[str] | None:
        known = None if source.labels is None else read_labels(source.labels, len(source.labels)).values
        return collect_class_names(known, source.class_names)

    (first, training), *others = opened.items()
    known = classes(training)
    for name, source in others:
        check_same_classes({first: known, name: classes(source)})
