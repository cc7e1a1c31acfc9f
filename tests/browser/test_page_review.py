"""Marks in a real browser: keys, undo, sets, relabelling, and the stopping rule."""

from pathlib import Path
from typing import TYPE_CHECKING

from selfclean_hooks import Audit
from selfclean_hooks.core.calibration import clean_in_a_row
from selfclean_hooks.results.stopping_rule import CleanRun, stopping_rule
from tests.browser.browser_pages import CLASSES, Opened, exported, focused

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_marks_by_keyboard_undo_and_reload(review: Opened) -> None:
    page = review.tab("off_topic")
    review.press("j", "c")
    first = list(review.marks["off_topic"])
    review.press("x", "x")
    assert list(review.marks["off_topic"].values()) == ["confirmed", "rejected", "rejected"]
    at = focused(review)
    review.press("u")
    assert focused(review) != at
    assert list(review.marks["off_topic"].values()) == ["confirmed", "rejected"]
    review.press("ArrowLeft", "ArrowLeft", "k")
    assert focused(review) == int(first[0])
    review.reload()
    page.wait_for_selector("#panel-off_topic .card[data-state=confirmed]")
    assert page.locator("#panel-off_topic .card[data-state=rejected]").count() == 1
    assert "3 of" in page.inner_text("#panel-off_topic .progress") or "4 of" in page.inner_text(".progress >> nth=0")


def test_keys_rest_while_one_types(review: Opened) -> None:
    page = review.tab("off_topic")
    review.press("j")
    page.focus("#panel-off_topic input[type=search]")
    review.press("c", "x", "j")
    assert page.input_value("#panel-off_topic input[type=search]") == "cxj"
    assert review.marks == {}


def test_a_set_is_marked_at_once_or_copy_by_copy(review: Opened, audit: Audit) -> None:
    page = review.tab("near_duplicates")
    sets = audit.duplicate_sets.groupby("near_duplicate_set")["index"].apply(list)
    members = next(found for found in sets if 0 in found)
    assert len(members) == 4
    page.fill("#panel-near_duplicates input[type=search]", "#0")
    page.select_option("#panel-near_duplicates [aria-label=State]", "flagged")  # the set alone
    page.click("#panel-near_duplicates h2")
    review.press("j", "c")
    assert review.marks["near_duplicates"] == {f"{i}|0|": "confirmed" for i in members[1:]}
    page.click(f"[aria-label='Keep #{members[2]}']")
    found = review.marks["near_duplicates"]
    assert (found[f"{members[1]}|0|"], found[f"{members[2]}|0|"]) == ("confirmed", "rejected")
    assert page.inner_text(".card[aria-selected=true] .state") == "in part"
    review.press("u", "u")
    assert review.marks == {}


def test_relabelling_starts_from_the_predicted_class(review: Opened, audit: Audit, tmp_path: Path) -> None:
    page = review.tab("label_errors")
    review.press("j")
    one = focused(review)
    predicted = CLASSES[audit.scores.predicted_label[one]]
    assert page.locator("select.relabel option:checked").inner_text() == predicted
    review.press("r")
    two = focused(review)
    page.select_option("select.relabel", label="cat")
    page.focus("select.relabel")
    review.press("Enter")
    found = {entry["index"]: entry for entry in exported(review, tmp_path / "d.json")["decisions"]}
    assert (found[one]["verdict"], found[one]["label"]) == ("relabelled", predicted)
    assert (found[two]["verdict"], found[two]["label"]) == ("relabelled", "cat")


def test_the_rule_for_stopping(review: Opened) -> None:
    page = review.tab("label_errors")
    row = clean_in_a_row()
    review.press("j", "x", "c")
    for _ in range(row - 1):
        review.press("x")
    assert page.inner_text("#panel-label_errors .rule") == f"{row - 1} of {row} consecutive non-issues"
    review.press("x")
    assert page.inner_text("#panel-label_errors .rule").startswith(
        f"{row} consecutive non-issues from the 3rd on: reviewing can stop"
    )
    verdicts = ["rejected", "confirmed", *["rejected"] * row]
    assert stopping_rule(verdicts) == CleanRun(row, 3, True)
    review.press("u", "c")
    assert page.inner_text("#panel-label_errors .rule") == f"0 of {row} consecutive non-issues"


def test_where_nothing_may_be_kept_the_page_says_so(browser: "Browser", path: Path) -> None:
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('refused'); }})")
    page = context.new_page()
    page.goto(path.as_uri())
    assert "does not let the page keep anything" in page.inner_text("#panel-summary")
    page.click("#tab-off_topic")
    page.keyboard.press("j")
    page.keyboard.press("c")
    assert page.locator(".card[data-state=confirmed]").count() == 1
    context.close()
