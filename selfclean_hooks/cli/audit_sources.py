"""SOURCE... on the command line: one data set, or several splits as NAME=SOURCE."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from selfclean_hooks.cli.sources.open import Source, open_source
from selfclean_hooks.errors import DataError, SourceError
from selfclean_hooks.results.findings import MAX_ITEMS

if TYPE_CHECKING:
    from selfclean_hooks.audits.audit import Audit
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.core.embeddings import Embeddings
    from selfclean_hooks.core.settings import EmbeddingSettings
    from selfclean_hooks.decisions.policy import Policy
    from selfclean_hooks.decisions.thresholds import Thresholds

NAMED = re.compile(r"([\w.-]+)=(.+)", re.DOTALL)


def named_sources(texts: Sequence[str]) -> dict[str, str]:
    """The names of what the command line names; nothing is opened.

    Args:
        texts: one SOURCE, or at least two as NAME=SOURCE. What exists on disk is taken as a path first.

    Returns:
        Name of the split ("" for one data set): source. The one that is trained on ("train", else the first) is first.

    Raises:
        SourceError: names are missing, given twice or for one source alone.
    """
    named = [("", text) if os.path.exists(text) else _named(text) for text in texts]
    names = [name for name, _ in named]
    if names != [""] and ("" in names or len(names) == 1 or len(set(names)) < len(names)):
        raise SourceError(
            "SOURCE is one data set, or at least two splits, each with a name of its own, as train=DIR val=DIR; got "
            + " ".join(texts)
        )
    return dict(sorted(named, key=lambda entry: entry[0] != "train"))


def open_sources(named: Mapping[str, str]) -> dict[str, Source]:
    """Open what `named_sources` named, before any work is done.

    Raises:
        SourceError: one cannot be read.
        DataError: a split has classes that the one that is trained on lacks.
    """
    opened = {}
    for name, text in named.items():
        with _about(name) if name else nullcontext():
            opened[name] = open_source(text)
    if len({source.vectors is None for source in opened.values()}) > 1:
        raise SourceError("splits must all be embeddings, or none of them: one encoder serves all of them")
    _check_classes(opened)
    return opened


def audit_sources(
    opened: Mapping[str, Source],
    backbone: Any,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    reading: EmbeddingSettings,
    max_items: int = MAX_ITEMS,
) -> SplitsAudit:
    """Audit what `open_sources` opened; of several splits nothing but the first is dropped from."""
    from selfclean_hooks.audits.audit_splits import audit_splits, splits_of
    from selfclean_hooks.audits.splits import SplitsAudit
    from selfclean_hooks.decisions.policy import policies_of

    if "" in opened:
        one = _audit_one(opened[""], backbone, method, thresholds, policy, reading, max_items)
        return SplitsAudit({"": one})
    if any(source.vectors is not None for source in opened.values()):
        given = {}
        for name, source in opened.items():
            with _about(name):
                given[name] = audit_vectors(source.vectors, source.labels, source.class_names, source.name)
        policies, bars = policies_of(policy, opened), reading.progress
        found = splits_of(given, method, thresholds, policies, progress=bars, max_items=max_items)
    else:
        found = audit_splits(
            {name: source.dataset for name, source in opened.items()},
            backbone,
            method,
            thresholds,
            policy,
            **vars(reading),
            labels={name: source.labels for name, source in opened.items() if source.labels is not None},
            max_items=max_items,
        )
    audits = {
        name: audit.described(opened[name].name, opened[name].class_names, opened[name].notes)
        for name, audit in found.audits.items()
    }
    return SplitsAudit(audits, found.shifts)


def _audit_one(
    opened: Source,
    backbone: Any,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    reading: EmbeddingSettings,
    max_items: int,
) -> Audit:
    from selfclean_hooks.audits.audit_dataset import audit, audit_embeddings

    if opened.vectors is not None:
        given = opened.vectors, opened.labels, method, thresholds, policy
        found = audit_embeddings(*given, progress=reading.progress, max_items=max_items)
    else:
        how = {**vars(reading), "labels": opened.labels, "max_items": max_items}
        found = audit(opened.dataset, backbone, method, thresholds, policy, **how)
    return found.described(opened.name, opened.class_names, opened.notes)


def _named(text: str) -> tuple[str, str]:
    found = NAMED.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def _check_classes(opened: Mapping[str, Source]) -> None:
    """Of sources that tell their labels at once; now and not after an hour."""
    from selfclean_hooks.core.labels import check_classes, classes_of

    (first, trained_on), *others = opened.items()
    known = classes_of(trained_on.labels, trained_on.class_names)
    for name, source in others:
        check_classes({first: known, name: classes_of(source.labels, source.class_names)})


def audit_vectors(
    vectors: Any, labels: Any = None, class_names: tuple[str, ...] | None = None, name: str = ""
) -> Embeddings:
    """Vectors of the user's own, (N, D), as if they had been embedded here."""
    from selfclean_hooks.core.embeddings import Embeddings
    from selfclean_hooks.core.labels import as_labels, codes_of
    from selfclean_hooks.embedding.quality import quality_of_vectors
    from selfclean_hooks.utils.arrays import as_vectors, fingerprint

    array = as_vectors(vectors)
    codes, words = as_labels(labels, len(array))
    keys = tuple(fingerprint(row) for row in array)
    return Embeddings(
        vectors=array,
        n=len(array),
        errors={},
        labels=codes,
        why_no_labels="there are no labels",
        class_names=class_names or words,
        names=None,
        digests=keys,
        data={"name": name, "fingerprint": fingerprint(array, codes)},
        encoder={"name": "given", "fingerprint": None},
        notes=(),
        keys=keys,
        fitness=quality_of_vectors(array, codes_of(codes), keys),
    )


@contextmanager
def _about(split: str) -> Iterator[None]:
    try:
        yield
    except (SourceError, DataError) as error:
        raise type(error)(f"split {split!r}: {error}") from error
