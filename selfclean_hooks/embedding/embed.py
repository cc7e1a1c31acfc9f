"""Data set + encoder -> Embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.labels import class_codes, has_name_for_every_class, read_labels
from selfclean_hooks.core.settings import DEFAULT_SETTINGS, EmbeddingSettings
from selfclean_hooks.data.dataset_tree import class_names
from selfclean_hooks.data.digests import own_files
from selfclean_hooks.data.reader import ImageDataset, Sample, SampleReader
from selfclean_hooks.data.views.dataset_view import DatasetView, open_dataset, views_note
from selfclean_hooks.data.workers import read_batches
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.cache import Cache, OtherFeaturesError
from selfclean_hooks.embedding.collector import EmbeddingCollector, LowestDigests, merge_shards
from selfclean_hooks.embedding.encoders import forward_pass as forward
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.random_weights import random_copy
from selfclean_hooks.embedding.quality import FEW, LEAST, SAMPLES, SHARE, chosen, representation_quality
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import bar


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
    with patience(reading.timeout), preserve_rng_state(view.dataset):
        images = ImageDataset(view)
        resolved = resolve_distributed(processes, backbone, images, progress=progress, **reading.of_encoder)
        encoder = processes.run_on_each(lambda: forward.with_precision(resolved, reading))
        variant = processes.run_on_each(lambda: view.stored if encoder.prepare else view.evaluation)
        noticed = processes.run_on_each(lambda: (*variant.notes, views_note(variant.items, bool(encoder.prepare))))
        if (make := encoder.collate) is not None:
            encoder = replace(encoder, collate=lambda items: variant.items.fields(make(items)).value)
        source = _Source(variant.items, own_files(files), reading, progress)
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
            notes_on_data = (encoder.note, forward.note(encoder), *noticed, *notes, cache.note)
            described = _described(view, whole, vectors, labels, encoder, notes_on_data)
            return _compared(described, encoder, source, read.contents) if fit else described

        return processes.run_on_each(finished)


@dataclass(frozen=True, eq=False)
class _Source:
    """A data set as it is read for an encoder, once or again in part."""

    dataset: Any
    files: Sequence[str]
    reading: EmbeddingSettings
    progress: bool

    def read(
        self,
        encoder: Encoder,
        positions: Sequence[int],
        what: str,
        at_most: int = 0,
        prepared: Mapping[int, tuple[Sample, Any]] = MappingProxyType({}),
    ) -> tuple[EmbeddingCollector, tuple[str, ...], Cache]:
        """What the encoder makes of the samples there, notes, and the cache that what is new was written to.

        Contents are kept of `at_most` samples, those `prepared` are not read.
        """
        cache = Cache(self.reading.cache_dir, encoder.fingerprint)
        try:
            return *self._read(encoder, cache, positions, what, at_most, prepared), cache
        except OtherFeaturesError:  # the next cache is empty
            empty = Cache(self.reading.cache_dir, encoder.fingerprint)
            read, notes = self._read(encoder, empty, positions, what, at_most, prepared)
            return read, (*notes, cache.note), empty

    def _read(
        self,
        encoder: Encoder,
        cache: Cache,
        positions: Sequence[int],
        what: str,
        at_most: int,
        prepared: Mapping[int, tuple[Sample, Any]],
    ) -> tuple[EmbeddingCollector, tuple[str, ...]]:
        read = EmbeddingCollector(len(self.dataset), at_most)
        whole = encoder.collate is not None
        reader = SampleReader(self.dataset, encoder.prepare, self.files, cache.known, prepared, whole)
        reading = replace(self.reading, num_workers=0) if prepared else self.reading  # workers would get a copy each
        notes: list[str] = []
        batches = read_batches(reader, reading, positions, notes, encoder.device)
        with encoder.ready(), bar(what, self.progress) as tick:
            for batch in batches:
                read.take(batch, encoder, cache, reader)
                if tick is not None:
                    tick(read.seen, len(positions))
        cache.flush()
        return read, tuple(notes)


def _compared_with_random(n: int) -> int:
    """How many of n samples random weights embed too: of more than 2,400 that costs a tenth of the embedding."""
    return min(SAMPLES, max(FEW, n // SHARE))


def _compared(own: Embeddings, encoder: Encoder, source: _Source, kept: LowestDigests) -> Embeddings:
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
    copy: Encoder, source: _Source, positions: NDArray[np.int64], digests: Sequence[str], kept: LowestDigests
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


def _described(
    view: DatasetView,
    read: EmbeddingCollector,
    vectors: NDArray[np.float32],
    labels: Any,
    encoder: Encoder,
    notes: tuple[str, ...],
) -> Embeddings:
    """What was read, with its labels and names; `labels` given take the place of those in the items."""
    known = read.known_labels() if labels is None else read_labels(view.fields.known(labels), read.n)
    names = known.class_names or (class_names(view.dataset) if known.values is not None else None)
    names = names if names is not None and has_name_for_every_class(names, known.values) else None
    return Embeddings(
        vectors=vectors,
        n=read.n,
        errors=read.errors,
        labels=known.values,
        why_no_labels=known.why_none,
        class_names=names,
        names=tuple(file or "" for file in view.files) if any(view.files) else None,
        digests=tuple(read.digests),
        data={"name": type(view.dataset).__name__, "fingerprint": fingerprint(*read.digests, known.values)},
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        notes=(*filter(None, notes), *known.notes),
        keys=tuple(read.keys),
        pixels=read.pixels if (read.pixels >= 0).any() else None,
        miniatures=read.readable_miniatures(),
        encoder_file=encoder.file,
    )


def _opened(dataset: Any, labels: Any, least: int, reading: EmbeddingSettings) -> DatasetView:
    """The view of the data set, once everything about it makes sense."""
    view = open_dataset(dataset, reading)
    if len(view) < least:
        raise DataError(f"an audit compares samples: the data set must hold at least {least}, got {len(view)}")
    read_labels(view.fields.known(labels), len(view))  # fail fast
    return view
