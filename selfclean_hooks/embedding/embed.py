"""Data set + encoder -> Embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.groups import note_groups
from selfclean_hooks.core.labels import class_codes, read_labels
from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings
from selfclean_hooks.data.dataset_tree import read_groups
from selfclean_hooks.data.digests import own_files
from selfclean_hooks.data.reader import ImageDataset, Sample
from selfclean_hooks.data.views.dataset_view import DatasetView, open_dataset, views_note
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.cache import Cache, OtherFeaturesError
from selfclean_hooks.embedding.collector import merge_shards
from selfclean_hooks.embedding.encoders import forward_pass as forward
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.random_weights import random_copy
from selfclean_hooks.embedding.lowest_digests import LowestDigests
from selfclean_hooks.embedding.quality import FEW, LEAST, SAMPLES, SHARE, chosen, representation_quality
from selfclean_hooks.embedding.source import Source, described
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state


def embed(
    dataset: Any,
    backbone: Any = "auto",
    reading: EmbeddingSettings = DEFAULT_SETTINGS,
    *,
    labels: Any = None,
    **settings: Any,
) -> Embeddings:
    """Read every sample once, without augmentation, and embed it.

    Args:
        dataset: see `audit`, or a `DatasetView`.
        backbone: see `audit`, or an Encoder.
        reading: how.
        labels: see `audit`.
        **settings: fields of `reading` that are to have another value.

    Raises:
        DataError: the data set is empty, of one sample, iterable only, or nothing in it can be read.
        BackboneError: the backbone gives no finite (B, D) features for what the data set holds.
        SettingError: there is no such device, or a setting makes no sense.
    """
    alone = embed_distributed(Processes(), dataset, backbone, replace(reading, **settings), labels=labels)
    assert alone is not None  # the only process is the first
    return alone


def embed_distributed(
    processes: Processes,
    dataset: Any,
    backbone: Any,
    reading: EmbeddingSettings,
    *,
    labels: Any = None,
    least: int = 2,
    fit: bool = True,
) -> Embeddings | None:
    """`embed`, each process reading its share of the data set; the result for the first process, None for the others.

    Args:
        processes: the processes, all of which call this with the same data set.
        dataset: see `audit`, or a `DatasetView`.
        backbone: see `audit`, or an Encoder.
        reading: how; the workers are those of each process, progress is shown by the first.
        labels: see `audit`.
        least: how many samples there must be.
        fit: whether the representation is compared with that of random weights.
    """
    view = processes.run_on_each(lambda: _opened(dataset, labels, least, reading))
    n, progress = len(view), reading.progress and processes.is_first
    files = processes.run_on_each(lambda: view.files)
    groups = processes.run_on_each(lambda: read_groups(view.dataset, files, reading.group_key))
    with patience(reading.timeout), preserve_rng_state(view.dataset):
        images = ImageDataset(view)
        resolved = resolve_distributed(processes, backbone, images, progress=progress, **reading.of_encoder)
        encoder = processes.run_on_each(lambda: forward.with_precision(resolved, reading))
        variant = processes.run_on_each(lambda: view.stored if encoder.prepare else view.evaluation)
        noticed = processes.run_on_each(lambda: (*variant.notes, views_note(variant.items, bool(encoder.prepare))))
        if (make := encoder.collate) is not None:
            encoder = replace(encoder, collate=lambda items: variant.items.fields(make(items)).value)
        measured = view.stored.items if reading.image_quality else None
        source = Source(variant.items, own_files(files), reading, progress, measured)
        compared = _compared_with_random(n) if fit and processes.is_first and encoder.module is not None else 0
        read, notes, cache = processes.run_on_each(
            lambda: source.read(encoder, processes.share(n), "embedding", compared)
        )
        shares = processes.gather(lambda: read.share(processes.share(n))) if processes.size > 1 else []

        def finished() -> Embeddings | None:
            if not processes.is_first:
                return None
            whole = merge_shards(n, shares) if shares else read
            cache.finish(whole.first)
            vectors = whole.matrix(least)
            said = (encoder.note, forward.note(encoder), *noticed, *notes, cache.note, *note_groups(groups))
            known = whole.known_labels() if labels is None else read_labels(view.fields.known(labels), n)
            found = described(view.dataset, files, whole, vectors, known, encoder, said)
            found = replace(found, groups=groups)
            return _compared(found, encoder, source, read.contents) if fit else found

        return processes.run_on_each(finished)


def _compared_with_random(n: int) -> int:
    """How many of n samples random weights embed too: of more than 2,400 that costs a tenth of the embedding."""
    return min(SAMPLES, max(FEW, n // SHARE))


def _compared(own: Embeddings, encoder: Encoder, source: Source, kept: LowestDigests) -> Embeddings:
    """With the quality of the representation, beside that of random weights where the encoder has weights."""
    copy = random_copy(encoder)
    at = chosen(own.digests, SAMPLES if copy is None else _compared_with_random(own.n))
    random, note = None, ""
    if copy is not None and len(at) >= LEAST:
        try:
            random = _by_random_weights(copy, source, at, [own.digests[i] for i in at], kept)
        except (BackboneError, DataError) as error:  # the audit does not depend on it
            note = f"the representation could not be compared with that of random weights: {error}"
    vectors = own.vectors if len(at) == len(own.vectors) else own.vectors[np.searchsorted(own.readable, at)]
    known = class_codes(own.labels)
    fitness = representation_quality(vectors, None if known is None else known[at], random)
    return replace(own, fitness=fitness, notes=(*own.notes, *filter(None, (note,))))


def _by_random_weights(
    copy: Encoder, source: Source, positions: NDArray[np.int64], digests: Sequence[str], kept: LowestDigests
) -> NDArray[np.float32] | None:
    """(K, D) features of what was kept, the rest from the cache or read again; None if they are not finite."""
    try:
        known = Cache(source.reading.cache_dir, copy.fingerprint).get(digests)
    except OtherFeaturesError:
        known = {}
    new = {int(at): seen for at, seen in zip(positions, digests, strict=True) if seen not in known}
    if new:
        held = kept.contents
        prepared = {at: (Sample(at, digest=seen), held[seen]) for at, seen in new.items() if seen in held}
        if 2 * len(prepared) < len(new):  # read by workers instead
            prepared.clear()
        read, _, cache = source.read(copy, list(new), "comparing with random weights", prepared=prepared)
        cache.finish(read.first)
        if read.vectors is None or read.errors:
            index, error = next(iter(read.errors.items()))
            raise DataError(f"index {index} could be read once and not again: {error}")
        known.update((seen, read.vectors[at]) for at, seen in zip(positions, digests, strict=True) if seen not in known)
    features = np.stack([known[seen] for seen in digests])
    return features if np.isfinite(features).all() else None


def _opened(dataset: Any, labels: Any, least: int, reading: EmbeddingSettings) -> DatasetView:
    """The view of the data set, once everything about it makes sense."""
    view = open_dataset(dataset, reading)
    if len(view) < least:
        raise DataError(f"an audit compares samples: the data set must hold at least {least}, got {len(view)}")
    read_labels(view.fields.known(labels), len(view))  # fail fast
    return view
