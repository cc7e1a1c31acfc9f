"""Tables as CSV (no cell runs as a formula, however the reader separates), progress in a log, durations."""

import csv
import io
import time
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfclean_hooks.utils.text import as_csv, bar, duration

FORMULAS = "=1+1", "+1+1", "-1+1", "@SUM(1)", "\uff1d1+1"


READERS: list[dict[str, Any]] = [
    {"delimiter": ","},
    {"delimiter": ";"},
    {"delimiter": "\t"},
    {"delimiter": ";", "quoting": csv.QUOTE_NONE},
]


@pytest.mark.parametrize("before", ["", "a;", "a; ", "a\t", "a\n", "a;b;", 'a;"', "a\n\n", "a,b;"])
def test_no_reader_finds_a_formula(before: str) -> None:
    for formula, reader in product(FORMULAS, READERS):
        text = as_csv({"n": [-1], "name": [before + formula], "last": ["b"]}).decode()
        cells = [cell for row in csv.reader(io.StringIO(text), **reader) for cell in row]
        assert not [cell for cell in cells if cell.lstrip(' "').startswith(FORMULAS)], (formula, reader)


def test_plain_words_and_numbers_stay() -> None:
    names = ["a;b", "a; b=c", "x=1;y", "a-b", "-3.5", "a;\u00e9", "5;6"]
    text = as_csv({"name": names}).decode()
    assert list(pd.read_csv(io.StringIO(text), dtype=str).name) == names


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_tables_are_what_pandas_writes(rows: int) -> None:
    rng = np.random.default_rng(0)
    floats = np.resize([np.nan, np.inf, -0.0, 1e-7, 1e22, *rng.normal(size=rows)], rows)
    words = np.resize(np.array(["", 'a"b', "c,d", "e\nf", " ", None, "\u00e9"], object), rows)
    columns: dict[str, Any] = {"double": floats, "single": floats.astype(np.float32), "whole": np.arange(rows)}
    columns |= {"yes": floats > 0, "name, or none": words.tolist(), "code": [None, *range(rows)][:rows]}
    frame = pd.DataFrame({**columns, "code": pd.array(columns["code"], "Int64")})
    assert as_csv(columns).decode() == frame.to_csv(index=False, lineterminator="\n")


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 31.0, 32.0, 62.0, 200.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    with bar("reading", True) as tick:
        assert tick is not None
        for done in (1, 310, 320, 620, 1000):
            tick(done, 1000)
    lines = ["reading: 310 of 1,000, about 69 s left", "reading: 620 of 1,000, about 38 s left"]
    assert capsys.readouterr().err.splitlines() == lines


def test_a_log_gets_a_line_of_work_that_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfclean_hooks.utils.text.EVERY", 0.02)
    seen = ""
    with bar("comparing", True):
        for _ in range(1000):
            time.sleep(0.01)
            seen += capsys.readouterr().err
            if seen.count("\n") >= 2:
                break
    assert seen.splitlines()[:2] == ["comparing: at work for 1 s"] * 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.6, "60 s"), (100, "2 min"), (3600, "60 min"), (6000, "1 h 40 min"), (90_061, "25 h 1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
