"""Streams audited in one pass each, and what is left of them by the keys of their samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.audit_splits import split_named, splits_of
from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.data.views.stream import SampleKeys, StreamChanges
from selfclean_hooks.decisions.settings import split_policies
from selfclean_hooks.embedding.stream import StreamReading, embed_stream, encoder_of
from selfclean_hooks.errors import DataError
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.results.thumbnails import stream_thumbnails


def audit_streams(
    streams: Mapping[str, Any],
    backbone: Any,
    settings: AuditSettings,
    key: str | Callable[[Any], Any] | None,
    with_images: bool,
) -> tuple[SplitsAudit, dict[str, Callable[[], Any]]]:
    """The audits of streams, and functions that make each stream without what its audit drops.

    Args:
        streams: by name of the split; one alone may be called "".
        backbone: as for `audit`.
        settings: of the audit.
        key: see `clean`.
        with_images: whether the streams are read once more for thumbnails.

    Raises:
        DataError: a stream cannot be audited, or gives other samples in a second pass.
    """
    keys, reading, read = SampleKeys(key), settings.embedding, dict[str, StreamReading]()
    names = sorted(streams, key=lambda name: name != "train")
    encoder = encoder_of(streams[names[0]], backbone, reading)
    for name in names:
        with split_named(name) if name else nullcontext():
            read[name] = embed_stream(streams[name], encoder, reading, keys)
            keys.check_again(streams[name], set(read[name].keys))
        encoder = replace(encoder, file=b"")  # kept with the split that it was trained on
    embeddings = {name: one.embeddings for name, one in read.items()}
    if len(names) > 1:
        result = splits_of(embeddings, settings, split_policies(settings.policy, names))
    else:
        result = SplitsAudit({names[0]: audit_of(embeddings[names[0]], settings)}, ())
    audits = dict(result.audits)
    for name, one in audits.items() if with_images else ():
        audits[name] = replace(one, thumbnails=stream_thumbnails(one, streams[name], reading))
    without: dict[str, Callable[[], Any]] = {
        name: partial(_without, streams[name], read[name], audits[name], keys) for name in names
    }
    return SplitsAudit(audits, result.shifts), without


def _without(stream: Any, read: StreamReading, one: Audit, keys: SampleKeys) -> Any:
    """The stream with the changes of its audit, by key."""
    changes, counts = Corrections.of(one), Counter(read.keys)
    if keys.source is not None and len(counts) < len(read.keys):
        first, times = counts.most_common(1)[0]
        places = [index for index, each in enumerate(read.keys) if each == first]
        raise DataError(f"keys must say which sample is meant, got one {times} times, at {places[:3]}: name another")
    lost = Counter(read.keys[index] for index in changes.dropped.tolist())
    kept = {each: counts[each] - gone for each, gone in lost.items()}
    labels = {}
    for index, source in changes.relabelled.tolist():
        if (label := read.given[source]) not in read.labels:
            raise DataError(f"the label {label!r} has no field of its own to be replaced in: name it with label_key=")
        labels[read.keys[index]] = read.labels[label]
    return StreamChanges(keys, kept, labels, read.fields).applied(stream)
