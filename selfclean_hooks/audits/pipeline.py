"""Embeddings to an audit, its provenance, and what is added afterwards: leakage and training margins."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.core.embeddings import RepresentationQuality
from selfclean_hooks.core.scores import Scores, spread_to
from selfclean_hooks.decisions.policy import Policy
from selfclean_hooks.decisions.thresholds import Thresholds, required_pair_score
from selfclean_hooks.errors import DataError, DataWarning
from selfclean_hooks.results.findings import MAX_ITEMS, with_max_items
from selfclean_hooks.utils.arrays import as_vectors

if TYPE_CHECKING:
    from selfclean_hooks.core.embeddings import Embeddings


def audit_of(
    embeddings: Embeddings,
    method: str,
    thresholds: Thresholds,
    policy: Policy,
    progress: bool = False,
    max_items: int = MAX_ITEMS,
    umap: bool = False,
) -> Audit:
    """Score what `embed` read; without thumbnails. `umap`: see `with_evidence`."""
    from selfclean_hooks.detectors.score import score
    from selfclean_hooks.embedding.quality import rank_me
    from selfclean_hooks.results.finding_neighbors import with_evidence
    from selfclean_hooks.utils.progress import bar

    e = embeddings
    vectors, readable = as_vectors(e.vectors), e.readable
    codes = None if e.labels is None else e.labels[readable]
    with bar("comparing", progress) as tick:
        scores = score(
            vectors,
            codes,
            method=method,
            pairs_below=required_pair_score(thresholds),
            why_no_labels=e.why_no_labels,
            tick=tick,
        )
    warn_of_missing_pairs(scores, thresholds)
    scores = spread_to(scores, readable, e.n, errors=e.errors, class_names=e.class_names)
    scores = replace(scores, pixels=e.pixels)
    doubts = e.fitness.warnings() if e.fitness is not None else ()
    for doubt in doubts:
        warnings.warn(doubt, DataWarning, stacklevel=3)
    encoder, notes = {**e.encoder, "rank_me": rank_me(vectors)}, (*e.notes, *doubts)
    about = provenance(e.data, encoder, method, thresholds, policy, notes, e.fitness)
    found = Audit(scores, thresholds, policy, about, e.names, digests=e.keys or None)
    return with_evidence(with_max_items(found, max_items), vectors, umap, progress)


def with_margins(audit: Audit, margins: NDArray[np.floating], epochs: int) -> Audit:
    """The audit with its label scores blended with the margins of a training.

    The scores then are probabilities that the label is right, and flagged below 1/2.

    Args:
        audit: of the data trained on.
        margins: (N,) mean margin of each sample, NaN: never seen.
        epochs: over how many epochs of training; for a note.

    Returns:
        `audit` itself where its label scores have no calibration.
    """
    from selfclean_hooks.detectors.label_errors.training_margins import IDENTITY, LEAST, blend_with_margins

    scores = audit.scores
    if "label_errors" not in scores.calibration:
        return audit
    label = blend_with_margins(scores.calibration["label_errors"].probability_clean(scores.label), margins)
    label = np.maximum(label, LEAST)
    note = f"label scores: blended with the margins of {epochs} epoch{'s' * (epochs != 1)}"
    return replace(
        audit,
        scores=replace(
            scores,
            label=label,
            automatic={**scores.automatic, "label_errors": 0.5},
            calibration={**scores.calibration, "label_errors": IDENTITY},
        ),
        provenance={**audit.provenance, "notes": [*audit.provenance.get("notes", ()), note]},
    )


def with_leakage(audit: Audit, embeddings: Embeddings, others: Mapping[str, Embeddings], name: str = "train") -> Audit:
    """The audit of one split with what it shares with the others.

    Args:
        audit: of `embeddings`.
        embeddings: of the split that is trained on.
        others: of the other splits, by name; by the same encoder.
        name: of the split that is trained on.

    Raises:
        DataError: a split was embedded by another encoder or is not finite, there is none, or one has the name of the
            split that is trained on.
    """
    from selfclean_hooks.detectors.leakage import find_leakage

    if name in others:
        raise DataError(f"leakage is looked for between {name} and other splits, got {', '.join(others)}")
    automatic, local_scale = audit.scores.automatic["near_duplicates"], {name: audit.scores.local_scale}
    leaks = find_leakage({name: embeddings, **others}, local_scale, leakage_search_limit(audit), automatic, (name,))
    return replace(audit, scores=replace(audit.scores, leaks=leaks[name]))


def leakage_search_limit(audit: Audit) -> float:
    """Score up to which neighbours beside the nearest are listed: the threshold in force, or "auto" if higher."""
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
    """The part of the manifest that does not follow from the scores."""
    packages = ("numpy", "torch", "selfclean-hooks")
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "dataset": dict(data),
        "encoder": dict(encoder) if encoder is not None else None,
        "fitness": None if fitness is None else fitness.as_dict(),
        "settings": {"method": method, "thresholds": thresholds.written(), "policy": asdict(policy)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "notes": list(notes),
    }


def warn_of_missing_pairs(scores: Scores, thresholds: Thresholds) -> None:
    """Say so where the threshold for near duplicates lies above the pairs that are listed."""
    automatic, calibration = scores.automatic["near_duplicates"], scores.calibration.get("near_duplicates")
    in_force = thresholds.resolve("near_duplicates", automatic, scores.near_duplicate, calibration)
    cut = max(automatic, in_force)
    if scores.pairs_complete_below < cut:
        warnings.warn(
            f"not all pairs of samples with a score below {cut:.4g} are listed: the {len(scores.pair_index)} worst "
            f"are, all of those below {scores.pairs_complete_below:.4g}. So sets of near duplicates that are no exact "
            "copies may be smaller than they are",
            DataWarning,
            stacklevel=4,
        )
