"""Thresholds, filters, classes and differences in a real browser."""

import json
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit
from tests.browser.browser_pages import CLASSES, N, Opened


def test_the_summary_leads_to_the_issues(review: Opened, audit: Audit) -> None:
    for issue in ("near_duplicates", "off_topic", "label_errors"):
        badge = review.page.inner_text(f"#tab-{issue} .number")
        assert int(badge) == int(audit.decisions.contamination_mask(issue).sum()) > 0
    review.page.click("#progress button:text-is('off topic')")
    assert review.page.is_visible("#panel-off_topic [role=option]")


@pytest.mark.parametrize("issue", ["near_duplicates", "off_topic", "label_errors"])
def test_the_threshold_counts_as_numpy_does(review: Opened, audit: Audit, issue: str) -> None:
    page = review.tab(issue)
    scores = audit.scores.of(issue)
    box = page.locator(f"#panel-{issue} input.threshold").bounding_box()
    assert box is not None
    highest = max(audit.scores.pairs_complete_below, audit.decisions.thresholds[issue])
    for part in (0.2, 0.55, 0.9):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        key = page.evaluate("Object.keys(localStorage).find((key) => key.startsWith('selfclean-hooks review'))")
        threshold = dict(page.evaluate("(key) => JSON.parse(localStorage.getItem(key)).moved", key))[issue]
        moved = audit.at(thresholds=type(audit.thresholds)(**{issue: threshold}))
        counted = int(moved.decisions.contamination_mask(issue).sum())
        reported = page.inner_text(f"#panel-{issue} output")
        if issue == "near_duplicates":  # groups in place of sets
            assert abs(int(reported.removeprefix("about ").split()[0]) - counted) <= 0.1 * counted
        else:
            assert reported.startswith(f"{counted} of {N} samples")
        assert threshold <= highest or issue != "near_duplicates"
    calibration = audit.scores.calibration[issue]
    right = np.nansum(1 - calibration.probability_clean(scores)[scores < threshold])
    output = page.inner_text(f"#panel-{issue} output")
    if calibration.unknown:
        assert f"how many are true cannot be estimated: {calibration.unknown}" in output
    elif issue == "near_duplicates":
        surplus = int(output.removeprefix("about ").split()[0])
        assert f"estimated: {right * surplus / (scores < threshold).sum():.0f} true" in output
    elif issue != "label_errors":
        assert f"estimated: {right:.0f} true" in output
    if not calibration.unknown and issue != "near_duplicates":
        flagged, hits = int(output.split()[0]), scores[scores < threshold]  # some are flagged for another reason
        low, high = (end * flagged / len(hits) for end in calibration.estimate_count(hits)[1:])
        assert f" true (95% interval {low:.0f} to {high:.0f}), " in output
    page.click(f"#panel-{issue} button:text-is('Reset')")
    flagged = int(audit.decisions.contamination_mask(issue).sum())
    assert page.inner_text(f"#panel-{issue} output").startswith(f"{flagged} of {N} samples")


def test_the_threshold_is_moved_by_keys_and_cards_above_it_are_dimmed(review: Opened) -> None:
    page = review.tab("off_topic")
    before = page.locator(".card.beyond").count()
    page.focus("#panel-off_topic input.threshold")
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
    page.select_option("#panel-label_errors select[aria-label=State]", label="Not an issue")
    assert page.locator("#panel-label_errors [role=option]").count() == 1


def data_of(page: Any) -> str:
    text: str = page.evaluate("document.getElementById('data').textContent")
    return text


def test_classes_are_counted_sorted_and_lead_to_findings(review: Opened, audit: Audit) -> None:
    page = review.tab("classes")
    rows = [line.split("\t") for line in page.inner_text("#panel-classes tbody").splitlines()]
    found = {row[0]: int(row[1]) for row in rows}
    assert found == {name: int((audit.scores.given_label == code).sum()) for code, name in enumerate(CLASSES)}
    flags = {row[0]: int(row[4].split()[0]) for row in rows}
    hits = audit.decisions.flags["label_errors"]
    assert flags == {name: int((hits & (audit.scores.given_label == code)).sum()) for code, name in enumerate(CLASSES)}
    page.click("#panel-classes th button:text-is('Class')")
    assert page.inner_text("#panel-classes tbody th >> nth=0") == "ant"
    page.click("#panel-classes tbody button >> nth=2")
    assert page.input_value("#panel-label_errors select[aria-label=Class]") == "2"


def test_the_difference_of_two_images(review: Opened) -> None:
    page = review.tab("near_duplicates")
    review.press("j", "d")
    page.wait_for_selector(".difference canvas")
    assert "greatest difference" in page.inner_text(".difference")
    review.press("d")
    assert page.locator(".difference").count() == 0
