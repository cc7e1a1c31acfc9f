"""All samples as a table: the columns of Audit.frame and more as CSV or Parquet, or those of cleanlab's Datalab."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.tables import frame_of
from selfclean_hooks.utils.text import Column, as_csv

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


def write_csv(audits: Mapping[str, AuditResult], path: Path) -> None:
    """One row a sample."""
    path.write_bytes(as_csv(_columns(samples_of(audits))))


def _columns(frame: pd.DataFrame) -> dict[str, Column]:
    """Missing labels are None: integers, of which some may be missing, are no array."""
    return {
        str(name): column.to_numpy()
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf"
        else column.astype(object).where(column.notna(), None).tolist()
        for name, column in frame.items()
    }


def write_parquet(audits: Mapping[str, AuditResult], path: Path) -> None:
    """One row a sample."""
    with needed("pyarrow", "parquet"):
        encodable(samples_of(audits)).to_parquet(path, engine="pyarrow", index=False)


def samples_of(audits: Mapping[str, AuditResult]) -> pd.DataFrame:
    """One row a sample of all splits: split (where there are several), index, sample, the columns of `Audit.frame`,
    is_leakage_issue (where splits were compared), is_dropped and new_label ("" for none).
    """
    frames = []
    is_compared = any(audit.scores.leaks is not None for audit in audits.values())
    for split, audit in audits.items():
        frame = frame_of(audit).reset_index()
        frame.insert(1, "sample", pd.Series(audit.names or ("",) * len(audit), dtype=object))
        if is_compared:
            frame["is_leakage_issue"] = audit.decisions.flags["leakage"]
        frame["is_dropped"] = audit.decisions.dropped
        frame["new_label"] = pd.Series([audit.new_labels.get(i, "") for i in range(len(audit))], dtype=object)
        if split:
            frame.insert(0, "split", split)
        frames.append(frame)
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return whole


def absolute(name: str) -> str:
    """The path of a file from anywhere; "" for none."""
    return os.path.abspath(name) if name else ""


def encodable(frame: pd.DataFrame) -> pd.DataFrame:
    """The same, where what UTF-8 cannot hold (names of files may be any bytes) is an escape; labels are text."""
    words = frame.select_dtypes(exclude=["number", "bool"]).columns
    safe: pd.DataFrame = frame.assign(**{str(name): frame[name].map(_text, na_action="ignore") for name in words})
    return safe


def _text(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


@contextmanager
def needed(package: str, extra: str) -> Iterator[None]:
    """A block that imports a package.

    Raises:
        SettingError: it is not installed; says how to.
    """
    try:
        yield
    except ImportError as error:
        raise SettingError(
            f"this export needs {package}: pip install 'selfclean-hooks[{extra}]', or export as csv"
        ) from error


def write_datalab_columns(audits: Mapping[str, AuditResult], path: Path) -> None:
    """Datalab's columns of label, outlier and near_duplicate, after the split, the position and the file."""
    path.write_bytes(as_csv(_columns(datalab_frame(audits))))


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
