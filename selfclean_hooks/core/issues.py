"""Issues."""

from __future__ import annotations

ISSUES = ("near_duplicates", "off_topic", "label_errors")
LIMITED = (*ISSUES, "unreadable", "leakage")
