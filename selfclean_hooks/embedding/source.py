"""The samples of a data set as they are read for an encoder, and what was read, described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.labels import ReadLabels, has_name_for_every_class
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.dataset_tree import class_names
from selfclean_hooks.data.reader import Sample, SampleReader
from selfclean_hooks.data.workers import read_batches
from selfclean_hooks.embedding.cache import Cache, OtherFeaturesError
from selfclean_hooks.embedding.collector import EmbeddingCollector
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.arrays import fingerprint
from selfclean_hooks.utils.text import bar


@dataclass(frozen=True, eq=False)
class Source:
    """A data set as it is read for an encoder, once or again in part."""

    dataset: Any
    files: Sequence[str]
    reading: EmbeddingSettings
    progress: bool
    measured: Any = None  # the same data set with the images whose quality is measured; None: it is not

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
        reader = SampleReader(self.dataset, encoder.prepare, self.files, cache.known, prepared, whole, self.measured)
        reading = replace(self.reading, num_workers=0) if prepared else self.reading  # workers would get a copy each
        notes: list[str] = []
        batches = read_batches(reader, reading, positions, notes, encoder.device)
        with encoder.ready(), bar(what, self.progress) as tick:
            for batch in batches:
                if self.measured is not None and not prepared:
                    _check_measured(batch.samples)
                read.take(batch, encoder, cache, reader)
                if tick is not None:
                    tick(read.seen, len(positions))
        cache.flush()
        return read, tuple(notes)


def _check_measured(samples: Sequence[Sample]) -> None:
    for sample in samples:
        if sample.statistics is None and not sample.error:
            raise DataError(
                "image quality is measured on images of up to 4 channels, and the sample at index "
                f"{sample.index} is none: leave image_quality (--image-quality) out"
            )


def described(
    dataset: Any,
    files: Sequence[str | None],
    read: EmbeddingCollector,
    vectors: NDArray[np.float32],
    known: ReadLabels,
    encoder: Encoder,
    notes: tuple[str, ...],
) -> Embeddings:
    """What was read of a data set, with its labels and the names of its samples."""
    names = known.class_names or (class_names(dataset) if known.values is not None else None)
    names = names if names is not None and has_name_for_every_class(names, known.values) else None
    return Embeddings(
        vectors=vectors,
        n=read.n,
        errors=read.errors,
        labels=known.values,
        why_no_labels=known.why_none,
        class_names=names,
        names=tuple(file or "" for file in files) if any(files) else None,
        digests=tuple(read.digests),
        data={"name": type(dataset).__name__, "fingerprint": fingerprint(*read.digests, known.values)},
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        notes=(*filter(None, notes), *known.notes),
        keys=tuple(read.keys),
        pixels=read.pixels if (read.pixels >= 0).any() else None,
        miniatures=read.readable_miniatures(),
        statistics=None if np.isnan(read.statistics).all() else read.statistics,
        encoder_file=encoder.file,
        device=str(encoder.device or "cpu"),
    )
