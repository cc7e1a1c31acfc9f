"""What a notebook and a terminal show of an audit."""

import io
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from selfclean_hooks import Audit, audit_embeddings
from selfclean_hooks.core.embeddings import RepresentationQuality
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html.page import render
from selfclean_hooks.report.table import calibration_table
from selfclean_hooks.results.findings import findings
from selfclean_hooks.results.tables import calibration_rows
from tests.helpers.command_line import Call
from tests.helpers.image_audit import N, leaking, png, with_images

HOSTILE = "</bdi><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\x00\u202e\udcff"


class Seen(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += " " + data.strip()


def known_rows(audit: Audit) -> list[dict[str, Any]]:
    """Of the calibration, where there is an estimate."""
    rows = [row for row in calibration_rows(audit) if not row["unknown"]]
    assert rows
    return rows


def test_it_tells_counts_shares_and_estimates() -> None:
    audit = with_images()
    seen = Seen(audit._repr_html_())
    for row in audit.summary.to_dict("records"):
        low, high = audit.intervals[row["issue"]]
        share = f"{row['contamination']:.2%} ({100 * low:.2f}\u2013{100 * high:.2f})"
        assert f"{row['issue'].replace('_', ' ')} {row['num_issues']} {share}" in re.sub(r"\s+", " ", seen.text)
    for known in known_rows(audit):
        estimate = f"{known['estimated']:.0f} ({known['estimated_low']:.0f}\u2013{known['estimated_high']:.0f})"
        assert estimate in seen.text
    assert audit.fitness is not None
    assert audit.fitness.describe() in seen.text
    assert '.to_html("report.html")' in seen.text


@pytest.mark.parametrize("make", [with_images, leaking])
def test_it_shows_the_worst_of_each_issue(make: object) -> None:
    audit = leaking() if make is leaking else with_images()
    images = [attributes for tag, attributes in Seen(audit._repr_html_()).tags if tag == "img"]
    issues = [issue for issue in audit.scores.issues if issue != "unreadable"]
    expected = []
    for issue in issues:
        found = findings(audit, issue, 8, seen=True)
        expected += [f"#{i}" for one in found[: 8 // len(found[0].indices)] for i in one.indices]
    assert [str(image["alt"]) for image in images] == expected
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in images)


def test_hostile_names_and_labels_are_text() -> None:
    names = tuple(f"{HOSTILE}{i}" for i in range(N))
    audit = with_images(names=(HOSTILE, f"b{HOSTILE}", "c"))
    audit = replace(audit, names=names).described(HOSTILE)
    text = audit._repr_html_()
    text.encode()
    seen = Seen(text)
    assert {tag for tag, _ in seen.tags} <= {
        "div", "span", "strong", "bdi", "table", "thead", "tbody", "tr", "th", "td", "img", "code",
    }  # fmt: skip
    assert all(name in ("style", "src", "alt", "title", "colspan") for _, found in seen.tags for name in found)
    assert "{{ 7 * 7 }}" in seen.text
    assert "\x00" not in text
    assert "\u202e" not in text


def test_it_stays_small() -> None:
    rng = np.random.default_rng(0)
    heavy = {i: png(Image.fromarray(rng.integers(0, 256, (160, 160, 3), np.uint8))) for i in range(N)}
    assert min(map(len, heavy.values())) > 50_000
    text = with_images(thumbnails=heavy)._repr_html_()
    assert len(text) < 300_000
    assert text.count("<img") == 2  # there is room for one pair


def test_previews_and_audits_without_images() -> None:
    words = b'{"text": {"text": "<b>a text</b>", "rest": 0}}'
    seen = Seen(with_images(thumbnails=dict.fromkeys(range(N), words))._repr_html_())
    assert "<b>a text</b>" in seen.text
    assert not [tag for tag, _ in seen.tags if tag in ("img", "b")]
    assert "Label errors" not in Seen(with_images(thumbnails={})._repr_html_()).text
    assert "not run: there are no labels" in Seen(audit_embeddings(np.eye(5))._repr_html_()).text


def test_fifteen_samples_and_none_flagged() -> None:
    assert "15 samples" in Seen(audit_embeddings(np.random.default_rng(0).normal(size=(15, 4)))._repr_html_()).text


# the terminal


def printed(width: int = 80, bars: bool = True, split: str = "") -> str:
    table = calibration_table({split: with_images()}, bars)
    assert table is not None
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_shows_estimated_precision_and_recall() -> None:
    text, audit = printed(), with_images()
    assert all(len(line.rstrip()) <= 80 for line in text.splitlines())
    for row in known_rows(audit):
        (line,) = [line for line in text.splitlines() if line.startswith(row["issue"])]
        assert f"{row['estimated']:,.0f} ({row['estimated_low']:,.0f}-{row['estimated_high']:,.0f})" in line
        assert f" {row['inspect_for_90']:.0f} " in line
    assert printed(split="val").count("val: ") == len(audit.calibration)


def test_bars_split_at_the_threshold_and_are_plain_elsewhere() -> None:
    audit = with_images()
    (line,) = [line for line in printed().splitlines() if line.startswith("label_errors")]
    flagged, rest = line.split("  ", 1)[1].split("|")
    assert any(bar in flagged for bar in "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588")
    assert "\u2588" in flagged + rest
    assert audit.decisions.flags["label_errors"].any()
    assert printed(bars=False).isascii() or "\u2588" not in printed(bars=False)


def test_without_estimates_there_is_no_table() -> None:
    assert calibration_table({"": audit_embeddings(np.eye(4), method="selfclean")}) is None


def test_a_warning_is_printed_once(
    source: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(RepresentationQuality, "warnings", lambda self: ("the representation has collapsed",))
    ran = call("audit", f"train={source}", f"val={source}", "--output", tmp_path / "out", "--no-progress", "-v")
    assert " ".join((ran.out + ran.err).split()).count("the representation has collapsed") == 1
    assert not [warning for warning in recwarn if "collapsed" in str(warning.message)]
    assert "val: label_errors" in ran.out
    assert ran.out.rstrip().endswith(f"report: {tmp_path / 'out' / 'report.html'}")


def test_what_cannot_be_estimated_is_said_and_is_no_number() -> None:
    audit, why = with_images(), "nothing stands <apart>"
    calibration = audit.scores.calibration
    unknown = {**calibration, "off_topic": replace(calibration["off_topic"], unknown=why)}
    audit = replace(audit, scores=replace(audit.scores, calibration=unknown))
    assert "cannot be estimated" in Seen(audit._repr_html_()).text
    table = calibration_table({"": audit})
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    (line,) = [line for line in console.file.getvalue().splitlines() if line.startswith("off_topic  ")]
    assert line.split("  ")[-1] != "0"
    assert line.rstrip().endswith("cannot be")
    assert f"off_topic: {why}" in console.file.getvalue()
    page = unescape(render(audit))
    assert f"Off topic: how many there are cannot be estimated, {why}." in re.sub(r"\s+", " ", page)
    row = audit.calibration.set_index("issue").loc["off_topic"]
    assert row["unknown"] == why
    assert np.isnan([row[name] for name in ("precision", "estimated", "estimated_low", "recall")]).all()
    assert audit.ranking("off_topic")["probability"].isna().all()
    (said,) = [row for row in json.loads(as_json(audit))["estimates"] if row["issue"] == "off_topic"]
    assert said["unknown"] == why
    assert said["estimated"] is None
