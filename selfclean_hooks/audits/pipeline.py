"""Embeddings to an audit, its provenance, and what is added afterwards: leakage and training margins."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.settings import AuditSettings
from selfclean_hooks.core.embeddings import RepresentationQuality
from selfclean_hooks.core.groups import with_group_leakage, without_group_pairs
from selfclean_hooks.core.scores import Scores, scatter_scores
from selfclean_hooks.decisions.settings import Policy, Thresholds, required_pair_score
from selfclean_hooks.detectors.image_quality import with_image_quality
from selfclean_hooks.embedding.quality import rank_me
from selfclean_hooks.errors import DataError, DataWarning
from selfclean_hooks.results.finding_neighbors import with_evidence
from selfclean_hooks.results.findings import with_max_items
from selfclean_hooks.utils.arrays import as_vectors
from selfclean_hooks.utils.text import bar, listing

if TYPE_CHECKING:
    from selfclean_hooks.core.embeddings import Embeddings
    from selfclean_hooks.neighbors.approximate_search import NeighborSearch


T = TypeVar("T")
BLANK = "they are blank, or the encoder sees nothing in them. They count as far from all but their copies"


def audit_of(embeddings: Embeddings, settings: AuditSettings, tsne: bool = False) -> Audit:
    """Score what `embed` returned, on the device that embedded; without thumbnails. `tsne`: see `with_evidence`."""
    from selfclean_hooks.neighbors.screening.device import screening_on
    from selfclean_hooks.neighbors.unit_vectors import repeated_blanks, with_blank_directions, zero_rows

    e, thresholds, policy = embeddings, settings.thresholds, settings.policy
    own = as_vectors(e.vectors, blank=True)  # copies of one sample are a finding
    contents = [e.digests[at] for at in e.readable.tolist()]
    vectors, blank = with_blank_directions(own, contents, repeated_blanks([(own, contents)])), zero_rows(own)
    search = search_of(settings.search)
    scores = without_group_pairs(
        _scores(e, vectors, settings, search), [e.groups[i] for i in e.readable] if e.groups else ()
    )
    warn_of_missing_pairs(scores, thresholds)
    scores = scatter_scores(scores, e.readable, e.n, errors=e.errors, class_names=e.class_names)
    scores = with_image_quality(replace(scores, pixels=e.pixels), e.statistics)
    doubts = e.fitness.warnings() if e.fitness is not None else ()
    for doubt in doubts:
        warnings.warn(doubt, DataWarning, stacklevel=4)
    encoder, notes = {**e.encoder, "rank_me": rank_me(own)}, (*e.notes, *doubts, *search_notes(search))
    if blank:
        notes = (
            *notes,
            f"{len(blank)} of {e.n} samples have features of zero, index {listing(e.readable[blank])}: {BLANK}",
        )
    origin = provenance(e.data, encoder, settings.method, thresholds, policy, notes, e.fitness)
    origin["settings"] |= search_settings(search)
    result = Audit(scores, thresholds, policy, origin, e.names, digests=e.keys or None, encoder_file=e.encoder_file)
    with screening_on(e.device):
        return with_evidence(with_max_items(result, settings.max_items), vectors, tsne, settings.embedding.progress)


def led(device: Any, work: Callable[[], T]) -> T:
    """Work by the processes in force, which compare their shares on a device each; see `lead`."""
    from selfclean_hooks.embedding.encoders.encoder import device_of
    from selfclean_hooks.neighbors.screening.device import screening_on
    from selfclean_hooks.utils.processes import Processes
    from selfclean_hooks.utils.shared_work import lead

    with screening_on(device_of(device)):
        return lead(Processes.in_force(), work)


def search_of(search: str) -> NeighborSearch:
    """The search of that name; one that is approximate knows its recall afterwards."""
    from selfclean_hooks.neighbors.approximate_search import APPROXIMATE, ApproximateSearch, check_search
    from selfclean_hooks.neighbors.knn import nearest_neighbors

    check_search(search)
    return ApproximateSearch() if search == APPROXIMATE else nearest_neighbors


def search_notes(search: NeighborSearch) -> tuple[str, ...]:
    """A note on what an approximate search found of the samples' neighbours."""
    return tuple(map(str, getattr(search, "recalls", ())[:1]))


def search_settings(search: NeighborSearch) -> dict[str, Any]:
    """The same for programs: `search` of the settings, where it is approximate."""
    return dict(zip(["search"], map(asdict, getattr(search, "recalls", ())), strict=False))


def _scores(
    embeddings: Embeddings, vectors: NDArray[np.float32], settings: AuditSettings, search: NeighborSearch
) -> Scores:
    """Scores of the readable samples alone."""
    from selfclean_hooks.detectors.methods import score
    from selfclean_hooks.neighbors.screening.device import screening_on

    labels = None if embeddings.labels is None else embeddings.labels[embeddings.readable]
    with screening_on(embeddings.device), bar("comparing", settings.embedding.progress) as tick:
        return score(
            vectors,
            labels,
            method=settings.method,
            pairs_below=required_pair_score(settings.thresholds),
            why_no_labels=embeddings.why_no_labels,
            miniatures=embeddings.miniatures,
            search=search,
            tick=tick,
        )


def with_margins(audit: Audit, margins: NDArray[np.floating], epochs: int) -> Audit:
    """The audit with its label scores blended with the margins of a training.

    The scores are then probabilities that the label is right, flagged below 1/2.

    Args:
        audit: of the training data.
        margins: (N,) mean margin of each sample, NaN where it was never seen.
        epochs: number of training epochs, for a note.

    Returns:
        `audit` itself where its label scores have no calibration.
    """
    from selfclean_hooks.detectors.label_errors.training_margins import IDENTITY, MIN_SCORE, blend_with_margins

    scores = audit.scores
    embedded = scores.calibration.get("label_errors")
    if embedded is None:
        return audit
    label = blend_with_margins(embedded.probability_clean(scores.label), margins)
    label = np.maximum(label, MIN_SCORE)
    note = f"label scores: blended with the margins of {epochs} epoch{'s' * (epochs != 1)}"
    return replace(
        audit,
        scores=replace(
            scores,
            label=label,
            automatic={**scores.automatic, "label_errors": 0.5},
            calibration={**scores.calibration, "label_errors": replace(IDENTITY, unknown=embedded.unknown)},
        ),
        provenance={**audit.provenance, "notes": [*audit.provenance.get("notes", ()), note]},
    )


def with_leakage(audit: Audit, embeddings: Embeddings, others: Mapping[str, Embeddings], name: str = "train") -> Audit:
    """The audit of the training split with the near duplicates that it shares with other splits.

    Args:
        audit: of `embeddings`.
        embeddings: of the training split.
        others: of the other splits, by name; by the same encoder.
        name: of the training split.

    Raises:
        DataError: a split was embedded by another encoder or is not finite, there is none, or one has the name of the
            training split.
    """
    from selfclean_hooks.detectors.leakage import find_leakage
    from selfclean_hooks.neighbors.screening.device import screening_on

    if name in others:
        raise DataError(f"leakage is searched between {name} and other splits, got {', '.join(others)}")
    automatic, scales = audit.scores.automatic["near_duplicates"], {name: audit.scores.pair_scales}
    with screening_on(embeddings.device):
        leaks = find_leakage({name: embeddings, **others}, scales, leakage_search_limit(audit), automatic, (name,))
    scores = with_group_leakage(audit.scores, embeddings.groups, [each.groups for each in others.values()])
    return replace(audit, scores=replace(scores, leaks=leaks[name]))


def leakage_search_limit(audit: Audit) -> float:
    """Score below which all neighbours are listed, not only the nearest: the higher of the threshold and "auto"."""
    in_force = audit.decisions.thresholds["near_duplicates"]
    return max(in_force, audit.scores.automatic["near_duplicates"], float(np.finfo(np.float32).tiny))


def provenance(
    data: Mapping[str, Any],
    encoder: Mapping[str, Any] | None,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    notes: Iterable[str] = (),
    fitness: RepresentationQuality | None = None,
) -> dict[str, Any]:
    """The part of the manifest that cannot be derived from the scores."""
    packages = ("numpy", "torch", "selfclean-hooks")
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "dataset": dict(data),
        "encoder": dict(encoder) if encoder is not None else None,
        "fitness": None if fitness is None else fitness.as_dict(),
        "settings": {"method": method, "thresholds": thresholds.to_dict(), "policy": asdict(policy)},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "notes": list(notes),
    }


_version = cache(version)  # reads a file of hundreds of lines each time


def warn_of_missing_pairs(scores: Scores, thresholds: Thresholds) -> None:
    """Warn where the threshold for near duplicates is above the scores of the listed pairs."""
    automatic, calibration = scores.automatic["near_duplicates"], scores.calibration.get("near_duplicates")
    in_force = thresholds.resolve("near_duplicates", automatic, scores.near_duplicate, calibration)
    threshold = max(automatic, in_force)
    if scores.pairs_complete_below < threshold:
        warnings.warn(
            f"not all pairs with a score below {threshold:.4g} are listed: only the {len(scores.pair_index)} worst, "
            f"which are all of those below {scores.pairs_complete_below:.4g}. Sets of near duplicates other than exact "
            "copies may be incomplete",
            DataWarning,
            stacklevel=5,
        )
