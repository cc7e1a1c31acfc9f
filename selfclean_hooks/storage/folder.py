"""An audit as a folder. The manifest holds the digest of the scores, so that files of two saves cannot be mixed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from selfclean_hooks.core.issues import ISSUES
from selfclean_hooks.decisions.settings import Policy, Thresholds
from selfclean_hooks.errors import AuditFileError, PolicyError
from selfclean_hooks.results.columns import leak_columns, pair_columns, sample_columns
from selfclean_hooks.results.result import AuditResult, kept_action
from selfclean_hooks.results.tables import summary_rows
from selfclean_hooks.storage.arrays import pack, unpack
from selfclean_hooks.storage.commit import finish, read_steadily, replace_audit
from selfclean_hooks.storage.ownership import (
    CLEAN,
    CLEAN_FILES,
    ENCODER,
    LEAKAGE,
    MANIFEST,
    SPLITS,
    SavedFolder,
    digest_of,
    owned_files,
)
from selfclean_hooks.storage.review import files_of, in_manifest, load_review
from selfclean_hooks.storage.schema import FORMAT, Manifest, damaged_error, read, read_index
from selfclean_hooks.utils.json_content import escaped
from selfclean_hooks.utils.text import Column, as_csv, as_lines, plain

SCORES = "scores.npz"
LEAKAGE_COLUMNS = (
    *("split_1", "index_1", "sample_1", "split_2", "index_2", "sample_2"),
    *("distance", "is_leakage_issue"),
)
BOX = re.compile(r"#[1-9][0-9]*$")  # ends the name of a box in an image
OWN = (  # in the manifest beside the provenance
    "format",
    "thresholds",
    "policy",
    "counts",
    "not_run",
    "not_estimated",
    "scores_blake2b",
    "decisions_blake2b",
    "encoder_blake2b",
)


def save(audit: AuditResult, folder: Path, pages: Mapping[str, bytes]) -> None:
    """Write an audit into a folder, which is created if need be; an audit there is replaced as a whole.

    Args:
        audit: what is written.
        folder: where to.
        pages: further files, name: content, such as the report.

    Raises:
        AuditFileError: the folder cannot be written, or holds files of these names that no audit wrote.
        PolicyError: the policy would drop too much; all is written but clean_indices.txt, and an old one is removed.
    """
    contents, refused = contents_of(audit, pages)
    replace_audit(folder, contents)
    if refused is not None:
        raise refused


def contents_of(audit: AuditResult, pages: Mapping[str, bytes]) -> tuple[dict[str, bytes], PolicyError | None]:
    """The files of an audit, name: content; without the clean lists where the policy would drop too much, and why."""
    scores = pack(audit)
    contents = {
        **files_of(audit),
        SCORES: scores,
        "samples.csv": as_csv(_samples(audit)),
        "pairs.csv": as_csv(pair_columns(audit)),
        **pages,
        MANIFEST: _manifest(audit, digest_of(scores)),
    }
    if audit.encoder_file:
        contents[ENCODER] = audit.encoder_file
    if audit.scores.leaks is not None:
        contents[LEAKAGE] = as_csv(_leakage(audit))
    try:
        kept = audit.clean_indices.tolist()
        contents[CLEAN] = "".join(f"{i}\n" for i in kept).encode()
        if (names := files_of_all(audit)) is not None:
            contents[CLEAN_FILES] = as_lines(names[i] for i in kept)
    except PolicyError as error:
        return contents, error
    return contents, None


def files_of_all(audit: AuditResult) -> tuple[str, ...] | None:
    """(N,) the files of the samples; None where one has none, shares it with another, or all are boxes in images."""
    names = audit.names
    are_files = names and all(names) and len(set(names)) == len(names) and not all(map(BOX.search, names))
    return names if are_files else None


def load(folder: Path) -> AuditResult:
    """Read manifest.json and scores.npz; neither torch nor a model is loaded.

    Raises:
        AuditFileError: the folder holds no saved audit, is damaged, or has another version.
    """
    if is_of_splits(folder):
        raise AuditFileError(f"{folder} holds an audit of several splits: read it with SplitsAudit.load")
    return read_steadily(folder, lambda: load_files(SavedFolder(folder)))


def load_files(saved: SavedFolder) -> AuditResult:
    """`load` for files that may not be in their places yet."""
    manifest, whole = read_index(saved.path(MANIFEST), Manifest)
    path = saved.path(SCORES)
    content = read(path)
    try:
        thresholds, policy = Thresholds.from_dict(manifest.thresholds), Policy(**manifest.policy)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:  # TypeError: an unknown key
        raise damaged_error(saved.path(MANIFEST), str(error)) from error
    if digest_of(content) != manifest.scores_blake2b:
        raise damaged_error(
            path, "the content is not what manifest.json says (cut short, changed, or from another save)"
        )
    try:
        parts = unpack(content, manifest.counts.n, manifest.not_run, manifest.not_estimated)
    except ValueError as error:
        raise damaged_error(path, str(error)) from error
    provenance = {key: value for key, value in whole.items() if key not in OWN}
    return AuditResult(
        **parts,
        thresholds=thresholds,
        policy=policy,
        provenance=provenance,
        review=load_review(saved, manifest.decisions_blake2b),
        encoder_file=_encoder_file(saved, manifest.encoder_blake2b),
    )


def kept_encoder(folder: Path, split: str = "") -> Path | None:
    """The encoder that was saved with an audit, or with that of a split (the name of its folder); None: there is none.

    Whoever uses it compares what it was trained on: nothing here says that the data are still the same.
    """
    finish(folder)
    saved = SavedFolder(folder, split)
    found = saved.path(ENCODER)
    return found if os.path.isfile(found) and saved.index(MANIFEST) is not None else None


def _encoder_file(saved: SavedFolder, digest: str | None) -> bytes:
    """Its content; b"" where it was removed or changed: no measurement depends on it."""
    path = saved.path(ENCODER)
    content = read(path) if digest is not None and os.path.isfile(path) else b""
    return content if digest_of(content) == digest else b""


def is_of_splits(folder: Path) -> bool:
    """Whether an audit of several splits was saved there."""
    finish(folder)
    saved = SavedFolder(folder)
    if saved.index(SPLITS) is not None:
        return True
    return os.path.isfile(saved.path(SPLITS)) and saved.index(MANIFEST) is None  # it may be damaged


def holds_audit(folder: Path) -> bool:
    """Whether an audit was saved there, of one data set or of several splits."""
    finish(folder)
    return bool(owned_files(SavedFolder(folder)))


def _samples(audit: AuditResult) -> dict[str, Column]:
    names = list(audit.names or ("",) * len(audit))
    return {"index": np.arange(len(audit)), "sample": names, **sample_columns(audit)}


def _leakage(audit: AuditResult) -> dict[str, Column]:
    """The pairs with the file names of both samples, where these are known."""
    leaks, own = audit.scores.leaks, audit.names or ("",) * len(audit)
    columns = leak_columns(leaks, audit.decisions.leaks)
    columns["sample_1"] = [own[i] for i in columns["index_1"]]
    columns["sample_2"] = list((leaks and leaks.other_names) or ("",) * len(columns["sample_1"]))
    return {name: columns[name] for name in LEAKAGE_COLUMNS}


def _of_issues(audit: AuditResult, settings: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those of issues that nobody asked for, which older versions do not know."""
    unasked = {issue.name for issue in ISSUES if issue.is_by_request} - set(audit.scores.issues)
    return {name: value for name, value in settings.items() if name not in unasked or value != usual[name]}


def _manifest(audit: AuditResult, digest: str) -> bytes:
    summary = {row.pop("issue"): row for row in summary_rows(audit)}
    files = {} if files_of_all(audit) is None else {"files": len(audit)}
    unknown = {issue: c.unknown for issue, c in audit.scores.calibration.items() if c.unknown}
    content = {
        "format": FORMAT,
        **audit.provenance,
        "thresholds": _of_issues(audit, audit.thresholds.to_dict(), asdict(Thresholds())),
        "policy": _of_issues(audit, asdict(audit.policy), asdict(Policy())),
        "counts": {"n": len(audit), "kept": kept_action(audit), **files, **summary},
        "not_run": audit.scores.not_run,
        **({"not_estimated": unknown} if unknown else {}),
        "scores_blake2b": digest,
        **in_manifest(audit),
        **({"encoder_blake2b": digest_of(audit.encoder_file)} if audit.encoder_file else {}),
    }
    text = json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return (escaped(text) + "\n").encode()
