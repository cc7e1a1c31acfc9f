"""The functions that make an `Audit`: `audit` for a data set, `audit_embeddings` for vectors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.pipeline import (
    audit_of,
    led,
    provenance,
    search_notes,
    search_of,
    search_settings,
    warn_of_missing_pairs,
)
from selfclean_hooks.audits.settings import AuditOptions, audit_settings, checked_settings, unpack_options
from selfclean_hooks.core.labels import class_codes, read_labels
from selfclean_hooks.decisions.settings import Policy, Thresholds, required_pair_score
from selfclean_hooks.embedding.quality import quality_of_vectors
from selfclean_hooks.errors import DataError, DataWarning
from selfclean_hooks.results.finding_neighbors import with_evidence
from selfclean_hooks.results.findings import MAX_ITEMS, checked_max_items, with_max_items
from selfclean_hooks.utils.arrays import as_vectors, fingerprint, note_identical
from selfclean_hooks.utils.memory import release_mapped
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.text import bar, listing


def audit_embeddings(
    vectors: Any,
    labels: Any = None,
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    progress: bool = False,
    max_items: int = MAX_ITEMS,
    images: Sequence[Any] | None = None,
    search: str = "exact",
    device: Any = "auto",
) -> Audit:
    """Audit precomputed embeddings.

    Args:
        vectors: (N, D) float array or tensor, finite, N >= 2; or the path of a .npy file of them, which is mapped and
            not read into memory, as a `numpy.memmap` is. Rows are scaled to unit length in a copy. A zero row has
            distance 0.5 to everything.
        labels: (N,) classes, integers or strings; (N,) floats, regression targets; (N, C) zeros and ones, several
            labels a sample; or None. None, NaN, -1, -100, "" and "nan" stand for a missing label or entry.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        progress: show a progress bar.
        max_items: findings of each issue that the report shows, at most.
        images: N images, in the order of the vectors: PIL images or arrays (H, W), (H, W, C) or (C, H, W). Near
            duplicates are then looked for in the pixels too.
        search: of the neighbours that vote on labels: "exact", or "approximate" by faiss, for hundreds of thousands of
            samples. How many neighbours that finds is measured, and said in a note of the audit. All else is exact.
        device: that compares: a torch device, or "auto" for an accelerator if there is one. What is found does not
            depend on it.

    Returns:
        The Audit; its indices are rows of `vectors`.

    Raises:
        DataError: vectors or labels cannot be audited; says which rows and why.
        SettingError: method, thresholds, policy, max_items or device is not valid.
    """
    from selfclean_hooks.detectors.methods import score
    from selfclean_hooks.embedding.encoders.encoder import device_of
    from selfclean_hooks.neighbors.screening.device import screening_on
    from selfclean_hooks.neighbors.unit_vectors import UnitRows, zero_rows
    from selfclean_hooks.utils.torch_settings import on_cpu

    thresholds, policy = checked_settings(method, thresholds, policy)
    checked_max_items(max_items)
    neighbor_search, where = search_of(search), device_of(device)
    array = as_vectors(vectors)
    known = read_labels(labels, len(array))
    codes = known.values
    zero = zero_rows(array)
    if len(zero):
        warnings.warn(
            f"{len(zero)} of {len(array)} embeddings are zero, index {listing(zero)}: they have no direction, so their "
            "distance to everything is set to 0.5",
            DataWarning,
            stacklevel=2,
        )
    for same in (identical := note_identical(array)):
        warnings.warn(same, DataWarning, stacklevel=2)
    with on_cpu():
        rows = UnitRows.of(array)
    release_mapped(array)
    with screening_on(where), bar("comparing", progress) as tick:
        scores = score(
            rows,
            codes,
            method=method,
            pairs_below=required_pair_score(thresholds),
            why_no_labels=known.why_none,
            miniatures=None if images is None else _miniatures(images, len(array)),
            search=neighbor_search,
            tick=tick,
        )
    warn_of_missing_pairs(scores, thresholds)
    scores = replace(scores, class_names=known.class_names)
    digests = tuple(fingerprint(row) for row in array)
    quality = quality_of_vectors(array, class_codes(codes), digests)
    data = {"fingerprint": fingerprint(array, codes)}
    origin = provenance(
        data, None, method, thresholds, policy, (*identical, *known.notes, *search_notes(neighbor_search)), quality
    )
    origin["settings"] |= search_settings(neighbor_search)
    result = Audit(scores, thresholds, policy, origin, digests=digests)
    with screening_on(where):
        return with_evidence(with_max_items(result, max_items), rows, progress=progress)


@unpack_options
def audit(
    dataset: Any,
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    policy: Policy | None = None,
    **options: Unpack[AuditOptions],
) -> Audit:
    """Embed a data set and audit it for near duplicates, off-topic samples and label errors.

    Args:
        dataset: any map-style data set. Items are a tuple, dict, dataclass or a single value; images as PIL image,
            array or tensor, and with a callable backbone also text, audio, signals or table rows. Random augmentation
            is bypassed in copies: the data set itself is not changed.
        backbone: "auto", "self-supervised", a timm name, "hf:NAME" (a model of transformers, on the Hugging Face hub or
            in a folder; images are prepared by its image processor, texts by its tokenizer; its modules are taken as
            they are, too), a file of weights, an nn.Module, or a callable from a batch to (B, D). Modules
            and callables get what torch's default_collate makes of a batch: images as (B, C, H, W) floats in [0, 1]
            (uint8 is divided by 255), arrays, tensors and lists of numbers as a tensor, text as a list of str, dicts as
            a dict of batches, images as bytes or as a path in a text decoded. A callable gets a list of tensors where
            (T,) or (C, T) differ in length.
        method: "default", or "selfclean" for the scores of the paper.
        thresholds: where a score becomes a flag.
        policy: what a flag does.
        **options: the settings that follow, all optional.
        device: "auto", or a torch device; the samples are compared on it, too.
        batch_size: samples per forward pass.
        num_workers: processes that read the data set.
        seed: seed of self-supervised training. Global random state is not changed.
        cache_dir: folder that keeps embeddings between runs, by content and encoder (never those of a function), or
            None.
        progress: show progress bars.
        labels: classes, regression targets or several labels a sample, as for `audit_embeddings`; default: those in
            the items.
        precision: of the forward pass: "32" as the model is, "bf16" or "16" for torch's autocast.
        compile: compile the model with torch.compile; takes a while and pays off for many samples.
        max_items: findings of each issue that the report shows, at most: all flagged ones and those next in rank. They
            and their neighbours are read again for that.
        timeout: seconds to wait for a sample, after which the audit ends with an error that names it; None: for ever,
            with a line after a minute. Without workers a sample that is stuck in the system cannot be ended.
        input_key: name or position of the field of an item that is audited, as "photo" or 1; default: by convention.
        label_key: the same of its label, as "fine_label".
        ignore_label: the label that means that a sample has none, as 255.
        group_key: which samples belong together, as the images of a patient, the frames of a film or a burst: they are
            no near duplicates of each other, and no leakage. Name of a column of a Hugging Face data set, or of an
            attribute with one entry for each sample; a function of the file of a sample; or N groups, None for none.
        image_quality: look for images that are dark, bright, blurry, blank, or of an odd size or shape, too; the
            issue "image_quality" of `Policy`, `Limits` and `Thresholds`.
        kept_encoder: the encoder.safetensors of a saved audit: used instead of a training on the same images with the
            same seed; else passed over, and a note says so.
        search: of neighbours, as for `audit_embeddings`.

    Returns:
        The Audit; its indices are positions in `dataset`.

    Raises:
        DataError: the data set or the labels cannot be audited.
        BackboneError: the backbone provides no usable features.
        SettingError: a setting is not valid.
    """
    from selfclean_hooks.data.views.dataset_view import open_dataset
    from selfclean_hooks.embedding.embed import embed_distributed
    from selfclean_hooks.results.thumbnails import thumbnails
    from selfclean_hooks.utils.processes import Processes

    settings = audit_settings(method, thresholds, policy, options)
    processes, reading = Processes.in_force(), settings.embedding
    with patience(reading.timeout):
        view = processes.run_on_each(lambda: open_dataset(dataset, reading))
        embeddings = embed_distributed(processes, view, backbone, reading, labels=options.get("labels"))

        def finished() -> Audit:
            assert embeddings is not None  # in the first process
            result = audit_of(embeddings, settings, tsne=True)
            return result.annotated(thumbnails=thumbnails(result, view, reading))

        return led(reading.device, finished)


def _miniatures(images: Sequence[Any], n: int) -> NDArray[np.uint8]:
    """(N, 32, 32, 3) of N images."""
    from selfclean_hooks.data.images import MINIATURE, miniature  # torch, which reading a saved audit does without

    if len(images) != n:
        raise DataError(f"images must be as many as the vectors, in their order: {n}, got {len(images)}")
    small = np.zeros((n, MINIATURE, MINIATURE, 3), np.uint8)
    for index, image in enumerate(images):
        made = miniature(image)
        if made is None:
            raise DataError(
                f"images must be PIL images or arrays (H, W), (H, W, C) or (C, H, W), got {type(image).__name__} at "
                f"index {index}: convert it, or leave images out"
            )
        small[index] = made
    return small
