"""Issues."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


ISSUES = ("near_duplicates", "off_topic", "label_errors")
LIMITED = (*ISSUES, "unreadable", "leakage")
