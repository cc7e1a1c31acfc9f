"""Marks for the tests of reviews."""

from typing import Any

from selfclean_hooks import Audit
from selfclean_hooks.decisions.review.marks import Mark


def mark(audit: Audit, issue: str, verdict: Any, i: int, other: int | None = None, **changes: Any) -> Mark:
    """A mark about sample `i`, and of near duplicates about the copy kept beside it, as a page writes it."""

    def who(position: int) -> tuple[str, str]:
        name = audit.names[position] if audit.names else ""
        return name, audit.digests[position] if audit.digests else ""

    name, digest = who(i)
    reported: dict[str, Any] = {"index": i, "sample": name, "digest": digest}
    if other is not None:
        name, digest = who(other)
        reported |= {"other_index": other, "other_sample": name, "other_digest": digest}
    return Mark(issue, verdict, **{**reported, **changes})
