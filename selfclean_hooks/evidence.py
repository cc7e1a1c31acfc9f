"""What a person wants to see beside a finding: its neighbours, and where it lies among all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from selfclean_hooks.shown import shown

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.scores import Scores
    from selfclean_hooks.vectors import UnitRows

OFF_TOPIC = 4  # neighbours of a sample that looks off topic
LABELS = 3  # of the given and of the predicted class
TIES = 4  # looked for beside those wanted: of equally near ones the first are to be told
Places = tuple[int, ...]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a person wants to see beside a finding: its neighbours, and where it lies among all samples.

    Attributes:
        off_topic: position: its nearest samples, up to 4, nearest first; no exact copies of it or of each other.
        labels: position: its nearest samples of the given and of the predicted class, up to 3 each, likewise; none of
            the predicted class where that is the given one. Of labels that are no classes: its nearest samples, none.
        map: (N, 2) float32, a projection of the embeddings, both axes scaled to [0, 1]; NaN: unreadable.
        projection: how the map was made, "PCA" or "UMAP"; "" without one.
    """

    off_topic: Mapping[int, Places]
    labels: Mapping[int, tuple[Places, Places]]
    map: NDArray[np.float32] | None
    projection: str

    def beside(self) -> set[int]:
        """All neighbours."""
        of_labels = (places for both in self.labels.values() for places in both)
        return {i for places in (*self.off_topic.values(), *of_labels) for i in places}


def with_evidence(audit: Audit, vectors: NDArray[np.floating], umap: bool = False, progress: bool = False) -> Audit:
    """The audit with the neighbours of the findings that are shown, exact, and a map. O(N D) memory.

    Args:
        audit: of these vectors.
        vectors: (R, D) of its readable samples, in order of position.
        umap: make the map by UMAP where umap-learn is installed and there are not too many samples.
        progress: show a progress bar.
    """
    import torch  # not needed to read what was saved

    from selfclean_hooks.progress import bar
    from selfclean_hooks.projection import projected
    from selfclean_hooks.vectors import UnitRows

    n, found = len(audit), shown(audit)
    readable = np.setdiff1d(np.arange(n), list(audit.scores.errors))
    with torch.device("cpu"), bar("looking at neighbours", progress):  # whatever the default device is
        x = UnitRows.of(vectors)
        near = _Near(x, readable, _copies(audit.scores)[readable])
        off_topic = near.of(found.off_topic, OFF_TOPIC)
        labels = _of_labels(audit, near, found.labels)
        points, how = projected(x.values.numpy(), umap)
    places = np.full((n, 2), np.nan, np.float32)
    places[readable] = points
    return replace(audit, evidence=Evidence(off_topic, labels, places, how))


def _of_labels(audit: Audit, near: _Near, positions: Ints) -> dict[int, tuple[Places, Places]]:
    """Neighbours of the given and of the predicted class; of labels that are no classes the nearest of all."""
    given, predicted = audit.scores.given_label, audit.scores.predicted_label
    if (given == -1).all():
        return {i: (places, ()) for i, places in near.of(positions, LABELS).items()}
    labelled = positions[given[positions] != -1]
    of_given = near.of_class(labelled, given[labelled], given)
    other = labelled[(predicted[labelled] != given[labelled]) & (predicted[labelled] != -1)]
    of_predicted = near.of_class(other, predicted[other], given)
    return {int(i): (of_given.get(int(i), ()), of_predicted.get(int(i), ())) for i in positions}


@dataclass(frozen=True, eq=False)
class _Near:
    """Looks for the nearest of R readable samples."""

    x: UnitRows  # R rows
    readable: Ints  # (R,) their positions, ascending
    copies: Ints  # (R,) number shared by exact copies

    def of(self, positions: Ints, k: int, among: Ints | None = None) -> dict[int, Places]:
        """Position: its k nearest of all or `among` the rows given, of exact copies the first only."""
        import torch

        from selfclean_hooks.search import OTHER, search

        among = np.arange(len(self.readable)) if among is None else among
        columns = among[np.sort(np.unique(self.copies[among], return_index=True)[1])]
        if not len(positions) or not len(columns):
            return {}
        rows = torch.from_numpy(np.searchsorted(self.readable, positions))
        copies = torch.from_numpy(self.copies)
        places = search(self.x, rows, k + TIES, copies, OTHER, torch.from_numpy(columns))[0][:, :k].tolist()
        near = [tuple(int(self.readable[p]) for p in found if p >= 0) for found in places]
        return dict(zip(positions.tolist(), near, strict=True))

    def of_class(self, positions: Ints, wanted: Ints, labels: Ints) -> dict[int, Places]:
        """Position: its nearest of the samples whose label is the one wanted there."""
        found: dict[int, Places] = {}
        own = labels[self.readable]
        for label in np.unique(wanted):
            found |= self.of(positions[wanted == label], LABELS, (own == label).nonzero()[0])
        return found


def _copies(scores: Scores) -> Ints:
    """(N,) number that exact copies share and no others."""
    start, end = scores.tree_index[scores.tree_distance == 0].astype(np.int32).T  # older scipy wants int32
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(len(scores), len(scores)))
    numbers: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers
