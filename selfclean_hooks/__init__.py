"""Audit any image data set for near duplicates, off-topic samples and label errors before training on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.audit_dataset import audit, audit_embeddings
from selfclean_hooks.audits.audit_splits import audit_splits
from selfclean_hooks.audits.clean import clean
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.decisions.settings import FDR, Policy, Thresholds, Top
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Count, Limits, Verdict

if TYPE_CHECKING:
    from selfclean_hooks.audits.audited_dataset import AuditedDataset
    from selfclean_hooks.sources.remote.local_copy import local_copy

__version__ = "0.1.0"
__all__ = [
    "FDR",
    "Audit",
    "AuditedDataset",
    "Baseline",
    "Count",
    "Limits",
    "Policy",
    "SplitsAudit",
    "Thresholds",
    "Top",
    "Verdict",
    "audit",
    "audit_embeddings",
    "audit_splits",
    "clean",
    "local_copy",
]


def __getattr__(name: str) -> Any:
    """What needs torch, or all kinds of sources, at import: a gate on a saved audit does without."""
    if name == "AuditedDataset":
        from selfclean_hooks.audits.audited_dataset import AuditedDataset

        return AuditedDataset
    if name == "local_copy":
        from selfclean_hooks.sources.remote.local_copy import local_copy

        return local_copy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
