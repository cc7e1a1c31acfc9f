"""Evidence for findings: their neighbours and a map of all samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.core.embeddings import MAX_CLASS_NEIGHBORS, MAX_OFF_TOPIC_NEIGHBORS, Evidence, Positions
from selfclean_hooks.neighbors.projection.plane import project_to_plane
from selfclean_hooks.results.findings import select_findings
from selfclean_hooks.utils.arrays import BoolArray, IntArray
from selfclean_hooks.utils.text import bar

if TYPE_CHECKING:
    from selfclean_hooks.core.scores import Scores
    from selfclean_hooks.neighbors.unit_vectors import UnitRows
    from selfclean_hooks.results.result import A, AuditResult

TIES = 4  # more than wanted: among equally near ones the first are reported


def with_evidence(audit: A, vectors: NDArray[np.floating] | UnitRows, tsne: bool = False, progress: bool = False) -> A:
    """The audit with the neighbours of the findings that are shown, exact, and a map. O(N D) memory.

    Args:
        audit: of these vectors.
        vectors: (R, D) of its readable samples, in order of position; or their unit rows.
        tsne: make the map by t-SNE, unless there are too many samples or hardly any; else by principal components.
        progress: show a progress bar.
    """
    # torch is not needed to read what was saved
    from selfclean_hooks.neighbors.unit_vectors import UnitRows
    from selfclean_hooks.utils.torch_settings import on_cpu

    n, found = len(audit), select_findings(audit)
    readable = np.setdiff1d(np.arange(n), list(audit.scores.errors))
    with on_cpu(), bar("looking at neighbours", progress):
        x = UnitRows.of(vectors)
        near = _Near(x, readable, _copies(audit.scores)[readable])
        off_topic = near.of(found.samples["off_topic"], MAX_OFF_TOPIC_NEIGHBORS)
        labels = _of_labels(audit, near, found.samples["label_errors"])
        points, how = project_to_plane(x.values.numpy(), near.copies, tsne)
    places = np.full((n, 2), np.nan, np.float32)
    places[readable] = points
    return audit.annotated(evidence=Evidence(off_topic, labels, places, how))


def _of_labels(audit: AuditResult, near: _Near, positions: IntArray) -> dict[int, tuple[Positions, Positions]]:
    """Neighbours of the given and of the predicted class; of labels that are no classes the nearest of all.

    Samples that are in doubt themselves are no evidence: they are taken only where there are no others.
    """
    given, predicted = audit.scores.given_label, audit.scores.predicted_label
    flags = audit.decisions.flags
    near = replace(near, trusted=~(flags["label_errors"] | flags["off_topic"])[near.readable])
    if (given == -1).all():
        among = near.preferred(np.ones(len(near.readable), bool))
        return {i: (places, ()) for i, places in near.of(positions, MAX_CLASS_NEIGHBORS, among).items()}
    labelled = positions[given[positions] != -1]
    of_given = near.of_class(labelled, given[labelled], given)
    other = labelled[(predicted[labelled] != given[labelled]) & (predicted[labelled] != -1)]
    of_predicted = near.of_class(other, predicted[other], given)
    return {int(i): (of_given.get(int(i), ()), of_predicted.get(int(i), ())) for i in positions}


@dataclass(frozen=True, eq=False)
class _Near:
    """Looks for the nearest of R readable samples."""

    x: UnitRows  # R rows
    readable: IntArray  # (R,) their positions, ascending
    copies: IntArray  # (R,) number shared by exact copies
    trusted: BoolArray | None = None  # (R,) not in doubt; None: all

    def preferred(self, wanted: BoolArray) -> IntArray:
        """Rows that are wanted and trusted, or wanted where none of these is trusted."""
        both = wanted if self.trusted is None else wanted & self.trusted
        return (both if both.any() else wanted).nonzero()[0]

    def of(self, positions: IntArray, k: int, among: IntArray | None = None) -> dict[int, Positions]:
        """Position: its k nearest of all or `among` the rows given, of exact copies the first only."""
        import torch

        from selfclean_hooks.neighbors.exact_search import OTHER, search_neighbors

        among = np.arange(len(self.readable)) if among is None else among
        columns = among[np.sort(np.unique(self.copies[among], return_index=True)[1])]
        if not len(positions) or not len(columns):
            return {}
        rows = torch.from_numpy(np.searchsorted(self.readable, positions))
        copies = torch.from_numpy(self.copies)
        places = search_neighbors(self.x, rows, k + TIES, copies, OTHER, torch.from_numpy(columns))[0][:, :k].tolist()
        near = [tuple(int(self.readable[p]) for p in found if p >= 0) for found in places]
        return dict(zip(positions.tolist(), near, strict=True))

    def of_class(self, positions: IntArray, wanted: IntArray, labels: IntArray) -> dict[int, Positions]:
        """Position: its nearest of the samples whose label is the one wanted there."""
        found: dict[int, Positions] = {}
        own = labels[self.readable]
        for label in np.unique(wanted):
            found |= self.of(positions[wanted == label], MAX_CLASS_NEIGHBORS, self.preferred(own == label))
        return found


def _copies(scores: Scores) -> IntArray:
    """(N,) number that exact copies share and no others."""
    start, end = scores.tree_index[scores.tree_distance == 0].astype(np.int32).T  # older scipy wants int32
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(len(scores), len(scores)))
    numbers: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers
