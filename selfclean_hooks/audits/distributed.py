"""A distributed audit: each process of a training reads a share and compares a share, the first scores and saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.pipeline import audit_of, with_leakage
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.core.embeddings import Embeddings
from selfclean_hooks.data.reader import ImageDataset
from selfclean_hooks.data.views.dataset_view import open_dataset
from selfclean_hooks.embedding.backbones.resolve import resolve_distributed
from selfclean_hooks.embedding.embed import embed_distributed
from selfclean_hooks.embedding.encoders.encoder import Encoder
from selfclean_hooks.embedding.encoders.forward_pass import with_precision
from selfclean_hooks.embedding.quality import rank_me
from selfclean_hooks.errors import BackboneError, PolicyError
from selfclean_hooks.neighbors.screening.device import screening_on
from selfclean_hooks.results.stability import describe, stability
from selfclean_hooks.results.thumbnails import leak_thumbnails, thumbnails
from selfclean_hooks.storage.commit import check_output
from selfclean_hooks.utils.patience import patience
from selfclean_hooks.utils.processes import Processes
from selfclean_hooks.utils.rng import preserve_rng_state
from selfclean_hooks.utils.shared_work import lead


@dataclass(frozen=True, eq=False)
class TrainingAudit:
    """What a training asks to be audited, and what is to be recorded with it.

    Attributes:
        dataset: the training data, as for `audit`, or a `DatasetView`; so are `others`.
        backbone: as for `audit`, or an Encoder.
        others: further splits by name, which are searched for near duplicates of `dataset` (leakage).
        settings: of the audit.
        name: of the data, for the report.
        notes: for the report.
        epoch: of the training that the audit precedes, from 0.
        last: an earlier audit. If it is of the same data, the stability of the rankings is recorded.
        least_rank: smallest RankMe of usable features.
        folder: where the audit is saved, without clean_indices.txt if the policy would drop too much; None: nowhere.
        collate: what makes of items the batch for a backbone that is an Encoder, by code of the user's; then nothing is
            kept between runs.
    """

    dataset: Any
    backbone: Any
    others: Mapping[str, Any]
    settings: AuditSettings
    name: str
    notes: tuple[str, ...]
    epoch: int
    last: Audit | None
    least_rank: float
    folder: Path | None
    collate: Callable[[list[Any]], Any] | None = None


def audit_distributed(processes: Processes, request: TrainingAudit) -> Audit:
    """`audit` by all processes, compared with other splits, saved by the first.

    Args:
        processes: the processes, all of which call this with the same data.
        request: what to audit.

    Raises:
        DataError: a data set cannot be audited.
        BackboneError: the backbone provides no usable features.
        AuditFileError: a folder cannot be written.
    """
    with patience(request.settings.embedding.timeout):
        return _audited(processes, request)


def _audited(processes: Processes, request: TrainingAudit) -> Audit:
    processes.run_on_first(lambda: _check_folder(request.folder))
    settings = request.settings.embedding
    if request.collate is not None and isinstance(request.backbone, Encoder):
        settings = replace(settings, cache_dir=None)
    request = processes.run_on_each(lambda: _opened(request))
    with preserve_rng_state(request.dataset.dataset, *(other.dataset for other in request.others.values())):
        encoder = _encoder(processes, request)

        def read_other(data: Any) -> Embeddings | None:
            return embed_distributed(processes, data, encoder, settings, least=1, fit=False)

        train = embed_distributed(processes, request.dataset, encoder, settings)
        others = {split: read_other(data) for split, data in request.others.items()}
        with screening_on(encoder.device or "cpu"):
            return lead(processes, lambda: _finish(request, encoder.name, train, others))


def _check_folder(folder: Path | None) -> None:
    if folder is not None:
        check_output(folder)


def _opened(request: TrainingAudit) -> TrainingAudit:
    reading = request.settings.embedding
    others = {split: open_dataset(dataset, reading) for split, dataset in request.others.items()}
    return replace(request, dataset=open_dataset(request.dataset, reading), others=others)


def _encoder(processes: Processes, request: TrainingAudit) -> Encoder:
    """One encoder for all data: it may take a while to compile."""
    settings = request.settings.embedding
    resolved = resolve_distributed(
        processes,
        request.backbone,
        ImageDataset(request.dataset),
        progress=settings.progress,
        **settings.of_encoder,
    )
    own = request.collate if isinstance(request.backbone, Encoder) else None
    return processes.run_on_each(lambda: replace(with_precision(resolved, settings), collate=own))


def _finish(
    request: TrainingAudit, encoder_name: str, train: Embeddings | None, others: Mapping[str, Embeddings | None]
) -> Audit:
    """Score, compare, describe and save; in the first process, which alone holds embeddings."""
    assert train is not None
    if (rank := rank_me(train.vectors)) < request.least_rank:
        raise BackboneError(f"the features of {encoder_name} carry no information: RankMe is {rank:.2f}")
    audit = audit_of(train, request.settings)
    splits = {split: embeddings for split, embeddings in others.items() if embeddings is not None}
    audit = with_leakage(audit, train, splits) if splits else audit
    last, fingerprint = request.last, train.data["fingerprint"]
    is_same = last is not None and last.provenance["dataset"]["fingerprint"] == fingerprint
    changes = stability(last, audit) if last is not None and is_same else {}
    settings = request.settings.embedding
    audit = audit.annotated(
        provenance={**audit.provenance, "training": {"epoch": request.epoch, "stability": changes}},
        thumbnails=thumbnails(audit, request.dataset, settings),
        leak_thumbnails=leak_thumbnails(audit, request.others, settings),
    ).described(request.name, notes=(*request.notes, *describe(changes)))
    if request.folder is not None:
        with suppress(PolicyError):  # everything but clean_indices.txt is saved; asking for those raises the error
            audit.save(request.folder)
    return audit
