"""Tables as CSV: no cell runs as a formula, however the reader separates."""

import csv
import io
from typing import Any

import pandas as pd
import pytest

from selfclean_hooks.utils.text import as_csv

FORMULAS = "=1+1", "+1+1", "-1+1", "@SUM(1)", "\uff1d1+1"


@pytest.mark.parametrize("before", ["", "a;", "a; ", "a\t", "a\n", "a;b;", 'a;"', "a\n\n", "a,b;"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    "reader",
    [{"delimiter": ","}, {"delimiter": ";"}, {"delimiter": "\t"}, {"delimiter": ";", "quoting": csv.QUOTE_NONE}],
)
def test_no_reader_finds_a_formula(before: str, formula: str, reader: Any) -> None:
    text = as_csv(pd.DataFrame({"n": [-1], "name": [before + formula], "last": ["b"]}), index=False).decode()
    cells = [cell for row in csv.reader(io.StringIO(text), **reader) for cell in row]
    assert not [cell for cell in cells if cell.lstrip(' "').startswith(FORMULAS)]


def test_plain_words_and_numbers_stay() -> None:
    names = ["a;b", "a; b=c", "x=1;y", "a-b", "-3.5", "a;\u00e9", "5;6"]
    text = as_csv(pd.DataFrame({"name": names}), index=False).decode()
    assert list(pd.read_csv(io.StringIO(text), dtype=str).name) == names
