"""Stream + encoder -> Embeddings, in one pass and a memory that does not grow with the images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.groups import note_groups
from selfclean_hooks.core.labels import class_codes
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.items import ItemLabel
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.data.views.cached_dataset import nbytes
from selfclean_hooks.data.views.dataset_view import open_dataset
from selfclean_hooks.data.views.item_fields import Fields
from selfclean_hooks.data.views.stream import SampleKeys, group_reader
from selfclean_hooks.embedding.backbones.resolve import resolve
from selfclean_hooks.embedding.collector import Shard, merge_shards
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.forward_pass import with_precision
from selfclean_hooks.embedding.quality import quality_of_vectors
from selfclean_hooks.embedding.source import Source, described
from selfclean_hooks.errors import DataError
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.text import bar

CHUNK, CHUNK_BYTES = 512, 256 << 20  # of items in memory at a time
HEAD, HEAD_BYTES = 4096, 1 << 30  # of those that a self-supervised encoder is trained on


@dataclass(frozen=True, eq=False)
class StreamReading:
    """What one pass over a stream has found.

    Attributes:
        embeddings: of its samples, in order.
        keys: of each sample.
        given: the label of each, as a plain value.
        labels: a plain value -> the first label of this value as the stream gives it.
        fields: which field of an item is what.
    """

    embeddings: Embeddings
    keys: list[str]
    given: list[ItemLabel | None]
    labels: dict[Any, Any]
    fields: Fields


def encoder_of(stream: Any, backbone: Any, reading: EmbeddingSettings) -> Encoder:
    """What a backbone means for a stream: what follows the data follows its first samples.

    Raises:
        DataError: the stream is empty, or an encoder was to be trained and there are no images in it.
        BackboneError: see `resolve`.
    """
    of_data = isinstance(backbone, str) and backbone in ("auto", "self-supervised")
    head = next(_chunks(stream, HEAD if of_data else 32, HEAD_BYTES), [])
    if not head:
        raise DataError("the stream must hold samples, got an empty one")
    view = open_dataset(head, reading)
    with preserve_rng_state(view.dataset):
        found = resolve(backbone, ImageDataset(view), progress=reading.progress, **reading.of_encoder)
    return with_precision(found, reading)


def embed_stream(stream: Any, encoder: Encoder, reading: EmbeddingSettings, keys: SampleKeys) -> StreamReading:
    """Read a stream once and embed it, at most `CHUNK` items at a time.

    Kept in memory are the vectors, and about a kilobyte of each sample.

    Args:
        stream: an iterable of items as `audit` takes them.
        encoder: see `encoder_of`.
        reading: how; items are read by this process.
        keys: of the samples.

    Raises:
        DataError: there are fewer than two samples, nothing can be read, or an item has no key.
    """
    shards, found, names, labels = list[Shard](), list[str](), list[str | None](), dict[Any, Any]()
    group_of, groups = group_reader(reading.group_key), list[str]()
    notes, fields = tuple[str, ...](), Fields()
    with preserve_rng_state(), bar("embedding", reading.progress) as tick:
        for items in _chunks(stream, CHUNK, CHUNK_BYTES):
            found += map(keys, items)
            names += map(keys.name, items)
            groups += map(group_of, items) if group_of is not None else ()
            view = open_dataset(items, reading)
            variant = view.stored if encoder.prepare else view.evaluation
            measured = view.stored.items if reading.image_quality else None
            source = Source(variant.items, (), replace(reading, num_workers=0), False, measured)
            start, part = len(found) - len(items), range(len(items))
            read, more, cache = source.read(encoder, part, "embedding")
            cache.finish(read.first)
            notes, fields = notes or (*variant.notes, *more), variant.items.fields
            shards.append(_behind(start, read.share(part)))
            for at, label in enumerate(read.labels):
                if label is not None and label not in labels:
                    with suppress(DataError):  # no field of its own, so it cannot be replaced either
                        labels[label] = fields.held_label(items[at])
            if tick is not None:
                tick(len(found), None)
    if len(found) < 2:
        raise DataError(f"an audit compares samples: the stream must hold at least 2, got {len(found)}")
    whole = merge_shards(len(found), shards)
    known, vectors = whole.known_labels(), whole.matrix()
    own = described(stream, names, whole, vectors, known, encoder, (encoder.note, *notes))
    fitness = quality_of_vectors(vectors, class_codes(own.labels), [own.digests[i] for i in own.readable])
    own = replace(own, fitness=fitness, groups=tuple(groups), notes=(*own.notes, *note_groups(groups)))
    return StreamReading(own, found, whole.labels, labels, fields)


def _chunks(stream: Any, most: int, most_bytes: int) -> Iterator[list[Any]]:
    """The items in lists of at most that many, or of that many bytes and one item more."""
    items, size = [], 0
    for item in stream:
        items.append(item)
        size += nbytes(item)
        if len(items) == most or size >= most_bytes:
            yield items
            items, size = [], 0
    if items:
        yield items


def _behind(start: int, shard: Shard) -> Shard:
    """What was read of a part, with the positions in the whole."""
    return replace(
        shard,
        positions=range(start, start + len(shard.positions)),
        errors={start + at: why for at, why in shard.errors.items()},
        no_label={start + at: why for at, why in shard.no_label.items()},
    )
