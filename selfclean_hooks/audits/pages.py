"""The pages of an audit of several splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfclean_hooks.report.html.page import render
from selfclean_hooks.report.html.splits_page import render_splits
from selfclean_hooks.storage.splits import BACK, _leakage, _places

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Verdict
    from selfclean_hooks.results.splits import SplitsResult


def split_pages(found: SplitsResult, verdict: Verdict | None = None) -> tuple[bytes, dict[str, bytes]]:
    """The page of all splits, and by name that of each."""
    whole = render_splits(found, _places(found), _leakage(found), verdict).encode()
    own = {
        n: render(a, verdict=None if verdict is None else verdict.of(n), back=BACK).encode()
        for n, a in found.audits.items()
    }
    return whole, own
