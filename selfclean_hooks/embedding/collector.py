"""Batches of samples -> features of every sample, read by one process or by several."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfclean_hooks.core.label_text import is_unknown
from selfclean_hooks.core.labels import NO_LABELS, ReadLabels, read_labels, scatter_labels
from selfclean_hooks.data.images import MINIATURE, STATISTICS
from selfclean_hooks.data.items import ItemLabel
from selfclean_hooks.data.reader import Batch, Sample, SampleReader
from selfclean_hooks.embedding.cache import Cache
from selfclean_hooks.embedding.encoders.encoder import Encoder, batch_features
from selfclean_hooks.embedding.lowest_digests import LowestDigests
from selfclean_hooks.embedding.quality import is_constant
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.utils.arrays import not_finite
from selfclean_hooks.utils.text import listing

NOT_FINITE = "it holds NaN or infinity, and so do its features"


@dataclass(frozen=True, eq=False)
class Shard:
    """What one process, or one part of a stream, has read: of the positions given, in order."""

    positions: range
    vectors: NDArray[np.float32] | None  # (len(positions), D)
    labels: list[ItemLabel | None]
    digests: list[str]
    keys: list[str]
    pixels: NDArray[np.int64]
    statistics: NDArray[np.float32]
    miniatures: NDArray[np.uint8] | None
    errors: dict[int, str]
    no_label: dict[int, str]


def merge_shards(n: int, shares: list[Shard]) -> EmbeddingCollector:
    """The reading of all parts as one; copies get the vector of the first of them, as if read at once."""
    read = EmbeddingCollector(n)
    for share in shares:
        rows = slicing(share.positions)
        read.labels[rows], read.digests[rows], read.keys[rows] = share.labels, share.digests, share.keys
        read.pixels[rows], read.statistics[rows] = share.pixels, share.statistics
        if share.miniatures is not None:
            read.miniatures[rows] = share.miniatures
        read.are_images &= share.miniatures is not None
        read.errors.update(share.errors)
        read.no_label.update(share.no_label)
    read.errors, read.no_label = dict(sorted(read.errors.items())), dict(sorted(read.no_label.items()))
    for position, number, row in heapq.merge(*(_places(number, share) for number, share in enumerate(shares))):
        vectors = shares[number].vectors
        if position not in read.errors and vectors is not None:
            read.file(position, read.digests[position], vectors[row])
    return read


def _places(number: int, share: Shard) -> Iterator[tuple[int, int, int]]:
    return ((position, number, row) for row, position in enumerate(share.positions))


def slicing(positions: range) -> slice:
    """The same positions, for lists and arrays."""
    return slice(positions.start, positions.stop, positions.step)


class EmbeddingCollector:
    """What has been read so far."""

    def __init__(self, n: int, at_most: int = 0) -> None:
        """Of n samples; contents are kept of `at_most` of them."""
        self.n, self.seen = n, 0
        self.contents = LowestDigests(at_most)
        self.vectors: NDArray[np.float32] | None = None
        self.errors: dict[int, str] = {}
        self.labels: list[ItemLabel | None] = [None] * n
        self.no_label: dict[int, str] = {}
        self.digests, self.keys = [""] * n, [""] * n
        self.pixels = np.full(n, -1, np.int64)
        self.statistics = np.full((n, STATISTICS), np.nan, np.float32)  # of images, where they are asked for
        self.miniatures = np.zeros((n, MINIATURE, MINIATURE, 3), np.uint8)  # of images
        self.are_images = True  # all that could be read
        self.first: dict[str, int] = {}  # content: its first position; copies get the very same vector

    def take(self, batch: Batch, encoder: Encoder, cache: Cache, reader: SampleReader) -> None:
        """Embed a batch, what the cache does not know of it, and file it."""
        self.seen += len(batch.samples)
        good = [sample for sample in batch.samples if not sample.error]
        for sample in batch.samples:
            self.keys[sample.index], self.pixels[sample.index] = sample.key, sample.pixels
        self.errors.update({sample.index: sample.error for sample in batch.samples if sample.error})
        for sample in good:
            self.labels[sample.index], self.digests[sample.index] = sample.label, sample.digest
            self.are_images &= sample.miniature is not None
            if sample.miniature is not None:
                self.miniatures[sample.index] = sample.miniature
            if sample.statistics is not None:
                self.statistics[sample.index] = sample.statistics
            if sample.no_label:
                self.no_label[sample.index] = sample.no_label
        for at, sample in enumerate(sample for sample in good if not sample.known):
            if sample.is_finite:
                self.contents.add(sample.digest, batch.contents[at])
        vectors = self._features(batch, encoder)
        good = self._without_broken(good, vectors)
        wanted = {s.digest: s.index for s in good if s.known and s.digest not in self.first}
        kept = cache.get(wanted)
        gone = wanted.keys() - kept.keys()  # damaged, or removed by another process
        if gone:
            vectors |= {digest: v for digest, v in self._whole(batch, encoder, reader).items() if digest in gone}
        cache.keep(vectors)
        vectors.update(kept)
        for sample in good:
            self.file(sample.index, sample.digest, vectors.get(sample.digest))

    def _without_broken(self, good: list[Sample], vectors: dict[str, NDArray[np.float32]]) -> list[Sample]:
        """The samples but those that hold NaN or infinity and have such features: they count as unreadable."""
        infinite = {sample.digest for sample in good if not sample.is_finite and sample.digest in vectors}
        broken = {digest for digest in infinite if not np.isfinite(vectors[digest]).all()}
        for digest in broken:
            del vectors[digest]
        self.errors.update({sample.index: NOT_FINITE for sample in good if sample.digest in broken})
        for index in (sample.index for sample in good if sample.digest in broken):
            self.digests[index] = ""
        return [sample for sample in good if sample.digest not in broken]

    def _features(self, batch: Batch, encoder: Encoder) -> dict[str, NDArray[np.float32]]:
        """By digest, of contents that have not been seen before."""
        sent = [sample.digest for sample in batch.samples if not sample.error and not sample.known]
        new = {digest: at for at, digest in enumerate(sent) if digest not in self.first}
        rows = list(new.values())
        contents = batch.contents
        if len(rows) < len(sent):  # else it stays as it came, in pinned memory where there is any
            contents = contents[rows] if isinstance(contents, Tensor) else [contents[at] for at in rows]
        return dict(zip(new, batch_features(encoder, contents), strict=True)) if new else {}

    def _whole(self, batch: Batch, encoder: Encoder, reader: SampleReader) -> dict[str, NDArray[np.float32]]:
        """By digest, as if nothing were known: features differ in rounding by what else is in a batch."""
        good = [sample for sample in batch.samples if not sample.error]
        sent = iter(batch.contents)
        contents: dict[str, Any] = {}
        for sample in good:
            content = None if sample.known else next(sent)
            if sample.digest not in self.first and sample.digest not in contents:
                contents[sample.digest] = reader.content(sample.index) if sample.known else content
        return dict(zip(contents, batch_features(encoder, list(contents.values())), strict=True))

    def file(self, index: int, digest: str, vector: NDArray[np.float32] | None) -> None:
        """Put the vector of a sample in its place; a copy of an earlier sample gets that one's."""
        first = self.first.setdefault(digest, index)
        if self.vectors is not None and first != index:
            vector = self.vectors[first]
        assert vector is not None
        if self.vectors is None:
            self.vectors = np.zeros((self.n, len(vector)), np.float32)
        if vector.shape != self.vectors[index].shape:
            raise BackboneError(
                f"the backbone must give every sample as many features, got {self.vectors.shape[1]} and, "
                f"at index {index}, {len(vector)}"
            )
        self.vectors[index] = vector

    def share(self, positions: range) -> Shard:
        """What was read of `positions`, to be sent."""
        rows = slicing(positions)
        vectors = None if self.vectors is None else self.vectors[rows].copy()
        labels, digests, keys, pixels = self.labels[rows], self.digests[rows], self.keys[rows], self.pixels[rows].copy()
        small = self.miniatures[rows].copy() if self.are_images else None
        measured = self.statistics[rows].copy()
        return Shard(positions, vectors, labels, digests, keys, pixels, measured, small, self.errors, self.no_label)

    def matrix(self, least: int = 2) -> NDArray[np.float32]:
        """(R, D) features of the readable samples."""
        readable = np.setdiff1d(np.arange(self.n), list(self.errors))
        if self.vectors is None or len(readable) < least:
            index, error = next(iter(self.errors.items()))
            raise DataError(
                f"{len(self.errors)} of {self.n} samples cannot be read, so there is nothing to compare; "
                f"index {index}: {error}"
            )
        vectors = self.vectors if len(readable) == self.n else self.vectors[readable]
        bad = not_finite(vectors)
        if len(bad):
            raise BackboneError(
                f"the backbone gave NaN or infinity for {len(bad)} of {self.n} samples, "
                f"index {listing(readable[bad])}: look at these samples, or choose another backbone"
            )
        contents = len(set(self.digests) - {""})
        if contents > 1 and is_constant(vectors):
            raise BackboneError(
                f"the backbone must tell samples apart, got the same features (up to rounding) for all {len(vectors)}, "
                f"though {contents} of them differ in content: it is dead or collapsed. Load trained weights, or "
                "choose another backbone"
            )
        return vectors

    def readable_miniatures(self) -> NDArray[np.uint8] | None:
        """(R, 32, 32, 3) of the readable samples; None if one of them is no image."""
        if not self.are_images:
            return None
        return np.delete(self.miniatures, list(self.errors), 0) if self.errors else self.miniatures

    def known_labels(self) -> ReadLabels:
        """Labels of the n samples, as they are in the items."""
        if self.no_label:
            index, why = next(iter(self.no_label.items()))
            return ReadLabels(None, why_none=f"the targets are no labels (index {index}: {why})")
        known = [i for i in range(self.n) if i not in self.errors]
        held = [self.labels[i] for i in known]
        if all(label is None for label in held):
            return ReadLabels(None, why_none=NO_LABELS)
        if len({isinstance(label, tuple) for label in held if not is_unknown(label)}) > 1:
            bare = [i for i in known if not isinstance(self.labels[i], tuple) and not is_unknown(self.labels[i])]
            why = (
                f"{len(bare)} of {len(known)} samples carry no vector of labels as the others do, index {listing(bare)}"
            )
            return ReadLabels(None, why_none=why)
        try:
            read = read_labels(held, len(known), known)
        except DataError as error:
            return ReadLabels(None, why_none=str(error))
        return (
            read if read.values is None else replace(read, values=scatter_labels(read.values, np.array(known), self.n))
        )
