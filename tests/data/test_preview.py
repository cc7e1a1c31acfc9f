"""Previews: of which values, how small, that they are data whatever they say, and where they are to be seen."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfclean_hooks import Audit, Thresholds, audit, audit_splits
from selfclean_hooks.data.previews import (
    LONGEST,
    POINTS,
    ROWS,
    TOP,
    Curve,
    Table,
    Text,
    column_names,
    decode_preview,
    preview,
)
from selfclean_hooks.report.figures.contact_sheet import contact_sheet
from selfclean_hooks.report.html.page import render
from selfclean_hooks.results.thumbnails import thumbnails
from tests.helpers.report_data import held

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(2)'>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202ebackwards \u2066isolated",
    "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627",
    "\x00\x07\x1b[31m\x7f\x9b",
    "\udc80 lone \ud83d surrogates",
    "x" * 100_000,
    "\n" * 300,
    "Z\u0351\u036b\u0343" * 90,
    "</bdi></li></ul></style><style>*{display:none}",
    "",
)


def shown(item: Any, columns: tuple[str, ...] | None = None) -> Any:
    return decode_preview(preview(item, columns))


def lengths(batch: list[Any]) -> Any:
    """Features of texts: how often some letters stand in them, and how long they are."""
    return np.array([[*(text.count(c) for c in "aeiot \n<x"), len(text) ** 0.5, 1.0] for text in batch])


def of_texts(texts: Any = HOSTILE) -> Audit:
    items = [
        *((text, i % 2) for i, text in enumerate(texts)),
        *((f"some text {i} " * (i + 1), i % 2) for i in range(20)),
    ]
    return audit(items, lengths, progress=False, thresholds=Thresholds(off_topic=0.99))


def test_a_text_is_truncated_and_says_how_much_is_left() -> None:
    assert shown(("short", 3)) == Text("short", 0)
    assert shown("y" * (LONGEST + 7)) == Text("y" * LONGEST, 7)
    assert shown({"text": "t", "label": 1}) == shown(({"sentence": "t", "id": 7}, 1)) == Text("t", 0)
    assert shown((b"caf\xc3\xa9", 0)) == Text("caf\u00e9", 0)
    assert shown((b"\xff\xd8\xff", 0)) is None


def test_token_ids_are_shown_as_their_text_where_there_is_one() -> None:
    assert shown({"input_ids": [5, 6], "text": "two words"}) == Text("two words", 0)
    for ids in ([101, 7, 102], torch.tensor([101, 7, 102]), np.array([101, 7, 102])):
        assert shown({"input_ids": ids, "attention_mask": [1, 1, 1]}) == Text("101 7 102", 0)


def test_a_short_row_is_a_table_with_the_names_of_its_columns() -> None:
    row = np.array([1.0, 0.000123456, np.nan])
    assert shown((row, 1), ("a", "b", "c")) == Table((("a", "1"), ("b", "0.0001235"), ("c", "nan")), 0)
    assert shown((row, 1), ("a", "b")).rows[0] == ("0", "1")  # other columns than those
    assert shown({"features": [4, 5], "label": 0}) == Table((("0", "4"), ("1", "5")), 0)
    assert shown((torch.ones(2, dtype=torch.int64), 0)) == Table((("0", "1"), ("1", "1")), 0)
    mixed = {"age": torch.tensor(31), "job": "clerk", "photo": object(), "ok": True}
    assert shown((mixed, 0)) == Table((("age", "31"), ("job", "clerk"), ("photo", ""), ("ok", "True")), 0)
    assert shown(({str(i): i for i in range(ROWS + 5)}, 0)).rest == 5


def test_columns_are_found_on_the_data_set_or_on_the_one_below_it() -> None:
    class Rows:
        feature_names = np.array(["width", "height"])

        def __getitem__(self, index: int) -> Any:
            return np.array([index, 2.0]), index % 2

        def __len__(self) -> int:
            return 20

    assert column_names(torch.utils.data.Subset(Rows(), [1, 2])) == ("width", "height")  # type: ignore[arg-type]
    assert column_names([1, 2]) is None
    found = audit(Rows(), lambda rows: torch.cat([rows, rows + 1], 1), progress=False)
    tables = [decode_preview(small) for small in found.thumbnails.values()]
    assert {name for table in tables for name, _ in table.rows} == {"width", "height"}  # type: ignore[union-attr]


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("shape", [(31,), (4000,), (1, 4000), (2, 500), (8, 64), (500, 2), (33, 1)])
def test_the_band_of_a_curve_holds_every_value(make: Any, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    found = shown((make(values), 1))
    channels = np.atleast_2d(values) if len(shape) == 1 or shape[0] < shape[1] else values.T
    assert isinstance(found, Curve)
    assert (len(found.channels), found.steps) == channels.shape
    assert (found.low, found.high) == (values.min(), values.max())
    for band, channel in zip(found.channels, channels, strict=True):
        assert len(band) == min(POINTS, len(channel))
        scaled = TOP * (channel - channel.min()) / (channel.max() - channel.min())
        ends = [b * len(channel) // len(band) for b in range(len(band) + 1)]
        for (low, high), start, end in zip(band, ends, ends[1:], strict=False):
            part = scaled[start:end]
            assert [low, high] == pytest.approx([min(part), max(part)], abs=0.51)
        assert (min(low for low, _ in band), max(high for _, high in band)) == (0, TOP)


def test_curves_of_awkward_numbers() -> None:
    assert shown((np.full(100, np.nan), 0)) is None
    assert shown((np.full(100, 3.0), 0)).channels[0][0] == (TOP // 2, TOP // 2)
    gaps = np.where(np.arange(100) % 2 == 0, np.inf, np.arange(100.0))
    assert (shown((gaps, 0)).low, shown((gaps, 0)).high) == (1, 99)
    greatest = np.array([-1, 1] * 50) * np.finfo(np.float64).max
    assert {point for band in shown((greatest, 0)).channels for point in band} == {(0, 0), (TOP, TOP)}
    assert shown((np.stack([np.arange(64.0), np.full(64, np.nan)]), 0)).outlines[1] == ()


@pytest.mark.parametrize(
    "value", [None, 3, 2.5, object(), np.zeros(0), np.zeros((5, 4, 6)), np.array(["a"]), [], (), ["a", "b"], {}, 1j]
)
def test_there_is_nothing_to_show_of_anything_else(value: Any) -> None:
    assert preview((value, 1)) is None


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_data(text: str) -> None:
    audit = replace(of_texts(["plain"] * 3), thumbnails={0: preview(text) or b""})
    source = render(audit)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", source)
    source.encode()  # lone surrogates would raise
    expected = "".join(
        "\ufffd" if (c < " " and c not in "\n\t") or "\x7f" <= c <= "\x9f" else c for c in text[:LONGEST]
    )
    assert held(source)["previews"] == {"0": {"kind": "text", "text": expected, "rest": max(0, len(text) - LONGEST)}}
    assert source.count("<script") == 2
    assert source.count("<style>") == 1


@given(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda t: t.encode("utf-8", "surrogatepass"))))
def test_bytes_that_are_no_preview_are_none_or_a_small_one(content: bytes) -> None:
    assert decode_preview(content) is None


@pytest.mark.parametrize(
    "content",
    [
        {"text": {"text": "a"}},
        {"text": {"text": "a", "rest": None}},
        {"curve": {"channels": [], "low": 0, "high": 1, "steps": 3}},
        {"curve": {"channels": [[[0]]], "low": 0, "high": 1, "steps": 3}},
        {"curve": {"channels": [[[0, 1]]], "low": float("nan"), "high": 1, "steps": 3}},
        {"curve": {"channels": [[[0, 1]]], "low": 0, "high": 1, "steps": float("inf")}},
        {"table": {"rows": [[1]], "rest": 0}},
        {"image": {}},
        {"text": [], "table": []},
        {},
    ],
)
def test_a_damaged_preview_is_none(content: Any) -> None:
    assert decode_preview(json.dumps(content).encode()) is None


def test_what_is_read_is_bounded_whatever_the_file_says() -> None:
    band = [[-5, 10**9]] * 10_000
    found = decode_preview(json.dumps({"curve": {"channels": [band] * 50, "low": 0, "high": 1, "steps": 9}}).encode())
    assert isinstance(found, Curve)
    assert (len(found.channels), len(found.channels[0]), found.channels[0][0]) == (8, POINTS, (0, TOP))
    text = decode_preview(json.dumps({"text": {"text": "\x1b<b>" * 5000, "rest": 0}}).encode())
    assert text == Text("\ufffd<b>" * (LONGEST // 4), 0)
    table = decode_preview(json.dumps({"table": {"rows": [["n" * 999, "\x00" * 999]] * 999, "rest": 0}}).encode())
    assert isinstance(table, Table)
    assert (len(table.rows), len(table.rows[0][0]), set(table.rows[0][1])) == (ROWS, 80, {"\ufffd"})
    assert decode_preview(b"[" * 100_000) is None
    assert decode_preview(b'{"text":' + b"[" * 100_000) is None


def test_an_audit_of_text_keeps_its_previews_and_shows_them_again(tmp_path: Path) -> None:
    found = of_texts()
    assert set(found.thumbnails) >= {int(i) for i in found.frame["off_topic_score"].nsmallest(8).index}
    found.save(tmp_path)
    again = Audit.load(tmp_path)
    assert dict(again.thumbnails) == dict(found.thumbnails)
    assert render(again) == (tmp_path / "report.html").read_text(encoding="utf-8")
    texts = [reported["text"] for reported in held(render(again))["previews"].values()]
    assert any(text.startswith("<script>alert(1)") for text in texts)
    assert max(map(len, found.thumbnails.values())) < 6 * LONGEST + 40


def test_the_page_of_a_split_shows_the_texts_on_both_sides_of_a_leak(tmp_path: Path) -> None:
    own = [f"number {i} of many {'ab' * i}" for i in range(30)]
    other = [f"{'xo' * i} quite another {i}" for i in range(20)] + [own[4]]
    found = audit_splits({"train": [(t, 0) for t in own], "val": [(t, 0) for t in other]}, lengths, progress=False)
    found.save(tmp_path)
    page = (tmp_path / "val" / "report.html").read_text(encoding="utf-8")
    data = held(page)
    first = data["issues"]["leakage"]["findings"][0]
    sides = str(first["samples"][0]), f"{first['other']['place']}:{first['other']['index']}"
    assert [data["previews"][side]["text"] for side in sides] == [own[4], own[4]]


def test_curves_and_tables_are_data_of_the_page() -> None:
    rng = np.random.default_rng(0)
    curves = audit([(rng.normal(size=200), i % 2) for i in range(30)], lambda b: b[:, :16].abs(), progress=False)
    reported = held(render(curves))["previews"]
    assert {one["kind"] for one in reported.values()} == {"curve"}
    assert all(len(one["channels"][0]) == POINTS and one["steps"] == 200 for one in reported.values())
    rows = [({"<b>name": f"</td><script>{i}", "n": i}, i % 2) for i in range(30)]
    table = render(
        audit(rows, lambda batch: torch.stack([batch["n"], batch["n"] ** 2, batch["n"] * 0 + 1], 1), progress=False)
    )
    found = held(table)["previews"].values()
    assert ["<b>name", "</td><script>3"] in [row for one in found for row in one["rows"]]
    assert "<b>name" not in table


@pytest.mark.parametrize("issue", ["near_duplicates", "off_topic", "label_errors"])
def test_a_contact_sheet_draws_text_curves_and_rows(issue: str) -> None:
    found = of_texts()
    blank = contact_sheet(replace(found, thumbnails=dict.fromkeys(found.thumbnails, b"")), issue)
    for item in (("words to draw " * 9, 0), (np.sin(np.arange(99.0)), 0), (np.arange(9), 0)):
        small = preview(item) or b""
        sheet = contact_sheet(replace(found, thumbnails=dict.fromkeys(found.thumbnails, small)), issue)
        assert sheet is not None
        assert blank is not None
        assert sheet.shape == blank.shape
        assert (sheet != blank).any()
    assert contact_sheet(found, issue) is not None  # of hostile texts


def test_unreadable_samples_have_no_preview() -> None:
    class Broken:
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Any:
            if index == 7:
                raise OSError("gone")
            return "ab" * index, index % 2

    found = audit(Broken(), lengths, progress=False)
    assert 7 not in thumbnails(found, Broken())
    assert len(found.thumbnails) == 29


def test_a_preview_is_read_without_torch() -> None:
    code = (
        "import sys; from selfclean_hooks.data.previews import decode_preview;"
        "decode_preview(b'{}'); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
