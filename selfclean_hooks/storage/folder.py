"""An audit as a folder. The manifest holds the digest of the scores, so that files of two saves cannot be mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import AuditFileError, PolicyError
from selfclean_hooks.results.result import AuditResult, kept_action
from selfclean_hooks.results.tables import frame_of, leakage_of, pairs_of, summary_rows
from selfclean_hooks.storage.arrays import pack, unpack
from selfclean_hooks.storage.review import files_of, in_manifest, load_review, make_room
from selfclean_hooks.utils.files import clear, write
from selfclean_hooks.utils.text import as_csv, plain

if TYPE_CHECKING:
    import pandas as pd


FORMAT = 1
SPLITS = "splits.json"  # of an audit of several splits
FILES = (
    "clean_indices.txt",
    "leakage.csv",
    "pairs.csv",
    "relabelled.csv",
    "samples.csv",
    "manifest.json",
    "scores.npz",
)
OWN = (  # in the manifest beside the provenance
    "format",
    "thresholds",
    "policy",
    "counts",
    "not_run",
    "scores_blake2b",
    "decisions_blake2b",
)


def save(audit: AuditResult, folder: Path, pages: Mapping[str, bytes]) -> None:
    """Write an audit into a folder, which is created if need be.

    Everything is computed before the first file is touched. The manifest is written last: nothing loads without it.

    Args:
        audit: what is written.
        folder: where to.
        pages: further files, name: content, such as the report.

    Raises:
        AuditFileError: the folder cannot be written.
        PolicyError: the policy would drop too much; all is written but clean_indices.txt, and an old one is removed.
    """
    scores = pack(audit)
    contents = {
        **files_of(audit),
        "scores.npz": scores,
        "samples.csv": as_csv(_samples(audit)),
        "pairs.csv": as_csv(pairs_of(audit), index=False),
        **pages,
        "manifest.json": _manifest(audit, _digest(scores)),
    }
    if audit.scores.leaks is not None:
        contents = {"leakage.csv": as_csv(_leakage(audit), index=False), **contents}
    refused = None
    try:
        contents = {"clean_indices.txt": "".join(f"{i}\n" for i in audit.clean_indices).encode(), **contents}
    except PolicyError as error:
        refused = error
    # From here on the folder does not load until the manifest is written.
    clear(folder, (SPLITS, "manifest.json", "clean_indices.txt", "leakage.csv", "relabelled.csv"))
    make_room(folder, audit.review)
    for name, content in contents.items():
        write(folder / name, content)
    if refused is not None:
        raise refused


def load(folder: Path) -> AuditResult:
    """Read manifest.json and scores.npz; neither torch nor a model is loaded.

    Raises:
        AuditFileError: the folder holds no saved audit, is damaged, or has another version.
    """
    if is_of_splits(folder):
        raise AuditFileError(f"{folder} holds an audit of several splits: read it with SplitsAudit.load")
    manifest = read_index(folder / "manifest.json", FORMAT)
    path = folder / "scores.npz"
    content = _read(path)
    try:
        n, not_run = int(manifest["counts"]["n"]), dict(manifest["not_run"])
        thresholds, policy = Thresholds.from_dict(manifest["thresholds"]), Policy(**manifest["policy"])
        expected = manifest["scores_blake2b"]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_error(folder / "manifest.json", f"{type(error).__name__}: {error}") from error
    if _digest(content) != expected:
        raise damaged_error(
            path, "the content is not what manifest.json says (cut short, changed, or from another save)"
        )
    try:
        parts = unpack(content, n, not_run)
    except ValueError as error:
        raise damaged_error(path, str(error)) from error
    provenance = {key: value for key, value in manifest.items() if key not in OWN}
    review = load_review(folder, manifest)
    return AuditResult(**parts, thresholds=thresholds, policy=policy, provenance=provenance, review=review)


def is_of_splits(folder: Path) -> bool:
    """Whether an audit of several splits was saved there."""
    return (folder / SPLITS).is_file()


def holds_audit(folder: Path) -> bool:
    """Whether an audit was saved there, of one data set or of several splits."""
    return is_of_splits(folder) or (folder / "manifest.json").is_file()


def _samples(audit: AuditResult) -> pd.DataFrame:
    import pandas as pd  # not needed by a gate on a saved audit

    frame = frame_of(audit)
    names = audit.names or ("",) * len(audit)
    frame.insert(0, "sample", pd.Series(names, dtype=object))  # object: other types refuse undecodable names
    return frame


def _leakage(audit: AuditResult) -> pd.DataFrame:
    """The pairs with the file names of both samples, where these are known."""
    import pandas as pd

    leaks = audit.scores.leaks
    frame = leakage_of(leaks, audit.decisions.leaks)
    own, other = audit.names or ("",) * len(audit), leaks.other_names if leaks is not None else None
    frame.insert(2, "sample_1", pd.Series([own[i] for i in frame["index_1"]], dtype=object))
    frame.insert(5, "sample_2", pd.Series(other or ("",) * len(frame), dtype=object))
    return frame


def _manifest(audit: AuditResult, digest: str) -> bytes:
    summary = {row.pop("issue"): row for row in summary_rows(audit)}
    content = {
        "format": FORMAT,
        **audit.provenance,
        "thresholds": audit.thresholds.to_dict(),
        "policy": asdict(audit.policy),
        "counts": {"n": len(audit), "kept": kept_action(audit), **summary},
        "not_run": audit.scores.not_run,
        "scores_blake2b": digest,
        **in_manifest(audit),
    }
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")  # \udcff: what JSON itself writes for a lone surrogate


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_index(path: Path, version: int | None = None) -> Mapping[str, Any]:
    """Read a JSON object from a file of a saved audit.

    Raises:
        AuditFileError: it cannot be read, is not a JSON object, or has another version.
    """
    try:
        manifest = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise damaged_error(path, str(error)) from error
    if not isinstance(manifest, dict):
        raise damaged_error(path, f"it holds a {type(manifest).__name__}, not an object")
    if version is not None and manifest.get("format") != version:
        raise AuditFileError(
            f"{path} must have format {version}, got {manifest.get('format')!r}: load it with the version of "
            "selfclean-hooks that wrote it, or run the audit again with this one"
        )
    return manifest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditFileError(
            f"a saved audit is a folder with manifest.json and scores.npz; cannot read {path}: "
            f"{error.strerror or error}. Give the folder that Audit.save or selfclean-hooks audit wrote"
        ) from error


def damaged_error(path: Path, came: str) -> AuditFileError:
    """The error about a file that changed since it was written."""
    return AuditFileError(
        f"{path} must be as Audit.save wrote it; {came}. Restore it from a copy, or run the audit again"
    )
