"""Audit any image data set for near duplicates, off-topic samples and label errors before training on it."""

from typing import TYPE_CHECKING, Any

from selfclean_hooks.audit import Audit
from selfclean_hooks.auditing import audit, audit_embeddings
from selfclean_hooks.baseline import Baseline
from selfclean_hooks.gate import Count, Limits, Verdict
from selfclean_hooks.policy import Policy
from selfclean_hooks.split_audits import audit_splits
from selfclean_hooks.splits import SplitsAudit
from selfclean_hooks.thresholds import FDR, Thresholds, Top

if TYPE_CHECKING:
    from selfclean_hooks.dataset import AuditedDataset

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
]


def __getattr__(name: str) -> Any:
    if name == "AuditedDataset":  # the one name that needs torch at import: a gate on a saved audit does without
        from selfclean_hooks.dataset import AuditedDataset

        return AuditedDataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
