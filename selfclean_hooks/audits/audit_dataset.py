"""The functions that make an `Audit`: `audit` of a data set, `audit_embeddings` of vectors."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.pipeline import audit_of
from selfclean_hooks.audits.settings import checked_settings
from selfclean_hooks.core.labels import as_labels, codes_of
from selfclean_hooks.core.settings import EmbeddingSettings, Precision
from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.thresholds import Thresholds, required_pair_score
from selfclean_hooks.errors import DataWarning
from selfclean_hooks.results.findings import MAX_ITEMS, checked_max_items, with_max_items
from selfclean_hooks.utils.arrays import as_vectors
from selfclean_hooks.utils.text import listing


def audit_embeddings(
    vectors: Any,
    labels: Any = None,
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    progress: bool = False,
    max_items: int = MAX_ITEMS,
) -> Audit:
    """Audit embeddings that are there already.

    Args:
        vectors: (N, D) float array or tensor, finite, N >= 2; rows are scaled to unit length, the input is left alone.
            A zero row lies at distance 0.5 from everything.
        labels: (N,) classes as integers or words; (N,) floats: numbers to be foretold, NaN for none; (N, C) zeros and
            ones: several labels a sample; or None.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        progress: show a progress bar.
        max_items: findings of each issue that the report shows, at most.

    Returns:
        The Audit, its indices being rows of `vectors`.

    Raises:
        DataError: vectors or labels cannot be audited; says which rows and why.
        SettingError: method, thresholds or policy make no sense.
    """
    from selfclean_hooks.audits.pipeline import provenance, warn_of_missing_pairs
    from selfclean_hooks.detectors.score import score
    from selfclean_hooks.embedding.quality import quality_of_vectors
    from selfclean_hooks.results.finding_neighbors import with_evidence
    from selfclean_hooks.utils.arrays import fingerprint
    from selfclean_hooks.utils.progress import bar

    thresholds, policy = checked_settings(method, thresholds, policy)
    checked_max_items(max_items)
    array = as_vectors(vectors)
    codes, names = as_labels(labels, len(array))
    zero = np.concatenate([~array[s : s + 4096].any(1) for s in range(0, len(array), 4096)]).nonzero()[0]
    if len(zero):
        warnings.warn(
            f"{len(zero)} of {len(array)} embeddings are zero, index {listing(zero)}: they have no direction and are "
            "put at distance 0.5 from everything",
            DataWarning,
            stacklevel=2,
        )
    with bar("comparing", progress) as tick:
        scores = score(array, codes, method=method, pairs_below=required_pair_score(thresholds), tick=tick)
    warn_of_missing_pairs(scores, thresholds)
    scores = replace(scores, class_names=names)
    digests = tuple(fingerprint(row) for row in array)
    fitness = quality_of_vectors(array, codes_of(codes), digests)
    about = provenance({"fingerprint": fingerprint(array, codes)}, None, method, thresholds, policy, fitness=fitness)
    found = Audit(scores, thresholds, policy, about, digests=digests)
    return with_evidence(with_max_items(found, max_items), array, progress=progress)


def audit(
    dataset: Any,
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    device: str = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: bool = True,
    labels: Any = None,
    precision: Precision = "32",
    compile: bool = False,
    max_items: int = MAX_ITEMS,
) -> Audit:
    """Embed a data set and audit it for near duplicates, off-topic samples and label errors.

    Args:
        dataset: any map-style data set; items as tuple, dict, dataclass or alone; pictures as PIL image, array or
            tensor, and for a callable backbone also text, sound, signals or rows. Random augmentation is bypassed on
            copies: the data set itself is left as it is.
        backbone: "auto", "self-supervised", a timm name, an nn.Module, or a callable from a batch to (B, D). Modules
            and callables get what torch's default_collate makes of a batch: of pictures (B, C, H, W) floats in [0, 1]
            (uint8 is divided by 255), of arrays, tensors and lists of numbers a tensor, of text a list of str, of
            dicts a dict of batches. A callable gets a list of tensors where (T,) or (C, T) differ in length.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        device: "auto", or a torch device.
        batch_size: samples per forward pass.
        num_workers: processes that read the data set.
        seed: of whatever is random (self-supervised training). Global random state is left as it was.
        cache_dir: where embeddings are kept between runs, by content and encoder (a function's never are), or None.
        progress: show progress bars.
        labels: classes, numbers or several labels a sample, as for `audit_embeddings`; default: those in the items.
        precision: of the forward pass: "32" as the model has it, "bf16" or "16" for torch's autocast.
        compile: compile the model with torch.compile, which takes a while and pays for many samples.
        max_items: findings of each issue that the report shows, at most: all that are flagged and half as many beyond.
            They and their neighbours are read again for that.

    Returns:
        The Audit, its indices being positions in `dataset`.

    Raises:
        DataError: the data set or the labels cannot be audited.
        BackboneError: no features can be had from the backbone.
        SettingError: a setting makes no sense.
    """
    from selfclean_hooks.embedding.embed import embed
    from selfclean_hooks.results.thumbnails import thumbnails

    thresholds, policy = checked_settings(method, thresholds, policy)
    checked_max_items(max_items)
    reading = EmbeddingSettings(device, batch_size, num_workers, seed, cache_dir, progress, precision, compile)
    e = embed(dataset, backbone, reading, labels=labels)
    found = audit_of(e, method, thresholds, policy, progress, max_items, umap=True)
    return replace(found, thumbnails=thumbnails(found, dataset, reading))
