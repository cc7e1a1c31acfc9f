"""Data set + encoder -> Embeddings. The one file that runs a DataLoader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selfclean_hooks.backbones import resolve_among
from selfclean_hooks.cache import Cache
from selfclean_hooks.collecting import Collected, joined
from selfclean_hooks.encoders import Encoder
from selfclean_hooks.errors import DataError
from selfclean_hooks.keys import own_files
from selfclean_hooks.origins import class_names, file_name
from selfclean_hooks.progress import bar
from selfclean_hooks.provenance import fingerprint
from selfclean_hooks.randomness import kept_rng
from selfclean_hooks.ranks import Ranks
from selfclean_hooks.reading import Pictures, Reader, check_numbers, loader_of
from selfclean_hooks.scores import as_labels
from selfclean_hooks.trees import check_map_style
from selfclean_hooks.views import View, eval_view, raw_view


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Features of the R readable samples of n, and what was learned of the data set while reading it."""

    vectors: NDArray[np.float32]  # (R, D), in order of position
    n: int
    errors: Mapping[int, str]  # position: why it could not be read
    labels: NDArray[np.int64] | None  # (n,) class codes
    why_no_labels: str
    class_names: tuple[str, ...] | None
    names: tuple[str, ...] | None  # file behind each sample, "" where unknown
    digests: tuple[str, ...]  # of the content of each sample, "" where it could not be read
    data: Mapping[str, Any]  # for the manifest
    encoder: Mapping[str, Any]  # for the manifest
    notes: tuple[str, ...]
    keys: tuple[str, ...] = ()  # (n,) what each sample is called for good: see keys.py; "" unreadable without a file
    pixels: NDArray[np.int64] | None = None  # (n,) width x height, -1 unknown; None: no sample is a picture

    @property
    def readable(self) -> NDArray[np.int64]:
        """(R,) positions of the samples that could be read."""
        return np.setdiff1d(np.arange(self.n), list(self.errors))


def embed(
    dataset: Any,
    backbone: Any = "auto",
    *,
    labels: Any = None,
    device: str | torch.device = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Embeddings:
    """Read every sample once, without augmentation, and embed it. See `audit` for the arguments.

    Raises:
        DataError: the data set is empty, of one sample, iterable only, or nothing in it can be read.
        BackboneError: the backbone gives no finite (B, D) features for what the data set holds.
        SettingError: there is no such device, or a number makes no sense.
        AuditFileError: the embedding cache is damaged or cannot be written.
    """
    alone = embed_among(
        Ranks(),
        dataset,
        backbone,
        labels=labels,
        device=device,
        batch_size=batch_size,
        num_workers=num_workers,
        seed=seed,
        cache_dir=cache_dir,
        progress=progress,
    )
    assert alone is not None  # the only process is the first
    return alone


def embed_among(
    ranks: Ranks,
    dataset: Any,
    backbone: Any,
    *,
    labels: Any = None,
    device: str | torch.device = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    least: int = 2,
) -> Embeddings | None:
    """`embed`, each process reading its share of the data set; the result for the first process, None for the others.

    Args:
        ranks: the processes, all of which call this with the same data set.
        dataset: see `audit`, as for what follows.
        backbone: see `audit`, or an Encoder.
        labels: see `audit`.
        device: see `audit`.
        batch_size: see `audit`.
        num_workers: see `audit`; of each process.
        seed: see `audit`.
        cache_dir: see `audit`.
        progress: see `audit`; shown by the first process.
        least: how many samples there must be.
    """
    stored = ranks.each(lambda: _stored(dataset, labels, least, batch_size, num_workers, seed))
    n, progress = len(dataset), progress and ranks.is_first
    files = ranks.each(lambda: [file_name(dataset, i) for i in range(n)])
    with kept_rng(dataset):
        encoder = resolve_among(ranks, backbone, Pictures(stored.dataset), device=device, seed=seed, progress=progress)

        def read_share() -> tuple[Collected, tuple[str, ...], Cache]:
            view = stored if encoder.prepare else eval_view(dataset)
            share, cache, read = ranks.share(n), Cache(cache_dir, encoder.fingerprint), Collected(n)
            reader = Reader(view.dataset, encoder.prepare, own_files(files), cache.known)
            loader, notes = loader_of(reader, batch_size, num_workers, seed, share)
            with encoder.ready(), bar("embedding", progress) as tick:
                for batch in loader:
                    read.take(batch, encoder, cache, reader)
                    if tick is not None:
                        tick(read.seen, len(share))
            cache.flush()  # each process what it has embedded
            return read, (encoder.note, *view.notes, *notes, cache.note), cache

        read, notes, cache = ranks.each(read_share)
    shares = ranks.collect(lambda: read.share(ranks.share(n))) if ranks.size > 1 else []

    def finished() -> Embeddings | None:
        if not ranks.is_first:
            return None
        whole = joined(n, shares) if shares else read
        cache.finish(whole.first)
        vectors = whole.matrix(least)
        return _described(dataset, whole, vectors, labels, files, encoder, notes)

    return ranks.each(finished)


def _described(
    dataset: Any,
    read: Collected,
    vectors: NDArray[np.float32],
    labels: Any,
    files: Sequence[str | None],
    encoder: Encoder,
    notes: tuple[str, ...],
) -> Embeddings:
    """What was read, with its labels and names; `labels` given take the place of those in the items."""
    codes, names = as_labels(labels, read.n)
    why = ""
    if codes is None:
        codes, names, why = read.classes()
    names = names or (class_names(dataset) if codes is not None else None)
    if names is not None and codes is not None and not ((codes >= -1) & (codes < len(names))).all():
        names = None
    return Embeddings(
        vectors=vectors,
        n=read.n,
        errors=read.errors,
        labels=codes,
        why_no_labels=why,
        class_names=names,
        names=tuple(file or "" for file in files) if any(files) else None,
        digests=tuple(read.digests),
        data={"name": type(dataset).__name__, "fingerprint": fingerprint(*read.digests, codes)},
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        notes=tuple(filter(None, notes)),
        keys=tuple(read.keys),
        pixels=read.pixels if (read.pixels >= 0).any() else None,
    )


def _stored(dataset: Any, labels: Any, least: int, batch_size: int, num_workers: int, seed: int) -> View:
    """What the data set holds, once everything about it and the numbers makes sense."""
    check_map_style(dataset)
    check_numbers(batch_size, num_workers, seed)
    if len(dataset) < least:
        raise DataError(f"an audit compares samples: the data set must hold at least {least}, got {len(dataset)}")
    as_labels(labels, len(dataset))  # now and not after an hour
    return raw_view(dataset)
