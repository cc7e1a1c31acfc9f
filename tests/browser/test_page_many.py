"""Many findings in a real browser: select, decide at once, sort, filter, enlarge, and save as a table."""

import csv
import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Policy
from selfclean_hooks.decisions.duplicate_sets import label_conflicts
from tests.browser.browser_pages import CLASSES, N, Opened, made, opened, page_of, png

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CARD = "[role=tabpanel]:not([hidden]) .card"
SELECTED = "[role=tabpanel]:not([hidden]) .selected"


def order(page: "Page") -> list[int]:
    """Samples of the cards of the open tab, as listed."""
    sorted_cards = "[...document.querySelectorAll(place)].sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
    names = page.evaluate(f"(place) => {sorted_cards}.map((card) => card.querySelector('strong').textContent)", CARD)
    return [int(name.removeprefix("#")) for name in names]


def card(page: "Page", at: int) -> Any:
    return page.locator(f"{CARD}[aria-posinset='{at}']")


@pytest.fixture
def errors(review: Opened) -> Opened:
    review.tab("label_errors")
    return review


def test_clicks_with_ctrl_and_shift_select(errors: Opened) -> None:
    page, listed = errors.page, order(errors.page)
    card(page, 2).click(modifiers=["Control"])
    card(page, 5).click(modifiers=["Shift"])
    card(page, 3).click(modifiers=["Control"])
    card(page, 1).locator(".pick").click()
    assert page.inner_text(f"{SELECTED} strong") == "4 selected"
    page.click(f"{SELECTED} >> text=Not an issue")
    assert errors.marks == {"label_errors": {str(listed[i]): "rejected" for i in (0, 1, 3, 4)}}
    assert not page.is_visible(SELECTED)
    errors.press("u")
    assert errors.marks == {}


def test_all_that_are_listed_are_decided_at_once(errors: Opened) -> None:
    page = errors.page
    page.select_option("[role=tabpanel]:not([hidden]) [aria-label=Class]", label="bee")
    listed = int(page.inner_text("[role=tabpanel]:not([hidden]) .counted").split()[0])
    errors.press("a", "c")
    assert list(errors.marks["label_errors"].values()) == ["confirmed"] * listed
    errors.press("a", "Escape", "x")
    assert "rejected" not in errors.marks["label_errors"].values()


def test_space_selects_what_is_in_focus(errors: Opened) -> None:
    errors.press("j", " ", "j", "j", " ", "x")
    listed = order(errors.page)
    assert errors.marks == {"label_errors": {str(listed[i]): "rejected" for i in (0, 2)}}


def test_a_rectangle_selects_what_it_touches(errors: Opened) -> None:
    page = errors.page
    first, second = (card(page, at).bounding_box() for at in (1, 2))
    assert first is not None
    assert second is not None
    page.mouse.move(first["x"] + 30, first["y"] + 40)
    page.mouse.down()
    page.mouse.move(second["x"] + 30, second["y"] + 60, steps=4)
    page.mouse.up()
    assert page.inner_text(f"{SELECTED} strong") == "2 selected"
    assert page.locator(f"{CARD}[aria-checked=true]").count() == 2
    assert page.locator(f"{CARD}[aria-selected=true]").count() == 0  # a drag is no click
    card(page, 1).click()
    assert page.locator(f"{CARD}[aria-selected=true]").count() == 1


def test_the_selected_are_relabelled_each_as_predicted_or_all_alike(errors: Opened, audit: Audit) -> None:
    page, listed = errors.page, order(errors.page)
    for at in (1, 2):
        card(page, at).click(modifiers=["Control"])
    errors.press("r")
    kept = page.evaluate("JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).issues.label_errors.marks")
    predicted = {str(i): CLASSES[audit.scores.predicted_label[i]] for i in listed[:2]}
    assert {key: mark["label"] for key, mark in kept} == predicted
    errors.press("u")
    for at in (1, 2):
        card(page, at).click(modifiers=["Control"])
    page.select_option(f"{SELECTED} select", label="cat")
    page.click(f"{SELECTED} >> text=Relabel")
    kept = page.evaluate("JSON.parse(localStorage.getItem(Object.keys(localStorage)[0])).issues.label_errors.marks")
    assert [mark["label"] for _, mark in kept] == ["cat", "cat"]


def test_sorting(errors: Opened, audit: Audit) -> None:
    page = errors.page
    of = audit.scores
    assert (scores := [of.label[i] for i in order(page)]) == sorted(scores)
    for value, key in (("class", of.given_label), ("predicted", of.predicted_label)):
        page.select_option("#panel-label_errors [aria-label=Order]", value)
        assert (codes := [int(key[i]) for i in order(page)]) == sorted(codes)
    page.select_option("#panel-label_errors [aria-label=Order]", "name")
    names = [f"{CLASSES[of.given_label[i]]}/{i}" for i in order(page)]
    assert names == sorted(names, key=lambda name: (name.split("/")[0], int(name.split("/")[1])))


def test_predicted_classes_pairs_and_scores_filter(errors: Opened, audit: Audit) -> None:
    page, of = errors.page, audit.scores
    page.select_option("[aria-label='Predicted class']", label="cat")
    assert {int(of.predicted_label[i]) for i in order(page)} == {CLASSES.index("cat")}
    page.click("text=Given and predicted classes")
    cell = page.locator(".confusion button").first
    number, given, predicted = (
        int(cell.inner_text()),
        *(cell.get_attribute("aria-label") or "").split(" given ")[1].split(", predicted "),
    )
    cell.click()
    flagged = [i for i in audit.decisions.flags["label_errors"].nonzero()[0].tolist()]
    pairs = [(CLASSES[of.given_label[i]], CLASSES[of.predicted_label[i]]) for i in flagged]
    assert pairs.count((given, predicted)) == number
    assert f"{number} of them flagged" in page.inner_text("#panel-label_errors .counted")
    assert {(CLASSES[of.given_label[i]], CLASSES[of.predicted_label[i]]) for i in order(page)} == {(given, predicted)}
    page.click("#panel-label_errors >> text=Clear filters")
    page.fill("#panel-label_errors [aria-label='Score from']", "0.1")
    page.fill("#panel-label_errors [aria-label='Score to']", "0.4")
    page.press("#panel-label_errors [aria-label='Score to']", "Tab")
    assert order(page)
    assert all(0.1 <= of.label[i] <= 0.4 for i in order(page))
    errors.tab("off_topic")
    assert (
        order(page) == np.argsort(of.off_topic, kind="stable").tolist()[: len(order(page))]
    )  # the range is of the other issue


def test_what_is_alike_comes_first(errors: Opened, audit: Audit) -> None:
    page = errors.page
    assert audit.evidence is not None
    assert audit.evidence.map is not None
    errors.press("j", "j")
    one = int(page.inner_text("#panel-label_errors .focus figcaption strong >> nth=0")[1:])
    page.click("text=Find similar")
    listed = order(page)
    near = {j for row in audit.evidence.labels[one] for j in row}
    assert listed[0] == one
    rest = [i for i in listed[1:] if i not in near]
    gaps = [float(((audit.evidence.map[i] - audit.evidence.map[one]) ** 2).sum()) for i in rest]
    assert all(b >= a - 1e-4 for a, b in pairwise(gaps))
    assert "likeness" in page.inner_text("#panel-label_errors .like")


def test_what_is_listed_is_saved_as_a_table(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    assert audit.names is not None
    hostile = replace(audit, names=tuple(f'=cmd|"{i}",;@x.png' for i in range(N)))
    with opened(browser, page_of(hostile, tmp_path)) as found:
        page = found.tab("label_errors")
        found.press("j", "x")
        with page.expect_download() as waiting:
            page.click("#panel-label_errors >> text=CSV of these")
        waiting.value.save_as(tmp_path / "x.csv")
        rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text(encoding="utf-8"))))
        assert [int(row["index"]) for row in rows][: len(order(page))] == order(page)
    assert rows[0]["decision"] == "rejected"
    assert all(row["file"].startswith("'=cmd|") for row in rows)
    assert all(";'@x" in row["file"] for row in rows)
    worst = int(rows[0]["index"])
    assert float(rows[0]["score"]) == pytest.approx(float(audit.scores.label[worst]))
    assert rows[0]["predicted_label"] == CLASSES[audit.scores.predicted_label[worst]]


def test_images_are_enlarged_and_lead_to_their_files(
    browser: "Browser", audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert audit.names is not None
    for i, name in enumerate(audit.names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(i))
    with opened(browser, page_of(audit, tmp_path / "out" / "deep")) as found:
        page = found.tab("label_errors")
        found.press("j")
        page.click("#panel-label_errors .focus .zoom >> nth=0")
        at = int(page.inner_text("dialog .who strong")[1:])
        large = page.locator("dialog img").bounding_box()
        assert large is not None
        assert large["height"] > 400
        address = page.locator("dialog a").evaluate("(link) => link.href")
        assert address == (tmp_path / audit.names[at]).as_uri()


def test_pages_elsewhere_do_not_say_where_the_files_are(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit.names is not None
    (tmp_path / "project" / audit.names[0]).parent.mkdir(parents=True)
    (tmp_path / "project" / audit.names[0]).write_bytes(png(0))
    monkeypatch.chdir(tmp_path / "project")
    for folder, address in (("out/deep", '"files":"../../"'), ("", '"files":""'), ("../other", '"files":null')):
        Path(folder).mkdir(parents=True, exist_ok=True)
        audit.to_html(Path(folder, "report.html"))
        assert address in Path(folder, "report.html").read_text(encoding="utf-8")


def test_doubtful_evidence_is_marked(errors: Opened, audit: Audit) -> None:
    page = errors.page
    assert audit.evidence is not None
    errors.press("j")
    assert page.locator("#panel-label_errors .doubted").count() == 0
    page.fill("#panel-label_errors .exact", "1")
    page.press("#panel-label_errors .exact", "Enter")
    errors.press("k", "j")
    page.click("#panel-label_errors .card >> nth=1")
    assert page.locator("#panel-label_errors .near .doubted").count() > 0
    assert "label in doubt" in page.inner_text("#panel-label_errors .near .doubted >> nth=0")


def test_unmarked_flags_are_said_to_be_dropped_where_they_are(
    browser: "Browser", review: Opened, tmp_path: Path
) -> None:
    assert "drops only what you confirm" in review.page.inner_text("#progress")
    dropping = made(policy=Policy("drop", "drop", "warn"))
    with opened(browser, page_of(dropping, tmp_path)) as found:
        counts = {
            issue: int(dropping.decisions.contamination_mask(issue).sum()) for issue in ("near_duplicates", "off_topic")
        }
        text = f"(near duplicates {counts['near_duplicates']}, off topic {counts['off_topic']})"
        assert text in found.page.inner_text("#progress")
        found.tab("off_topic")
        found.press("j", "x")
        with found.page.expect_download():
            found.page.click("text=Export decisions")
        text = f"(near duplicates {counts['near_duplicates']}, off topic {counts['off_topic'] - 1})"
        assert text in found.page.inner_text("dialog")


def test_where_all_is_marked_nothing_is_left_to_drop(browser: "Browser", tmp_path: Path) -> None:
    dropping = made(policy=Policy("drop", "drop", "drop", max_drop_fraction=1))
    assert label_conflicts(
        dropping.scores, dropping.decisions.thresholds["near_duplicates"]
    )  # flagged whatever they score
    with opened(browser, page_of(dropping, tmp_path)) as found:
        assert "label errors" in found.page.inner_text("#progress p >> nth=1")
        for name in ("near_duplicates", "off_topic", "label_errors"):
            found.tab(name)
            found.press("a", "x")
        found.tab("summary")
        assert "All flagged samples are marked." in found.page.inner_text("#progress")


def test_near_duplicates_are_counted_one_way(browser: "Browser", audit: Audit, path: Path) -> None:
    number = int(audit.decisions.surplus.sum())
    with opened(browser, path) as found:
        page = found.page
        assert page.inner_text("#tab-near_duplicates .number") == str(number)
        assert page.inner_text(".summary tr:has-text('near duplicates') td >> nth=0") == str(number)
        found.tab("near_duplicates")
        assert page.inner_text("#panel-near_duplicates output").startswith(
            f"{number} of {N} samples are surplus copies"
        )
        found.tab("classes")
        cells = page.locator(".classes td[data-head='Near duplicates']").all_inner_texts()
        assert sum(int(cell.split()[0]) for cell in cells) == number
        assert str(number) in {row.num_issues for row in audit.summary.astype(str).itertuples()}


def test_thumbnails_are_on_the_first_screen_and_lead_on(review: Opened, audit: Audit) -> None:
    page = review.page
    box = page.locator(".worst .peek").first.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400
    page.click(".strip:has-text('Off topic') .peek >> nth=2")
    assert page.get_attribute("#tab-off_topic", "aria-selected") == "true"
    at = int(page.inner_text("#panel-off_topic .focus figcaption strong >> nth=0")[1:])
    assert at == audit.worst("off_topic")[2]


def test_image_question_evidence_and_keys_fit_into_a_window(browser: "Browser", path: Path) -> None:
    with opened(browser, path, viewport={"width": 1400, "height": 900}) as found:
        for name in ("near_duplicates", "off_topic", "label_errors"):
            page = found.tab(name)
            found.press("j")
            assert page.evaluate("scrollY") == 0
            panel = f"#panel-{name} .focus"
            place = page.locator(panel)
            assert place.evaluate("(aside) => aside.scrollHeight <= aside.clientHeight"), name
            box = place.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= 900, name


def test_tabs_stay_where_they_are(review: Opened) -> None:
    page = review.page
    places = []
    for name in ("summary", "near_duplicates", "label_errors", "map", "about"):
        review.tab(name)
        page.evaluate("scrollTo(0, 10)")
        places.append(
            page.evaluate("[...document.querySelectorAll('[role=tab]')].map((tab) => tab.getBoundingClientRect().x)")
        )
    assert places == [places[0]] * len(places)


def test_a_phone_shows_every_column_and_no_keys(browser: "Browser", path: Path) -> None:
    with opened(browser, path, viewport={"width": 375, "height": 812}, has_touch=True, is_mobile=True) as found:
        page = found.page
        for name in ("summary", "classes"):
            found.tab(name)
            cells = page.locator(f"#panel-{name} table.stacked td")
            boxes = [box for box in (cells.nth(i).bounding_box() for i in range(cells.count())) if box is not None]
            assert len(boxes) >= 12
            assert max(box["x"] + box["width"] for box in boxes) <= 375
        found.tab("off_topic")
        page.tap("#panel-off_topic .card >> nth=0")
        assert page.is_visible("#panel-off_topic .focus .answers")
        assert page.locator("#panel-off_topic kbd:visible").count() == 0
        page.tap("#panel-off_topic .card .pick >> nth=1")
        assert page.inner_text("#panel-off_topic .selected strong") == "1 selected"
