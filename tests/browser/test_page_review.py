"""The review in a real browser: cuts, filters, marks, and the file of decisions."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser_pages import CLASSES, N, Opened, chromium, made, opened, page_of
from command_line import Call

from selfclean_hooks import Audit
from selfclean_hooks.calibration import clean_in_a_row
from selfclean_hooks.review import Review

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def audit() -> Audit:
    return made()


@pytest.fixture(scope="module")
def path(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(audit, tmp_path_factory.mktemp("audit"))


@pytest.fixture
def review(browser: "Browser", path: Path) -> Iterator[Opened]:
    with opened(browser, path) as found:
        yield found


def exported(review: Opened, place: Path) -> dict[str, Any]:
    with review.page.expect_download() as waiting:
        review.page.click("text=Export decisions")
    waiting.value.save_as(place)
    review.press("Escape")
    content: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return content


def focused(review: Opened) -> int:
    """Number of the (first) sample in focus."""
    return int(review.page.inner_text("[role=tabpanel]:not([hidden]) .focus figcaption strong >> nth=0")[1:])


def test_the_summary_leads_to_the_issues(review: Opened, audit: Audit) -> None:
    for issue in ("near_duplicates", "off_topic", "label_errors"):
        badge = review.page.inner_text(f"#tab-{issue} .number")
        assert int(badge) == int(audit.decisions.counted(issue).sum()) > 0
    review.page.click("#progress button:text-is('off topic')")
    assert review.page.is_visible("#panel-off_topic [role=option]")


@pytest.mark.parametrize("issue", ["near_duplicates", "off_topic", "label_errors"])
def test_the_cut_counts_as_numpy_does(review: Opened, audit: Audit, issue: str) -> None:
    page = review.tab(issue)
    scores = audit.scores.of(issue)
    box = page.locator(f"#panel-{issue} input.cut").bounding_box()
    assert box is not None
    highest = max(audit.scores.pairs_complete_below, audit.decisions.thresholds[issue])
    for part in (0.2, 0.55, 0.9):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        key = page.evaluate("Object.keys(localStorage).find((key) => key.startsWith('selfclean-hooks review'))")
        cut = dict(page.evaluate("(key) => JSON.parse(localStorage.getItem(key)).moved", key))[issue]
        flags = audit.at(thresholds=type(audit.thresholds)(**{issue: cut})).decisions.flags[issue]
        assert page.inner_text(f"#panel-{issue} output").startswith(f"{int(flags.sum())} of {N} samples")
        assert cut <= highest or issue != "near_duplicates"
    calibration = audit.scores.calibration[issue]
    right = np.nansum(1 - calibration.probability_clean(scores)[scores < cut])
    told = page.inner_text(f"#panel-{issue} output")
    if issue != "label_errors":
        assert f"about {right:.0f} right" in told
    page.click(f"#panel-{issue} button:text-is('Reset')")
    flagged = int(audit.decisions.flags[issue].sum())
    assert page.inner_text(f"#panel-{issue} output").startswith(f"{flagged} of {N} samples")


def test_the_cut_is_moved_by_keys_and_cards_beyond_it_are_dimmed(review: Opened) -> None:
    page = review.tab("off_topic")
    before = page.locator(".card.beyond").count()
    page.focus("#panel-off_topic input.cut")
    review.press("PageDown", "PageDown")
    assert page.locator(".card.beyond").count() > before
    page.fill("#panel-off_topic input.exact", "0.25")
    review.press("Enter")
    assert "below 0.25" in page.inner_text("#panel-off_topic output")


def test_filters_by_class_state_and_name(review: Opened, audit: Audit) -> None:
    page = review.tab("label_errors")
    labels = audit.scores.given_label
    shown = [int(i) for i in json.loads(data_of(page))["issues"]["label_errors"]["findings"] for i in i["samples"]]
    page.select_option("#panel-label_errors select[aria-label=Class]", label="bee")
    of_class = [i for i in shown if CLASSES[labels[i]] == "bee"]
    assert page.get_attribute("#panel-label_errors [role=option] >> nth=0", "aria-setsize") == str(len(of_class))
    page.fill("#panel-label_errors input[type=search]", f"#{of_class[0]}")
    assert page.locator("#panel-label_errors [role=option]").count() == 1
    page.click("text=Clear filters")
    review.press("j", "x")
    page.select_option("#panel-label_errors select[aria-label=State]", label="Fine")
    assert page.locator("#panel-label_errors [role=option]").count() == 1


def data_of(page: Any) -> str:
    text: str = page.evaluate("document.getElementById('data').textContent")
    return text


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
    page.reload()
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
    review.press("j")
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
    assert page.inner_text("#panel-label_errors .rule") == f"{row - 1} of {row} fine in a row"
    review.press("x")
    assert page.inner_text("#panel-label_errors .rule").startswith(f"{row} fine in a row from the 3rd on: the rest")
    review.press("u", "c")
    assert page.inner_text("#panel-label_errors .rule") == f"0 of {row} fine in a row"


def decide_some(review: Opened) -> None:
    review.tab("off_topic")
    review.press("j", "c", "x", "c")
    review.tab("near_duplicates")
    review.press("j", "c", "x", "c")
    review.tab("label_errors")
    review.press("j", "c", "x", "r")
    review.page.fill("#panel-label_errors input.exact", "0.2")
    review.press("Enter")


def test_decisions_come_back_through_the_command_line(
    review: Opened, audit: Audit, path: Path, tmp_path: Path, call: Call
) -> None:
    decide_some(review)
    content = exported(review, tmp_path / "decisions.json")
    assert content["kind"] == "selfclean-hooks decisions"
    assert content["thresholds"] == {"label_errors": 0.2}
    assert content["seen"]["off_topic"] >= 3
    found = audit.with_decisions(Review.read(tmp_path / "decisions.json"))
    kept = set(found.clean_indices.tolist())
    for entry in content["decisions"]:
        i, issue = entry["index"], entry["issue"]
        assert entry["sample"] == audit.names[i] if audit.names else False
        if entry["verdict"] == "confirmed":
            assert found.decisions.counted(issue)[i]
            assert i not in kept
        else:
            assert not found.decisions.counted(issue)[i]
    relabelled = {e["index"]: e["label"] for e in content["decisions"] if e["verdict"] == "relabelled"}
    assert found.relabelled == relabelled
    ran = call("gate", path.parent, "--decisions", tmp_path / "decisions.json", "--format", "json")
    assert ran.status == 0, ran.err
    told = json.loads(ran.out)
    assert told["contamination"]["label_errors"] == found.contamination["label_errors"]


def test_decisions_are_loaded_again_and_other_files_are_refused(
    review: Opened, browser: "Browser", path: Path, tmp_path: Path
) -> None:
    decide_some(review)
    before = exported(review, tmp_path / "decisions.json")
    (tmp_path / "other.json").write_text('{"kind": "shopping", "format": 1}')
    (tmp_path / "odd.json").write_text(json.dumps({**before, "surprise": 1}))
    (tmp_path / "none.json").write_text("no JSON")
    with opened(browser, path) as fresh:
        for name, why in (("other", "no file of decisions"), ("odd", "surprise"), ("none", "no JSON")):
            fresh.page.set_input_files("input[type=file]", tmp_path / f"{name}.json")
            assert why in fresh.page.inner_text("dialog [role=alert]")
            fresh.press("Escape")
            assert fresh.page.evaluate("localStorage.length") == 0
        fresh.page.set_input_files("input[type=file]", tmp_path / "decisions.json")
        assert f"{len(before['decisions'])} decisions read" in fresh.page.inner_text("dialog")
        fresh.press("Escape")
        after = exported(fresh, tmp_path / "again.json")
    assert after["decisions"] == before["decisions"]
    assert after["thresholds"] == before["thresholds"]


def test_a_review_that_the_audit_came_with_is_taken_up(
    review: Opened, browser: "Browser", audit: Audit, tmp_path: Path
) -> None:
    decide_some(review)
    before = exported(review, tmp_path / "decisions.json")
    reviewed = page_of(audit.with_decisions(tmp_path / "decisions.json"), tmp_path / "reviewed")
    with opened(browser, reviewed) as fresh:
        after = exported(fresh, tmp_path / "again.json")

    def told(content: dict[str, Any]) -> set[tuple[Any, ...]]:
        return {(e["issue"], e["verdict"], e["index"], e.get("label", "")) for e in content["decisions"]}

    assert told(after) == told(before)


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


def test_the_difference_of_two_pictures(review: Opened) -> None:
    page = review.tab("near_duplicates")
    review.press("j", "d")
    page.wait_for_selector(".difference canvas")
    assert "greatest difference" in page.inner_text(".difference")
    review.press("d")
    assert page.locator(".difference").count() == 0


def test_classes_are_counted_sorted_and_lead_to_findings(review: Opened, audit: Audit) -> None:
    page = review.tab("classes")
    rows = [line.split("\t") for line in page.inner_text("#panel-classes tbody").splitlines()]
    found = {row[0]: int(row[1]) for row in rows}
    assert found == {name: int((audit.scores.given_label == code).sum()) for code, name in enumerate(CLASSES)}
    flags = {row[0]: int(row[4].split()[0]) for row in rows}
    hits = audit.decisions.flags["label_errors"]
    assert flags == {
        name: int((hits & (audit.scores.given_label == code)).sum()) for code, name in enumerate(CLASSES)
    }
    page.click("#panel-classes th button:text-is('Class')")
    assert page.inner_text("#panel-classes tbody th >> nth=0") == "ant"
    page.click("#panel-classes tbody button >> nth=2")
    assert page.input_value("#panel-label_errors select[aria-label=Class]") == "2"
