"""Several splits audited with one encoder: each by itself, what they share, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import checked_settings
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.core.labels import check_classes, classes_of
from selfclean_hooks.core.settings import EmbeddingSettings, Precision
from selfclean_hooks.decisions.policy import Policy, policies_of
from selfclean_hooks.decisions.thresholds import Thresholds
from selfclean_hooks.errors import BackboneError, DataError, SettingError
from selfclean_hooks.results.findings import MAX_ITEMS, checked_max_items

if TYPE_CHECKING:
    from selfclean_hooks.core.embeddings import Embeddings
    from selfclean_hooks.embedding.encoders.encoder import Encoder


def audit_splits(
    splits: Mapping[str, Any],
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | Mapping[str, Policy] | None = None,
    device: str = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    labels: Mapping[str, Any] | None = None,
    precision: Precision = "32",
    compile: bool = False,
    max_items: int = MAX_ITEMS,
) -> SplitsAudit:
    """Audit several splits, look for samples that two of them hold, and measure how far they lie apart.

    "train", or else the first split, is taken to be the one that is trained on: a self-supervised encoder is trained on
    it, and only from it samples may be dropped. Where a policy for all splits says "drop", the others warn.

    Args:
        splits: name: data set, at least two.
        backbone: as for `audit`, and so are all that follow; one encoder serves all splits.
        method: as for `audit`.
        thresholds: as for `audit`.
        policy: as for `audit`, for all splits or by name; "drop" may be asked for by name only of the first.
        device: as for `audit`.
        batch_size: as for `audit`.
        num_workers: as for `audit`.
        seed: as for `audit`.
        cache_dir: as for `audit`.
        progress: as for `audit`.
        labels: name: labels of that split; default: those in the items.
        precision: as for `audit`.
        compile: as for `audit`.
        max_items: as for `audit`.

    Raises:
        DataError: a split cannot be audited; says which.
        BackboneError: no features can be had from the backbone.
        SettingError: what is given are not at least two named splits, or a setting makes no sense.
    """
    from selfclean_hooks.embedding.embed import embed

    ordered = _ordered(splits, labels or {})
    policies = policies_of(policy, ordered)
    thresholds, _ = checked_settings(method, thresholds, None)
    checked_max_items(max_items)
    reading = EmbeddingSettings(device, batch_size, num_workers, seed, cache_dir, progress, precision, compile)
    encoder = _encoder(next(iter(ordered.values())), backbone, reading)
    embeddings = {}
    for name, dataset in ordered.items():
        with _about(name):
            embeddings[name] = embed(dataset, encoder, reading, labels=(labels or {}).get(name))
    found = splits_of(embeddings, method, thresholds, policies, seed, progress, max_items, umap=True)
    return _pictured(found, ordered, reading)


def splits_of(
    embeddings: Mapping[str, Embeddings],
    method: str,
    thresholds: Thresholds,
    policies: Mapping[str, Policy],
    seed: int = 0,
    progress: bool = False,
    max_items: int = MAX_ITEMS,
    umap: bool = False,
) -> SplitsAudit:
    """Score what `embed` read of each split; without thumbnails. See `audit_splits`."""
    from selfclean_hooks.audits.pipeline import leakage_search_limit
    from selfclean_hooks.detectors.leakage import find_leakage

    check_classes({name: classes_of(e.labels, e.class_names) for name, e in embeddings.items()})
    audits = {}
    for name, found in embeddings.items():
        with _about(name):
            audits[name] = audit_of(found, method, thresholds, policies[name], progress, max_items, umap)
    first = next(iter(audits.values()))
    local_scale = {name: audit.scores.local_scale for name, audit in audits.items()}
    leaks = find_leakage(
        embeddings, local_scale, leakage_search_limit(first), first.scores.automatic["near_duplicates"]
    )
    audits = {name: replace(a, scores=replace(a.scores, leaks=leaks[name])) for name, a in audits.items()}
    return SplitsAudit(audits, _shifts(embeddings, seed, progress))


def _shifts(embeddings: Mapping[str, Embeddings], seed: int, progress: bool) -> tuple[dict[str, Any], ...]:
    from selfclean_hooks.neighbors.split_shift import split_shift
    from selfclean_hooks.utils.progress import bar

    rows = []
    for one, other in combinations(embeddings, 2):
        with bar(f"shift from {one} to {other}", progress) as tick:
            found = split_shift(embeddings[one].vectors, embeddings[other].vectors, seed=seed, tick=tick)
        rows.append({"split_1": one, "split_2": other, **asdict(found)})
    return tuple(rows)


def _pictured(found: SplitsAudit, datasets: Mapping[str, Any], reading: EmbeddingSettings) -> SplitsAudit:
    from selfclean_hooks.results.thumbnails import leak_thumbnails, thumbnails

    audits = {}
    for name, audit in found.audits.items():
        others = {other: dataset for other, dataset in datasets.items() if other != name}
        small, others_small = thumbnails(audit, datasets[name], reading), leak_thumbnails(audit, others, reading)
        audits[name] = replace(audit, thumbnails=small, leak_thumbnails=others_small)
    return SplitsAudit(audits, found.shifts)


def _ordered(splits: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """The splits, the one that is trained on first; refused before any work is done."""
    from selfclean_hooks.data.dataset_tree import check_map_style

    wanted = 'splits must be at least two data sets by name, as {"train": train, "val": val}'
    if not isinstance(splits, Mapping):
        raise SettingError(f"{wanted}, got {type(splits).__name__}")
    odd = [name for name in splits if not isinstance(name, str) or not name]
    if odd or len(splits) < 2:
        raise SettingError(f"{wanted}, got " + (f"the name {odd[0]!r}" if odd else f"{len(splits)} of them"))
    if not isinstance(labels, Mapping) or set(labels) - set(splits):
        came = sorted(set(labels) - set(splits)) if isinstance(labels, Mapping) else type(labels).__name__
        raise SettingError(f"labels must be given by the name of the split ({', '.join(splits)}), got {came}")
    for name, dataset in splits.items():
        with _about(name):
            check_map_style(dataset)
            if len(dataset) < 2:
                raise DataError(
                    f"an audit compares samples: the data set must hold at least 2, got {len(dataset)}. Leave it out"
                )
    return {name: splits[name] for name in sorted(splits, key=lambda name: name != "train")}


@contextmanager
def _about(split: str) -> Iterator[None]:
    """Errors about one split say which."""
    try:
        yield
    except (DataError, BackboneError) as error:
        raise type(error)(f"split {split!r}: {error}") from error


def _encoder(dataset: Any, backbone: Any, reading: EmbeddingSettings) -> Encoder:
    """One for all splits, made for the one that is trained on."""
    from selfclean_hooks.data.reader import ImageDataset
    from selfclean_hooks.data.views.dataset_view import raw_view
    from selfclean_hooks.embedding.backbones.resolve import resolve
    from selfclean_hooks.embedding.encoders.forward_pass import with_precision
    from selfclean_hooks.utils.rng import preserve_rng_state

    how: dict[str, Any] = {"device": reading.device, "seed": reading.seed, "progress": reading.progress}
    with preserve_rng_state(dataset):
        return with_precision(resolve(backbone, ImageDataset(raw_view(dataset).dataset), **how), reading)
