"""Marks outlive what happens between two visits: other people's decisions, data that moved, a page open twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.file import read_reviews
from selfclean_hooks.decisions.review.marks import Mark, Review
from selfclean_hooks.report.html.page import render
from tests.browser.browser_pages import CLASSES, N, Opened, exported, opened, page_of, waiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser


Reported = set[tuple[str, str, int]]


def reported(content: dict[str, Any]) -> Reported:
    return {(e["issue"], e["verdict"], e["index"]) for e in content["decisions"]}


def off_topic(audit: Audit, i: int, verdict: Any) -> Mark:
    assert audit.names is not None
    assert audit.digests is not None
    return Mark("off_topic", verdict, i, audit.names[i], audit.digests[i])


def written(audit: Audit, path: Path, *marks: Mark) -> Path:
    """The page anew, with a review."""
    audit.with_decisions(Review(marks)).to_html(path)
    return path


def load(found: Opened, content: dict[str, Any], place: Path) -> str:
    """What the page says of a file."""
    place.write_text(json.dumps(content))
    found.page.set_input_files("input[type=file]", place)
    text = found.page.inner_text("dialog[open] p")  # not what one said before
    found.press("Escape")
    return text


def test_decisions_given_later_are_added_to_those_made_here(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    path = page_of(audit, tmp_path / "audit")
    a, b, c = audit.worst("off_topic")[:3].tolist()
    with opened(browser, path) as found:
        found.tab("off_topic")
        found.press("j", "c")  # a
        written(audit, path, off_topic(audit, a, "rejected"), off_topic(audit, b, "confirmed"))
        found.reload()
        both = {("off_topic", "confirmed", a), ("off_topic", "confirmed", b)}
        assert reported(exported(found, tmp_path / "d.json")) == both
        found.page.click("#tab-off_topic")
        found.page.click("#panel-off_topic .card >> nth=2")
        found.press("x")
        written(audit, path, off_topic(audit, b, "rejected"))  # changed there, and not here
        found.reload()
        after = {("off_topic", "confirmed", a), ("off_topic", "rejected", b), ("off_topic", "rejected", c)}
        assert reported(exported(found, tmp_path / "d.json")) == after


def test_a_given_mark_that_was_taken_back_stays_away(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    path = page_of(audit, tmp_path / "audit")
    (a,) = audit.worst("near_duplicates")[:1].tolist()
    kept = int(audit.decisions.duplicates.kept[audit.decisions.sets[a]])
    names, digests = audit.names or (), audit.digests or ()
    about = (a, names[a], digests[a], kept, names[kept], digests[kept])
    written(audit, path, Mark("near_duplicates", "confirmed", *about))
    with opened(browser, path, "#near_duplicates") as found:
        found.page.click(".card:has-text('in part')")
        found.page.click(f"[aria-label='Drop #{a}']")
        assert exported(found, tmp_path / "d.json")["decisions"] == []
        found.reload()
        assert exported(found, tmp_path / "d.json")["decisions"] == []


def test_the_same_page_open_twice(browser: "Browser", path: Path, audit: Audit, tmp_path: Path) -> None:
    a, b = audit.worst("off_topic")[:2].tolist()
    with opened(browser, path, "#off_topic") as one:
        page = one.page.context.new_page()
        page.goto(f"{path.as_uri()}#off_topic")
        two = Opened(page)

        def sees(found: Opened, state: str) -> None:
            """A page in the background may be frozen, and hears of nothing; a key wakes it."""
            for _ in waiting():
                found.press("Shift")
                if found.page.locator(f".card[data-state={state}]").count():
                    return

        one.page.bring_to_front()
        one.press("j", "c")
        page.bring_to_front()
        sees(two, "confirmed")
        two.press("j", "j", "x")
        one.page.bring_to_front()
        sees(one, "rejected")
        both = {("off_topic", "confirmed", a), ("off_topic", "rejected", b)}
        assert reported(exported(one, tmp_path / "d.json")) == both
        two.reload()
        assert reported(exported(two, tmp_path / "d.json")) == both


@pytest.mark.parametrize("event", ["storage", "pageshow", "visibilitychange", "keydown", "pointerdown"])
def test_what_another_page_stored_is_taken_before_anything_is_stored_here(review: Opened, event: str) -> None:
    """Whatever is heard of first: the marks of both are kept."""
    page = review.tab("off_topic")
    review.press("j", "c")
    page.evaluate(
        """() => {
          const place = Object.keys(localStorage).find((key) => key.startsWith("selfclean-hooks review"));
          const content = JSON.parse(localStorage.getItem(place));
          for (const [, mark] of content.issues.off_topic.marks) mark.verdict = "rejected";
          localStorage.setItem(place, JSON.stringify(content));
        }"""
    )
    assert page.locator(".card[data-state=confirmed]").count() == 1
    page.evaluate("(event) => document.body.dispatchEvent(new KeyboardEvent(event, {bubbles: true}))", event)
    assert page.locator(".card[data-state=rejected]").count() == 1
    review.press("c")
    assert list(review.marks["off_topic"].values()) == ["rejected", "confirmed"]


def test_marks_stay_where_the_browser_has_no_room_for_more(review: Opened) -> None:
    page = review.tab("off_topic")
    review.press("j", "c")
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
    review.press("c", "c", "x")
    assert page.locator(".card[data-state=confirmed]").count() == 3
    assert page.locator(".card[data-state=rejected]").count() == 1


def test_a_page_that_shows_less_keeps_the_other_marks(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    path = page_of(audit, tmp_path / "audit")
    worst = audit.worst("off_topic").tolist()
    with opened(browser, path, "#off_topic") as found:
        found.press("j", "c", "c", "c")
        path.write_text(render(audit, max_items=2), encoding="utf-8")
        found.reload()
        found.press("j", "x")
        audit.to_html(path)
        found.reload()
        after = {("off_topic", "rejected", worst[0]), *(("off_topic", "confirmed", i) for i in worst[1:3])}
        assert reported(exported(found, tmp_path / "d.json")) == after


def test_thresholds_of_the_review_are_exported_again(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    reviewed = audit.with_decisions(Review(thresholds={"label_errors": 0.2, "off_topic": 0.3}))
    with opened(browser, page_of(reviewed, tmp_path / "audit")) as found:
        assert exported(found, tmp_path / "d.json")["thresholds"] == {"label_errors": 0.2, "off_topic": 0.3}
        found.tab("off_topic")
        found.page.fill("#panel-off_topic input.exact", "0.1")
        found.press("Enter")
        assert exported(found, tmp_path / "d.json")["thresholds"] == {"label_errors": 0.2, "off_topic": 0.1}


@pytest.mark.parametrize("known", ["digests", "names"])
def test_files_that_moved_are_found_when_loaded(
    browser: "Browser", review: Opened, audit: Audit, known: str, tmp_path: Path
) -> None:
    review.tab("off_topic")
    review.press("j", "c", "x")
    review.tab("near_duplicates")
    review.press("j", "j", "c")  # not the first set: these are exact copies of each other
    content = exported(review, tmp_path / "decisions.json")
    for entry in content["decisions"]:
        entry["index"] += 1  # as if a file had stood before all of them
        entry |= {"other_index": entry["other_index"] + 1} if "other_index" in entry else {}
        for key in ("digest", "other_digest") if known == "names" else ("sample", "other_sample"):
            entry |= {key: ""} if key in entry else {}
    changed = replace(audit, digests=None) if known == "names" else audit
    with opened(browser, page_of(changed, tmp_path / "audit")) as found:
        assert "nothing that is shown" not in load(found, content, tmp_path / "moved.json")
        after = exported(found, tmp_path / "again.json")
    assert {(i, v, at + 1) for i, v, at in reported(after)} == reported(content)


def test_what_is_about_other_files_lands_nowhere_and_is_exported_again(
    browser: "Browser", audit: Audit, tmp_path: Path
) -> None:
    (i,) = audit.worst("off_topic")[:1].tolist()
    entries = [
        {"issue": "off_topic", "verdict": "confirmed", "index": i, "sample": "elsewhere.png", "digest": ""},
        {"issue": "off_topic", "verdict": "confirmed", "index": i, "sample": "", "digest": "0" * 32},
    ]
    plain: dict[str, Any] = {"format": 1, "kind": "selfclean-hooks decisions", "decisions": entries}
    alone = {"issue": "off_topic", "verdict": "confirmed", "index": i}
    of_split = {**plain, "split": "val", "thresholds": {"off_topic": 0.9}, "decisions": [alone]}
    with opened(browser, page_of(audit, tmp_path / "audit")) as found:
        assert "2 are about nothing that is shown here" in load(found, plain, tmp_path / "a.json")
        assert "1 are about nothing that is shown here" in load(found, of_split, tmp_path / "b.json")
        assert found.marks == {}
        found.reload()
        content = exported(found, tmp_path / "d.json")
    assert content["decisions"] == [*entries, {"split": "val", **alone}]
    assert content["thresholds"] == {}
    assert len(read_reviews(tmp_path / "d.json").marks) == 3


ODD: dict[str, dict[str, Any]] = {
    "no such issue": {"issue": "constructor"},
    "relabelled, of no label": {"issue": "off_topic", "verdict": "relabelled", "label": "ant"},
    "blank label": {"issue": "label_errors", "verdict": "relabelled", "label": " "},
    "name of another kind": {"sample": 7},
    "no digest": {"digest": "xyz"},
    "about one": {"issue": "near_duplicates"},
    "about two": {"other_index": 3},
    "no place": {"index": 1.5},
}


@pytest.mark.parametrize("kind", ODD)
def test_what_the_command_line_would_refuse_is_refused(review: Opened, kind: str, tmp_path: Path) -> None:
    fine = {"issue": "off_topic", "verdict": "confirmed", "index": 220}
    content = {"format": 1, "kind": "selfclean-hooks decisions", "decisions": [fine, {**fine, **ODD[kind]}]}
    assert "decision 2 is not as this page writes it" in load(review, content, tmp_path / "odd.json")
    assert review.page.evaluate("localStorage.length") == 0


def test_a_leak_that_is_none_is_found_where_its_samples_are_now(
    browser: "Browser", audit: Audit, tmp_path: Path
) -> None:
    threshold = audit.decisions.thresholds["near_duplicates"]
    distance = np.linspace(0, threshold / 2, 6).astype(np.float32)
    digests = tuple(f"{i:032x}" for i in range(6))
    pairs = np.ones(6, int), np.arange(6), np.arange(20, 26), distance
    leaks = LeakPairs(("train", "val"), (N, 50), *pairs, None, digests, automatic=threshold)
    audit = replace(audit, scores=replace(audit.scores, leaks=leaks))
    assert audit.digests is not None
    about = {"other_digest": digests[3], "other_split": "val", "split": "train"}
    mark = Mark("leakage", "rejected", 2, digest=audit.digests[3], other_index=22, **about)  # now 3 and 23
    with opened(browser, page_of(audit.with_decisions(Review((mark,))), tmp_path / "audit"), "#leakage") as found:
        assert "#3" in found.page.inner_text("#panel-leakage .card[data-state=rejected]")
        (entry,) = exported(found, tmp_path / "d.json")["decisions"]
        assert (entry["index"], entry["other_index"]) == (3, 23)


def test_an_address_that_is_no_address_opens_the_summary(browser: "Browser", path: Path) -> None:
    with opened(browser, path, "#%zz/1") as found:
        assert found.page.get_attribute("#tab-summary", "aria-selected") == "true"


def test_a_class_without_a_name_cannot_be_chosen(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    named = replace(audit, scores=replace(audit.scores, class_names=(" ", *CLASSES[1:])))
    with opened(browser, page_of(named, tmp_path / "audit"), "#label_errors") as found:
        found.press("j")
        assert found.page.locator("select.relabel option:disabled").count() == 1
        for _ in range(20):
            found.press("r", "j")
        exported(found, tmp_path / "d.json")
        found.tab("classes")
        assert "(blank)" in found.page.inner_text("#panel-classes")
    assert all(mark.label.strip() for mark in read_reviews(tmp_path / "d.json").marks)


def test_a_new_class_of_a_file_can_be_kept(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    (i,) = audit.worst("label_errors")[:1].tolist()
    reviewed = audit.with_decisions(Review((Mark("label_errors", "relabelled", i, label="moth"),)))
    with opened(browser, page_of(reviewed, tmp_path / "audit"), "#label_errors") as found:
        found.page.click(".card[data-state=relabelled]")
        found.press("r")
        (entry,) = exported(found, tmp_path / "d.json")["decisions"]
    assert (entry["index"], entry["label"]) == (i, "moth")
