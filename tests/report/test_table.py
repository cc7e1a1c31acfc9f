"""The tables of a terminal."""

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from selfclean_hooks import Audit, Limits, Thresholds
from selfclean_hooks.gate.verdict import Verdict
from selfclean_hooks.report.table import show, tables
from selfclean_hooks.utils.text import visible
from tests.decisions.test_policy import scores_of
from tests.helpers.format_data import HOSTILE, half_accepted, judged, one, two


def shown(audits: dict[str, Audit], verdict: Verdict, width: int = 160, **settings: Any) -> str:
    console = Console(file=io.StringIO(), width=width, **settings)
    show(audits, verdict, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def rows(audits: dict[str, Audit], verdict: Verdict) -> list[list[str]]:
    """Head and cells of all tables."""
    found = []
    for table in tables(audits, verdict):
        columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
        found += [list(row) for row in zip(*columns, strict=True)]
    return found


def test_a_table_of_one_data_set() -> None:
    audits = {"": one()}
    verdict = judged(audits, Limits())
    lines = shown(audits, verdict).splitlines()
    assert lines[0].strip() == "10 samples"
    assert lines[-2].strip() == "label_errors: there are no labels"
    assert rows(audits, verdict) == [
        ["issue", "flagged", "contamination", "threshold", "worst"],
        ["near_duplicates", "2", "20.00% (5.67-50.98)", "0.1", "1, 2"],
        ["off_topic", "1", "10.00% (1.79-40.42)", "0.1", "4"],
        ["label_errors", "not run", "", "", ""],
        ["unreadable", "1", "10.00% (1.79-40.42)", "", "9"],
    ]


def test_a_table_a_split_with_its_limits() -> None:
    audits = two()
    verdict = judged(audits)
    text = shown(audits, verdict)
    assert re.findall(r"^ *(\w+: \d+ samples)", text, re.M) == ["train: 10 samples", "val: 10 samples"]
    assert rows(audits, verdict)[0] == ["issue", "flagged", "contamination", "limit", "threshold", "worst"]
    assert [row[3] for row in rows(audits, verdict)[1:6]] == ["10%", "50%", "0%", "50%", "0 samples"]
    assert ["label_errors", "1", "10.00% (1.79-40.42)", "0%", "0.1", "7"] in rows(audits, verdict)


def test_reasons_follow_failures_in_red() -> None:
    audits = {"": one()}
    verdict = judged(audits)
    lines = shown(audits, verdict).splitlines()
    assert lines[-4:] == list(verdict.reasons)
    coloured = shown(audits, verdict, force_terminal=True, color_system="standard", no_color=False)
    found = dict(re.findall("^\x1b\\[(31|32)m(\\w+)", coloured, re.M)[::-1])
    assert found == {"31": "near_duplicates", "32": "off_topic"}


def test_what_is_new_is_a_column_and_what_is_stale_a_line() -> None:
    found = rows(*half_accepted())
    assert found[0] == ["issue", "flagged", "new", "contamination", "limit", "threshold", "worst"]
    assert found[2] == ["off_topic", "1", "0", "0.00% (0.00-27.75)", "0 samples", "0.1", ""]
    text = shown(*half_accepted())
    assert "stale entry of the baseline: unreadable: gone | `file`.png" in text


def test_all_columns_fit_into_a_log() -> None:
    audits, verdict = half_accepted()
    table = [line for line in shown(audits, verdict, width=80).splitlines() if "baseline" not in line]
    assert max(map(len, table[:-1])) <= 80
    for part in ("near_duplicates", "label_errors", "threshold", "0.00% (0.00-27.75)", "0 samples"):
        assert any(part in line for line in table)


def test_no_threshold_is_an_empty_cell() -> None:
    audits = {"": Audit(scores_of(), Thresholds(None, None, None))}
    assert [row[3] for row in rows(audits, judged(audits, Limits()))[1:]] == [""] * 4


def test_the_worst_five_are_named() -> None:
    audits = {"": Audit(scores_of(label=np.linspace(0.09, 0.01, 10)))}
    assert rows(audits, judged(audits, Limits()))[3][-1] == "9, 8, 7, 6, 5"


def test_what_can_be_printed_stays_as_it_is() -> None:
    assert visible(HOSTILE["emoji"]) == HOSTILE["emoji"]
    assert visible("a\n\x1b\udcff") == "a\\n\\x1b\\udcff"
    assert visible("x" * 200) == "x" * 200
    assert visible("a" * 150 + "b" * 51) == "a" * 98 + "..." + "a" * 47 + "b" * 51


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_cannot_act_on_the_terminal(name: str) -> None:
    audits = two(name, other=name)
    train = audits["train"]
    audits["train"] = replace(train, scores=replace(train.scores, not_run={"label_errors": name}))
    text = shown(audits, judged(audits), width=4000, force_terminal=True, no_color=True, color_system=None)
    text.encode("utf-8")
    assert all(c.isprintable() or c in "\n\u200d" for c in re.sub("\x1b\\[[0-9;]*m", "", text))
    assert "".join(f"{visible(name)}:10samples".split()) in "".join(text.split())  # a long title goes on in a new line
    assert "".join(visible(f"label_errors: {name}").split()) in "".join(text.split())
