"""Data set + encoder -> Embeddings. The one file that runs a DataLoader."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from selfclean_hooks.backbones import Encoder, resolve
from selfclean_hooks.cache import Cache
from selfclean_hooks.errors import BackboneError, DataError
from selfclean_hooks.items import as_array, class_label, digest, picture, split, to_rgb
from selfclean_hooks.origins import class_names, file_name
from selfclean_hooks.progress import bar
from selfclean_hooks.provenance import fingerprint
from selfclean_hooks.randomness import kept_rng
from selfclean_hooks.scores import as_labels, listing
from selfclean_hooks.trees import check_map_style
from selfclean_hooks.views import eval_view, raw_view


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
    data: Mapping[str, Any]  # for the manifest
    encoder: Mapping[str, Any]  # for the manifest
    notes: tuple[str, ...]


def embed(
    dataset: Any,
    backbone: Any = "auto",
    *,
    labels: Any = None,
    device: str = "auto",
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
    """
    check_map_style(dataset)
    n = len(dataset)
    if n < 2:
        raise DataError(f"an audit compares samples: the data set must hold at least 2, got {n}")
    given, given_names = as_labels(labels, n)
    with kept_rng():
        stored = raw_view(dataset)
        encoder = resolve(backbone, Pictures(stored.dataset), device=device, seed=seed, progress=progress)
        view = stored if encoder.prepare else eval_view(dataset)
        reader = _Reader(view.dataset, encoder.prepare)
        workers, notes = _workers(reader, num_workers)
        loader = DataLoader(
            reader, batch_size, num_workers=workers, collate_fn=list, generator=torch.Generator().manual_seed(seed)
        )
        read, cache = _Read(n), Cache(cache_dir, encoder.fingerprint)
        with encoder.ready(), bar("embedding", progress) as tick:
            for batch in loader:
                read.take(batch, encoder, cache)
                if tick is not None:
                    tick(read.seen, n)
    cache.keep(read.first, read.vectors)
    if given is not None:
        codes, names, why = given, given_names, ""
    else:
        codes, names, why = read.classes()
    names = names or (class_names(dataset) if codes is not None else None)
    if names is not None and codes is not None and not ((codes >= -1) & (codes < len(names))).all():
        names = None
    files = [file_name(dataset, i) for i in range(n)]
    digests = fingerprint(*read.digests, codes)
    return Embeddings(
        vectors=read.matrix(),
        n=n,
        errors=read.errors,
        labels=codes,
        why_no_labels=why,
        class_names=names,
        names=tuple(file or "" for file in files) if any(files) else None,
        data={"name": type(dataset).__name__, "fingerprint": digests},
        encoder={"name": encoder.name, "fingerprint": encoder.fingerprint},
        notes=tuple(note for note in (encoder.note, *view.notes, *notes) if note),
    )


class Pictures(Dataset[Image.Image]):
    """The pictures of a data set, without labels."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Image.Image:
        """The picture at a position; raises what the data set raises."""
        value = split(self.dataset[index]).value
        found = picture(value)
        if found is None:
            raise DataError(
                f"this backbone embeds pictures, got {type(value).__name__} at index {index}: pass a function from a batch "
                "of such items to (B, D) as backbone"
            )
        return found


@dataclass(frozen=True)
class _Sample:
    """One item as a worker sends it: its content or why there is none."""

    index: int
    content: Any = None
    label: int | str | None = None
    no_class: str = ""  # why the target is no class
    digest: str = ""
    error: str = ""


class _Reader(Dataset[_Sample]):
    """Reads, catches what an item raises, and prepares it for the encoder; runs in the workers."""

    def __init__(self, dataset: Any, prepare: Callable[[Any], Tensor] | None) -> None:
        self.dataset, self.prepare, self.pictures = dataset, prepare, Pictures(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> _Sample:
        try:
            value, target = split(self.dataset[index])
            content = self._content(value, index)
            seen = digest(value)
        except Exception as error:  # anything a user's data set raises: recorded by index, and the audit goes on
            return _Sample(index, error=f"{type(error).__name__}: {error}".strip())
        try:
            return _Sample(index, content, class_label(target), digest=seen)
        except DataError as error:
            return _Sample(index, content, no_class=str(error), digest=seen)

    def _content(self, value: Any, index: int) -> Any:
        if self.prepare is None:
            return as_input(value)
        found = picture(value)
        return self.prepare(found if found is not None else self.pictures[index])


def as_input(value: Any) -> Any:
    """An item as a user's own model is fed it: pictures become (C, H, W) floats in [0, 1], tensors of floats stay."""
    if isinstance(value, Image.Image):
        value = np.asarray(value if value.mode in ("L", "RGB") else to_rgb(value))
    if isinstance(value, np.ndarray) and value.ndim in (2, 3) and as_array(value) is not None:
        value = value[..., None] if value.ndim == 2 else value
        if value.shape[-1] in (1, 3, 4) and value.shape[0] not in (1, 3, 4):
            value = np.moveaxis(value, -1, 0)
        value = torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    return value.float() / 255 if isinstance(value, Tensor) and value.dtype == torch.uint8 else value


class _Read:
    """What has been read so far."""

    def __init__(self, n: int) -> None:
        self.n, self.seen = n, 0
        self.vectors: NDArray[np.float32] | None = None
        self.errors: dict[int, str] = {}
        self.labels: list[int | str | None] = [None] * n
        self.no_class: dict[int, str] = {}
        self.digests = [""] * n
        self.first: dict[str, int] = {}  # content: its first position; copies get the very same vector

    def take(self, batch: list[_Sample], encoder: Encoder, cache: Cache) -> None:
        """Embed a batch, what the cache does not know of it, and file it."""
        self.seen += len(batch)
        good = [sample for sample in batch if not sample.error]
        self.errors.update({sample.index: sample.error for sample in batch if sample.error})
        for sample in good:
            self.labels[sample.index], self.digests[sample.index] = sample.label, sample.digest
            if sample.no_class:
                self.no_class[sample.index] = sample.no_class
        new = {s.digest: s for s in good if s.digest not in self.first and s.digest not in cache}
        vectors = dict(zip(new, _features(encoder, list(new.values())), strict=True)) if new else {}
        for sample in good:
            first = self.first.setdefault(sample.digest, sample.index)
            known = first != sample.index and self.vectors is not None
            vector = self.vectors[first] if known else vectors.get(sample.digest, cache.get(sample.digest))
            if self.vectors is None:
                self.vectors = np.zeros((self.n, len(vector)), np.float32)
            self.vectors[sample.index] = vector

    def matrix(self) -> NDArray[np.float32]:
        """(R, D) features of the readable samples."""
        readable = np.setdiff1d(np.arange(self.n), list(self.errors))
        if self.vectors is None or len(readable) < 2:
            index, error = next(iter(self.errors.items()))
            raise DataError(
                f"{len(self.errors)} of {self.n} samples cannot be read, so there is nothing to compare; index {index}: {error}"
            )
        vectors = self.vectors if len(readable) == self.n else self.vectors[readable]
        bad = (~np.isfinite(vectors).all(1)).nonzero()[0]
        if len(bad):
            raise BackboneError(
                f"the backbone gave NaN or infinity for {len(bad)} of {self.n} samples, index {listing(readable[bad])}: "
                "look at these samples, or choose another backbone"
            )
        return vectors

    def classes(self) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None, str]:
        """Class codes (n,), class names where labels were words, or why there are none."""
        if self.no_class:
            index, why = next(iter(self.no_class.items()))
            return None, None, f"the targets are no classes (index {index}: {why})"
        unknown = [i for i in range(self.n) if self.labels[i] is None and i not in self.errors]
        readable = self.n - len(self.errors)
        if len(unknown) == readable:
            return None, None, "there are no labels"
        if unknown:
            return None, None, f"{len(unknown)} of {readable} samples carry no label, index {listing(unknown)}"
        known = [i for i in range(self.n) if i not in self.errors]
        try:
            codes, names = as_labels([self.labels[i] for i in known], len(known))
        except DataError as error:
            return None, None, str(error)
        out = np.full(self.n, -1, np.int64)
        out[known] = codes
        return out, names, ""


def _features(encoder: Encoder, samples: list[_Sample]) -> NDArray[np.float32]:
    """(B, D) float32 of the samples' contents."""
    batch = _stacked([sample.content for sample in samples])
    if isinstance(batch, Tensor) and encoder.device is not None:
        batch = batch.to(encoder.device)
    shape = f"a batch of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else f"a {type(batch).__name__}"
    try:
        features = encoder.features(batch)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, BackboneError):
            raise
        raise BackboneError(
            f"the backbone {encoder.name} does not take {shape}: {error}. Give the data set the transform that the model was "
            "trained with, or pass a timm name, which brings its own"
        ) from error
    if isinstance(features, np.ndarray):
        features = torch.from_numpy(features)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(samples):
        came = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise BackboneError(f"the backbone must give (B, D) features, ({len(samples)}, D) for {shape}, got {came}")
    return features.detach().float().cpu().numpy()


def _stacked(contents: list[Any]) -> Any:
    if not isinstance(contents[0], Tensor):
        return default_collate(contents)
    shapes = sorted({tuple(content.shape) for content in contents})
    if len(shapes) > 1:
        raise DataError(
            f"the samples of a batch must have one shape, got {' and '.join(map(str, shapes[:3]))}: give the data set a "
            "transform that resizes, or pass a timm name as backbone, which brings its own"
        )
    return torch.stack(contents)


def _workers(reader: _Reader, wanted: int) -> tuple[int, tuple[str, ...]]:
    """How many workers can read: none where they are not forked and the data set cannot be sent to them."""
    if wanted == 0 or multiprocessing.get_start_method() == "fork":
        return wanted, ()
    try:
        pickle.dumps(reader)
    except Exception as error:  # pickle raises whatever an object's own __reduce__ does
        return 0, (f"the data set cannot be sent to worker processes ({error}): it is read without workers",)
    return wanted, ()
