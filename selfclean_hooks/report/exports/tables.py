"""All samples as a table, CSV or Parquet: the columns of `Audit.frame`, with the split, the file and the new label."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from selfclean_hooks.errors import SettingError
from selfclean_hooks.results.tables import frame_of
from selfclean_hooks.utils.text import as_csv

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult


def write_csv(audits: Mapping[str, AuditResult], path: Path) -> None:
    """One row a sample."""
    path.write_bytes(as_csv(samples_of(audits), index=False))


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
