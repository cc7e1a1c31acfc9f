"""An audit by all processes of a training: each reads a share, the first one scores and writes, all get the result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.pipeline import audit_of, with_leakage
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.core.settings import EmbeddingSettings
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.data.views.dataset_view import raw_view
from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.thresholds import Thresholds
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.embed import embed_distributed
from selfclean_hooks.embedding.encoders.forward_pass import with_precision
from selfclean_hooks.embedding.quality import rank_me
from selfclean_hooks.errors import BackboneError, PolicyError
from selfclean_hooks.results.stability import describe, stability
from selfclean_hooks.results.thumbnails import leak_thumbnails, thumbnails
from selfclean_hooks.utils.files import check_writable
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state


def audit_distributed(
    processes: Processes,
    dataset: Any,
    backbone: Any,
    *,
    others: Mapping[str, Any],
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    reading: EmbeddingSettings,
    name: str,
    notes: Iterable[str],
    epoch: int,
    last: Audit | None,
    least_rank: float,
    folder: Path | None,
) -> Audit:
    """`audit` by all `processes`, compared with `others`, saved by the first.

    Args:
        processes: the processes, all of which call this with the same data.
        dataset: as for `audit`, as are the arguments not listed here.
        backbone: as for `audit`, or an Encoder.
        others: further splits by name; near duplicates of theirs in `dataset` are leakage.
        method: see `audit`.
        thresholds: see `audit`.
        policy: see `audit`.
        reading: how the data is read.
        name: what the data is called.
        notes: for the report.
        epoch: before which of the training this audit is made, from 0.
        last: an earlier audit; if it is of the same data, how stable the rankings are is told.
        least_rank: RankMe that the features must have, at least.
        folder: where the audit is saved, without clean_indices.txt if the policy would drop too much; None: nowhere.

    Raises:
        DataError: a data set cannot be audited.
        BackboneError: no features can be had, or they say nothing.
        AuditFileError: a folder cannot be written.
    """

    def check_folder() -> None:
        if folder is not None:  # now and not after an hour
            check_writable(folder)

    processes.run_on_first(check_folder)
    with preserve_rng_state(dataset, *others.values()):
        stored = processes.run_on_each(lambda: raw_view(dataset))
        pictures, progress = ImageDataset(stored.dataset), reading.progress
        resolved = resolve_distributed(
            processes, backbone, pictures, device=reading.device, seed=reading.seed, progress=progress
        )
        encoder = processes.run_on_each(
            lambda: with_precision(resolved, reading)
        )  # once for all data: it may take a while to compile

        def read(data: Any) -> Embeddings | None:
            return embed_distributed(processes, data, encoder, reading, least=1, fit=False)

        train = embed_distributed(processes, dataset, encoder, reading)
        compared = {split: read(data) for split, data in others.items()}

        def judged() -> Audit:
            assert train is not None  # this process is the first
            if (rank := rank_me(train.vectors)) < least_rank:
                raise BackboneError(f"the features of {encoder.name} say nothing: RankMe is {rank:.2f}")
            found = audit_of(train, method, thresholds, policy, progress)
            splits = {split: embeddings for split, embeddings in compared.items() if embeddings is not None}
            found = with_leakage(found, train, splits) if splits else found
            same = last is not None and last.provenance["dataset"]["fingerprint"] == train.data["fingerprint"]
            changes = stability(last, found) if last is not None and same else {}
            about = {**found.provenance, "training": {"epoch": epoch, "stability": changes}}
            small, others_small = thumbnails(found, dataset, reading), leak_thumbnails(found, others, reading)
            found = replace(found, provenance=about, thumbnails=small, leak_thumbnails=others_small)
            found = found.described(name, notes=(*notes, *describe(changes)))
            if folder is not None:
                with suppress(PolicyError):  # all is written but clean_indices.txt; who asks for these gets the error
                    found.save(folder)
            return found

        with all_cores(processes):
            return processes.run_on_first(judged)


@contextmanager
def all_cores(processes: Processes) -> Iterator[None]:
    """Lets the first of several processes compute with all cores while the others wait; launchers give each a share."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or before
    try:
        if processes.size > 1 and processes.is_first:
            torch.set_num_threads(cores)
        yield
    finally:
        torch.set_num_threads(before)
