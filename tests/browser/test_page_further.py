"""Beyond the flags: the page leads on to what is next in rank, says what to expect there, and what was found."""

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.core.calibration import Calibration
from selfclean_hooks.results.findings import with_max_items
from tests.browser.browser_pages import Opened, opened, page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PANEL = "[role=tabpanel]:not([hidden])"
NEXT = 50  # as the page has it
UNKNOWN = Calibration(np.array([1.0]), np.array([1.0]), unknown="there is no main body")


def estimated(audit: Audit, calibration: Calibration) -> Audit:
    scores = replace(audit.scores, calibration=dict.fromkeys(audit.scores.issues, calibration))
    return replace(audit, scores=scores, thumbnails={})


def line(review: Opened) -> str:
    return review.page.inner_text(f"{PANEL} .further span")


def focused(review: Opened) -> str:
    return str(review.page.inner_text(f"{PANEL} [aria-selected=true] strong >> nth=0"))


@pytest.mark.parametrize("issue", ["off_topic", "label_errors"])
def test_what_is_next_is_estimated_shown_and_counted(review: Opened, audit: Audit, issue: str) -> None:
    scores, flags = audit.scores.of(issue), audit.decisions.flags[issue]
    above = [i for i in np.argsort(scores, kind="stable").tolist() if not flags[i]]
    expected = float((1 - audit.scores.calibration[issue].probability_clean(scores[above[:NEXT]])).sum())
    page = review.tab(issue)
    words = "hardly any" if expected < 0.5 else f"an estimated {round(expected)}"
    assert re.search(rf"the next {NEXT} of \d+ listed, {words} of them issues\.$", line(review)), line(review)
    page.click(f"{PANEL} .further button")
    assert focused(review) == f"#{above[0]}"
    assert page.inner_text(f"{PANEL} .counted").endswith("0 of them flagged")
    review.press("x", "c", "x")
    assert line(review).endswith("; 1 of the 3 marked there are issues.")
    page.click(f"{PANEL} .further button")
    assert focused(review) == f"#{above[3]}"
    review.press("u", "u", "u")
    assert "marked" not in line(review)


def test_each_finding_has_its_probability(review: Opened, audit: Audit) -> None:
    """As the estimate of Python, at any score."""
    scores, address = audit.scores.label, review.page.url.partition("#")[0]
    for i in np.argsort(scores, kind="stable")[[0, 20, 90]].tolist():
        review.page.goto("about:blank")
        review.page.goto(f"{address}#label_errors/{i}")
        chance = 1 - float(audit.scores.calibration["label_errors"].probability_clean(scores[[i]])[0])
        said = review.page.inner_text(f"{PANEL} .focus h3")
        shown = re.search(r"(less than 1|more than 99|\d+)% likely", said)
        assert shown is not None, said
        within = {"less than 1": chance < 0.01, "more than 99": chance > 0.99}
        assert within[shown[1]] if shown[1] in within else abs(int(shown[1]) - 100 * chance) <= 0.5 + 1e-9


def test_what_was_passed_over_is_decided_at_once(review: Opened) -> None:
    """The issues are picked by eye on the way down; one key selects all others so far."""
    page = review.tab("label_errors")
    page.locator(f"{PANEL} .gallery").focus()
    review.press("j", "j", "c", "j", "j", "j", "b")
    assert page.inner_text(f"{PANEL} .selected strong") == "5 selected"
    review.press("x")
    assert sorted(review.marks["label_errors"].values()) == ["confirmed", *["rejected"] * 5]
    page.click(f"{PANEL} >> text=Select unmarked up to here")
    assert page.inner_text(f"{PANEL} .selected strong") == ""


def test_where_nothing_is_known_or_left_the_page_says_so(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    with_max_items(estimated(audit, UNKNOWN), 20).to_html(tmp_path / "few.html")
    with opened(browser, tmp_path / "few.html") as review:
        page = review.tab("off_topic")
        assert line(review).endswith("how many are issues cannot be estimated.")
        page.click(f"{PANEL} .further button")
        number = len(page.query_selector_all(f"{PANEL} .card"))
        review.press("a", "c")
        assert line(review) == (
            f"Above the threshold: all that are listed are marked; {number} of the {number} marked there are issues. "
            "Audit with a higher --max-items to look further."
        )
        assert not page.is_visible(f"{PANEL} .further button")
    path = page_of(estimated(audit, UNKNOWN), tmp_path / "all")
    with opened(browser, path) as review:
        review.tab("off_topic")
        review.press("a", "x")
        assert line(review) == "", "enough consecutive non-issues: there is no need"
