"""Everybody can use the page: axe finds nothing in any tab, light, dark and narrow; keys alone are enough."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.browser_pages import Opened, opened, required

if TYPE_CHECKING:
    from playwright.sync_api import Browser


TABS = ("summary", "near_duplicates", "off_topic", "label_errors", "classes", "map", "about")
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 375, "height": 812}},
}


def axe() -> str:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        required("checks of accessibility need the package axe-playwright-python, which ships axe-core")
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(browser: "Browser", path: Path, view: str) -> None:
    with opened(browser, path, reduced_motion="reduce", **VIEWS[view]) as found:
        found.page.evaluate(axe())
        for name in TABS:
            found.tab(name)
            if name in TABS[1:4]:
                found.press("j", "x")
            violations = found.page.evaluate("axe.run().then((reported) => reported.violations)")
            assert [(name, v["id"], [n["html"][:200] for n in v["nodes"][:2]]) for v in violations] == []
        found.press("?")
        assert found.page.evaluate("axe.run('dialog').then((reported) => reported.violations.map((v) => v.id))") == []


def test_nothing_is_wider_than_a_narrow_screen(browser: "Browser", path: Path) -> None:
    with opened(browser, path, **VIEWS["narrow"]) as found:
        for name in TABS:
            found.tab(name)
            if name in TABS[1:4]:
                found.press("j")
            assert found.page.evaluate("document.documentElement.scrollWidth") <= 375, name


def test_keys_alone_are_enough(review: Opened) -> None:
    page = review.page
    review.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    page.focus("#tab-summary")
    review.press("ArrowRight", "ArrowRight")
    assert page.get_attribute("#tab-off_topic", "aria-selected") == "true"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline not in ("none", "")
    page.focus("#panel-off_topic [role=listbox]")
    review.press("j", "ArrowDown", "Home", "Enter")
    assert list(review.marks["off_topic"].values()) == ["confirmed"]
    active = page.get_attribute("#panel-off_topic [role=listbox]", "aria-activedescendant")
    assert page.get_attribute(f"#{active}", "aria-selected") == "true"
    assert page.inner_text("#announcement").startswith("2 of")


def test_the_theme_is_switched_and_kept(review: Opened) -> None:
    page = review.page
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("text=Theme: system")
    page.click("text=Theme: light")
    dark = page.evaluate(ground)
    assert dark != light
    review.reload()
    assert page.evaluate(ground) == dark


def test_the_summary_and_the_flagged_findings_are_printed(review: Opened) -> None:
    page = review.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.is_visible("table.summary")
    assert not page.is_visible("#tools")
    assert page.locator("#printed section").count() == 3
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#printed").count() == 0
