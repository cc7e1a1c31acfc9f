"""What a verdict and an audit of splits show in a notebook, and the page that opens from one."""

import re
from pathlib import Path

import pytest

from selfclean_hooks import Audit, Limits
from selfclean_hooks.audits.splits import SplitsAudit
from tests.helpers.format_data import half_accepted, judged, one, two
from tests.report.test_notebook import HOSTILE, Seen


def test_a_verdict_shows_its_outcome_and_reasons() -> None:
    failed, passed = judged({"": one()}), judged({"": one()}, Limits())
    seen = Seen(failed._repr_html_())
    assert seen.text.split()[0] == "failed"
    for reason in failed.reasons:
        assert " ".join(reason.split()) in " ".join(seen.text.split())
    assert Seen(passed._repr_html_()).text.split() == ["passed", "no", "limit"]
    assert "stale entry of the baseline: unreadable: gone" in Seen(half_accepted()[1]._repr_html_()).text


def test_splits_show_every_split_and_what_they_share() -> None:
    found = SplitsAudit(two())
    seen = re.sub(r"\s+", " ", Seen(found._repr_html_()).text)
    for name, audit in found.audits.items():
        number = int(audit.decisions.contamination_mask("off_topic").sum())
        assert f"{name} {len(audit)} " in seen
        assert f"{number} {audit.contamination['off_topic']:.2%}" in seen
    assert f"{len(found.leaking)} near-duplicate pairs in two splits" in seen
    assert seen.count("Data audit") == 1 + len(found.audits)


def test_what_names_hold_is_text() -> None:
    for fragment in (SplitsAudit(two(HOSTILE, HOSTILE))._repr_html_(), judged(two(HOSTILE, HOSTILE))._repr_html_()):
        assert not [tag for tag, _ in Seen(fragment).tags if tag in ("script", "img")]
        assert "{{ 7 * 7 }}" in fragment
        assert "\u202e" not in fragment
        fragment.encode("utf-8")


def test_the_page_opens_from_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    audit: Audit = one()
    pages = [
        audit.open_review(),
        audit.open_review(tmp_path / "page.html"),
        SplitsAudit(two()).open_review(tmp_path / "s"),
    ]
    assert opened == [page.resolve().as_uri() for page in pages]
    assert all("<title>Data audit" in page.read_text(encoding="utf-8") for page in pages)
    assert sorted(path.parent.name for path in tmp_path.glob("s/*/report.html")) == ["train", "val"]
