"""The columns of cleanlab's `Datalab.get_issues()`, one row a sample, as CSV; in both, low scores are worse."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfclean_hooks.report.exports.tables import samples_of
from selfclean_hooks.utils.text import as_csv

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

COLUMNS = {  # Datalab's: ours
    "is_label_issue": "is_label_issue",
    "label_score": "label_score",
    "given_label": "given_label",
    "predicted_label": "predicted_label",
    "is_outlier_issue": "is_off_topic_issue",
    "outlier_score": "off_topic_score",
    "is_near_duplicate_issue": "is_near_duplicate_issue",
    "near_duplicate_score": "near_duplicate_score",
}


def write_datalab_columns(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Datalab's columns of label, outlier and near_duplicate, after the split, the position and the file."""
    path.write_bytes(as_csv(datalab_frame(audits), index=False))


def datalab_frame(audits: Mapping[str, AuditResult]) -> pd.DataFrame:
    """One row a sample; `near_duplicate_sets` holds the positions of its near duplicates within its split."""
    samples = samples_of(audits)
    own = [name for name in ("split", "index", "sample") if name in samples]
    frame: pd.DataFrame = samples[own].assign(**{theirs: samples[ours] for theirs, ours in COLUMNS.items()})
    copies = [row for audit in audits.values() for row in _copies(audit)]
    distances: NDArray[np.float32] = np.concatenate([_nearest(audit) for audit in audits.values()])
    frame["near_duplicate_sets"] = pd.Series(copies, dtype=object)
    frame["distance_to_nearest_neighbor"] = distances
    return frame


def _copies(audit: AuditResult) -> list[str]:
    """The other members of the duplicate set of each sample, as "[3, 17]"."""
    number = audit.decisions.sets
    members: dict[int, list[int]] = {}
    for i in (number >= 0).nonzero()[0].tolist():
        members.setdefault(int(number[i]), []).append(i)
    return [str([other for other in members.get(int(own), []) if other != i]) for i, own in enumerate(number.tolist())]


def _nearest(audit: AuditResult) -> NDArray[np.float32]:
    """(N,) distance to the nearest neighbour, which an edge of the single-linkage tree leads to; NaN: unreadable."""
    nearest = np.full(len(audit), np.nan, np.float32)
    for side in audit.scores.tree_index.T:
        np.fmin.at(nearest, side, audit.scores.tree_distance)
    return nearest
