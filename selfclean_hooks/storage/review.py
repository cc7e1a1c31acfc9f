"""The review of an audit in its folder: decisions.json, and relabelled.csv for fixing the labels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from selfclean_hooks.core.scores import label_texts
from selfclean_hooks.decisions.review.file import read_review, review_to_json
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.errors import AuditFileError
from selfclean_hooks.storage.ownership import DECISIONS, RELABELLED, SavedFolder
from selfclean_hooks.utils import files
from selfclean_hooks.utils.text import Column, as_csv

if TYPE_CHECKING:
    from selfclean_hooks.results.result import AuditResult

IN_MANIFEST = "decisions_blake2b"


def files_of(audit: AuditResult) -> dict[str, bytes]:
    """Files of the review and of new labels, name: content; none without either."""
    files = {RELABELLED: _relabelled(audit)} if audit.new_labels else {}
    return files if audit.review is None else {**files, DECISIONS: review_to_json(audit.review)}


def in_manifest(audit: AuditResult) -> dict[str, str]:
    """Entries of the manifest about the review."""
    return {} if audit.review is None else {IN_MANIFEST: _digest(review_to_json(audit.review))}


def load_review(saved: SavedFolder, digest: str | None) -> Review | None:
    """Load the review of this digest, which belongs to the audit; any other file of decisions there is ignored.

    Raises:
        AuditFileError: it cannot be read, or was changed.
    """
    path = saved.path(DECISIONS)
    if digest is None:
        return None
    try:
        content = files.read(path)
    except OSError as error:
        raise AuditFileError(
            f"cannot read {path}, which belongs to the audit: {error.strerror or error}. Restore it from a copy, or "
            "run the audit again"
        ) from error
    if _digest(content) != digest:
        raise AuditFileError(
            f"{path} was changed since the audit was saved. Move it elsewhere and give it with --decisions; restore "
            "the original from a copy, or run the audit again"
        )
    return read_review(path)


def _relabelled(audit: AuditResult) -> bytes:
    given, names, labels = label_texts(audit.scores), audit.names or ("",) * len(audit), audit.new_labels
    columns: dict[str, Column] = {
        "index": list(labels),
        "sample": [names[i] for i in labels],
        "given_label": [given[i] for i in labels],
        "new_label": list(labels.values()),
    }
    return as_csv(columns)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
