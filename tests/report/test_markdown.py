"""The Markdown as GitHub reads it: rendered by markdown-it with tables, and read back."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from selfclean_hooks import Audit, Limits
from selfclean_hooks.report.markdown import LISTED, MOST_BYTES, as_markdown
from selfclean_hooks.report.text import sample_name, why
from selfclean_hooks.utils.text import visible
from tests.decisions.test_policy import scores_of
from tests.helpers.format_data import HOSTILE, half_accepted, judged, one, two

OURS = {
    "h2",
    "h3",
    "p",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "strong",
    "code",
    "details",
    "summary",
    "ul",
    "li",
}


class Page(HTMLParser):
    """What is left of Markdown when it is rendered: tags, cells, and text by tag."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        self.feed(renderer.render(markdown))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert all(name == "style" and str(value).startswith("text-align:") for name, value in attrs)
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.text[tag][-1] += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_the_line_at_the_top_is_the_verdict() -> None:
    audits = {"": one()}
    page = Page(as_markdown(audits, judged(audits)))
    assert page.text["h2"] == ["selfclean-hooks: failed"]
    assert page.text["p"] == ["1 of 4 limits kept."]
    page = Page(as_markdown(audits, judged(audits, Limits())))
    assert (page.text["h2"], page.text["p"]) == (["selfclean-hooks: passed"], ["no limits were set."])
    assert page.text["h3"] == ["10 samples"]


def test_a_table_a_split() -> None:
    audits = two()
    page = Page(as_markdown(audits, judged(audits)))
    assert page.text["h3"] == ["train: 10 samples", "val: 10 samples"]
    assert page.tags.count("table") == 2 + 3  # and one for each failure that has samples
    head = ["issue", "found", "contamination (95% interval)", "limit", "result"]
    assert [row for row in page.rows if row[0] == "issue"] == [head, head]
    assert page.rows[1:6] == [
        ["near duplicates", "2", "20.00% (5.67-50.98)", "10%", "failed"],
        ["off topic", "1", "10.00% (1.79-40.42)", "50%", "passed"],
        ["label errors", "", "", "0%", "failed, not run: there are no labels"],
        ["leakage", "2", "20.00% (5.67-50.98)", "50%", "passed"],
        ["unreadable", "1", "10.00% (1.79-40.42)", "0 samples", "failed"],
    ]


def test_shift_is_a_table_of_its_own() -> None:
    audits = two()
    row = {"split_1": "train", "split_2": "v|l", "distance": 0.5, "expected": 0.012345, "p_value": 0.005}
    page = Page(as_markdown(audits, judged(audits), [row]))
    assert ["train", "v|l", "0.5", "0.01235", "0.005"] in page.rows
    assert page.text["h3"] == ["train: 10 samples", "val: 10 samples", "Shift between splits"]


def test_what_failed_names_its_worst() -> None:
    audits = two()
    page = Page(as_markdown(audits, judged(audits)))
    assert page.text["summary"] == [
        "train: near duplicates: the worst 2 of 2",
        "train: unreadable: the worst 1 of 1",
        "val: label errors: the worst 1 of 1",
    ]
    reasons = audits["train"].decisions.reason
    assert [f"train/{i}.png ({i})" for i in (1, 2)] == [row[0] for row in page.rows if "near duplicate of" in row[1]]
    assert ["train/9.png (9)", reasons[9]] in page.rows


def test_what_the_baseline_accepts_what_is_stale_and_notes() -> None:
    audits, verdict = half_accepted()
    audits = {"": replace(audits[""], provenance={"notes": ["read <b>twice</b>"] + [str(i) for i in range(LISTED)]})}
    page = Page(as_markdown(audits, verdict))
    assert "only findings that are not in the baseline count" in page.text["p"][0]
    assert ["off topic", "0 (and 1 accepted)", "0.00% (0.00-27.75)", "0 samples", "passed"] in page.rows
    assert page.text["h3"][1:] == ["Stale entries of the baseline", "Notes"]
    assert "gone | `file`.png" in page.text["li"][0]
    assert page.text["li"][1] == "read <b>twice</b>"
    assert page.text["li"][-1] == "and 1 more"


def test_it_stays_below_the_size_of_a_step_summary() -> None:
    long = "\U0001f600" * 5000
    scores = scores_of(30, errors={i: long for i in range(30)})
    audits = {f"{i}{long}": Audit(scores, names=(long,) * 30) for i in range(25)}
    text = as_markdown(audits, judged(audits, Limits(unreadable=0)))
    assert MOST_BYTES * 0.9 < len(text.encode()) <= MOST_BYTES
    left_out = int(re.findall(r"(\d+) parts are left out", text)[0])
    page = Page(text)
    assert page.tags.count("details") == 25 - left_out
    assert page.text["h2"] == ["selfclean-hooks: failed"]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_make_no_markup(name: str) -> None:
    audits = two(name, other=name)
    train = audits["train"]
    scores = replace(train.scores, errors={9: name}, not_run={"label_errors": name})
    audits["train"] = train = replace(train, scores=scores, provenance={"notes": [name]})
    page = Page(as_markdown(audits, judged(audits)))
    assert set(page.tags) <= OURS
    shown = [[" ".join(cell.split()) for cell in row] for row in page.rows]
    for i in (1, 2):
        assert [" ".join(text.split()) for text in (sample_name(train, i), why(train, i))] in shown
    plain = " ".join(visible(name).split())
    assert shown[3][-1] == f"failed, not run: {plain}"
    assert [" ".join(text.split()) for text in page.text["h3"]] == [
        "train: 10 samples",
        f"{plain}: 10 samples",
        "Notes",
    ]
    assert all(len(row) in (2, 5) for row in shown)
    assert not re.search("@|www[.]|://|#[0-9]", re.sub("&#[0-9]+;|## ?", "", as_markdown(audits, judged(audits))))
