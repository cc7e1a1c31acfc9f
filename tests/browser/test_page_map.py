"""The map in a real browser, and pages of many samples."""

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import Audit
from selfclean_hooks.core.embeddings import Evidence
from selfclean_hooks.core.scores import Scores
from selfclean_hooks.decisions.settings import Thresholds
from selfclean_hooks.report.html.page import render
from tests.browser.browser_pages import CLASSES, N, made, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser


MANY = 20_000


def placed(audit: Audit) -> Audit:
    """Samples of class 0 left, 1 in the middle, 2 right; one has no place."""
    rng = np.random.default_rng(0)
    places = np.stack([0.1 + 0.4 * audit.scores.given_label + 0.1 * rng.random(N), rng.random(N)], 1)
    places[5] = np.nan
    places[audit.worst("off_topic")[0]] = [0.35, 0.5]  # alone
    return replace(audit, evidence=Evidence({}, {}, places.astype(np.float32), "PCA"))


@pytest.fixture(scope="module")
def map_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("map") / "map.html"
    placed(made()).to_html(path)
    return path


def test_what_is_under_the_pointer_is_shown(browser: "Browser", map_path: Path) -> None:
    with opened(browser, map_path) as found:
        page = found.tab("map")
        box = page.locator("canvas.map").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.35 * box["width"], box["y"] + 0.5 * box["height"])
        assert page.inner_text(".tip strong") == f"#{made().worst('off_topic')[0]}"
        assert page.locator(".tip img").count() == 1
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        assert not page.is_visible(".tip")
        assert "1 unreadable" in page.inner_text("#panel-map")


def test_a_lasso_lists_what_is_inside(browser: "Browser", map_path: Path) -> None:
    audit = placed(made())
    assert audit.evidence is not None
    assert audit.evidence.map is not None
    x, y = np.nan_to_num(audit.evidence.map, nan=-1).T
    with opened(browser, map_path) as found:
        page = found.tab("map")
        box = page.locator("canvas.map").bounding_box()
        assert box is not None
        corners = [(0.05, 0.2), (0.6, 0.2), (0.6, 0.7), (0.05, 0.7)]
        page.mouse.move(box["x"] + corners[0][0] * box["width"], box["y"] + corners[0][1] * box["height"])
        page.mouse.down()
        for across, down in corners[1:]:
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"], steps=3)
        page.mouse.up()
        inside = int(((x > 0.05) & (x < 0.6) & (1 - y > 0.2) & (1 - y < 0.7)).sum())
        reported = page.inner_text(".lasso [role=status]")
        assert abs(int(reported.split()[0]) - inside) <= 2
        assert page.locator(".chosen li").count() == int(reported.split()[0])


def test_the_map_is_zoomed_and_moved(browser: "Browser", map_path: Path) -> None:
    worst = made().worst("off_topic")[0]  # lies alone at (0.35, 0.5)
    with opened(browser, map_path) as found:
        page = found.tab("map")
        box = page.locator("canvas.map").bounding_box()
        assert box is not None
        inset = 6 / box["width"]

        def hovered(across: float, down: float) -> str:
            page.evaluate("scrollTo(0, 0)")
            page.mouse.move(box["x"], box["y"])  # away, so that an old tip is gone
            page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
            return page.inner_text(".tip strong") if page.is_visible(".tip") else ""

        def on(part: float) -> float:
            return inset + part * (1 - 2 * inset)

        page.mouse.move(box["x"] + on(0.35) * box["width"], box["y"] + on(0.5) * box["height"])
        page.mouse.wheel(0, -800)
        page.wait_for_selector("canvas.map[data-scale^='7.']")
        assert hovered(on(0.35), on(0.5)) == f"#{worst}"  # what is under the pointer stays there
        page.keyboard.down("Shift")
        page.mouse.down()
        page.mouse.move(box["x"] + (on(0.35) + 0.2) * box["width"], box["y"] + (on(0.5) + 0.1) * box["height"], steps=3)
        page.mouse.up()
        page.keyboard.up("Shift")
        assert hovered(on(0.35) + 0.2, on(0.5) + 0.1) == f"#{worst}"
        assert page.inner_text(".lasso [role=status]") == "No samples are selected."
        page.click("text=Whole")
        assert hovered(on(0.35), on(0.5)) == f"#{worst}"
        page.focus("canvas.map")
        found.press("+", "+", "ArrowLeft")
        assert hovered(on(0.35), on(0.5)) != f"#{worst}"
        found.press("0")
        assert hovered(on(0.35), on(0.5)) == f"#{worst}"


def test_classes_and_issues_are_listed_without_a_pointer(browser: "Browser", map_path: Path) -> None:
    audit = placed(made())
    with opened(browser, map_path) as found:
        page = found.tab("map")
        page.select_option("[aria-label='List the samples of a class']", label="bee")
        of_class = int((audit.scores.given_label == CLASSES.index("bee")).sum())
        assert page.inner_text(".lasso [role=status]") == f"{of_class} samples: bee {of_class}."
        page.select_option("[aria-label='List the flagged samples of an issue']", label="Off topic")
        flagged = int(audit.decisions.flags["off_topic"].sum())
        assert page.inner_text(".lasso [role=status]").startswith(f"{flagged} samples")
        page.select_option("[aria-label=Colours]", label="Colour by class")
        assert "bee" in page.inner_text(".legend")
        page.click(".chosen button >> nth=0")
        assert page.locator("[role=tabpanel]:not([hidden]) .focus img").count() > 0


def photograph(rng: np.random.Generator) -> bytes:
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((160, 160), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def many(n: int = MANY, shown: int = 400) -> Audit:
    """An audit of many samples, made up."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(n)[: 2 * shown].reshape(-1, 2)
    pairs.sort(axis=1)
    scores = np.sort(rng.uniform(0, 0.4, shown)).astype(np.float32)
    near = rng.uniform(0.3, 1, n)
    near[pairs] = scores[:, None]
    tree = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    labels = rng.integers(0, 1000, n)
    made_up = Scores(
        near, rng.beta(8, 2, n), rng.beta(6, 2, n), np.full(n, -1), labels, (labels + 1) % 1000, pairs,
        scores, scores, tree, np.full(n - 1, 0.5, np.float32), 0.5,
        {"near_duplicates": 0.3, "off_topic": 0.4, "label_errors": 0.3},
        class_names=tuple(f"class {i}" for i in range(1000)),
    )  # fmt: skip
    audit = Audit(made_up, Thresholds(), names=tuple(f"folder {i % 97}/image {i:06}.jpg" for i in range(n)))
    audit = replace(audit, provenance={"settings": {"max_items": shown}})
    from selfclean_hooks.results.thumbnails import with_thumbnails

    bank = [photograph(rng) for _ in range(30)]
    evidence = Evidence({}, {}, rng.random((n, 2)).astype(np.float32), "PCA")
    return replace(audit, evidence=evidence, thumbnails={i: bank[i % 30] for i in with_thumbnails(audit)})


def test_a_large_page_holds_few_cards_at_a_time(browser: "Browser", tmp_path: Path) -> None:
    audit = many()
    audit.to_html(tmp_path / "large.html")
    with opened(browser, tmp_path / "large.html") as found:
        page = found.tab("label_errors")
        total = int(page.get_attribute("[role=option] >> nth=0", "aria-setsize") or 0)
        assert total == 400
        assert page.locator("[role=option]").count() < 120
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_selector(f"[aria-posinset='{total}']")
        assert page.locator("[role=option]").count() < 120
        found.press("End")
        flagged = int(audit.decisions.flags["label_errors"].sum())
        assert page.inner_text("#panel-label_errors output").startswith(f"{flagged:,} of {MANY:,} samples")
        found.tab("map")
        page.select_option("[aria-label=Colours]", label="Colour by class")
        assert "and 986 more" in page.inner_text(".legend")


def test_thumbnails_beyond_the_budget_are_left_out(
    browser: "Browser", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = made()
    whole = render(audit)
    monkeypatch.setattr("selfclean_hooks.report.html.page.IMAGES", 20_000)
    monkeypatch.setattr("selfclean_hooks.report.html.data.MIN_IMAGE_BUDGET", 0)
    path = tmp_path / "small.html"
    audit.to_html(path)
    assert len(path.read_text(encoding="utf-8")) < len(whole)
    with opened(browser, path) as found:
        assert "thumbnails are left out" in found.page.inner_text("#panel-summary")
        page = found.tab("label_errors")
        assert page.locator("[role=option] >> nth=0 >> img").count() == 1


def test_a_page_may_be_opened_at_a_finding(browser: "Browser", map_path: Path) -> None:
    audit = made()
    worst = int(audit.worst("off_topic")[2])
    with opened(browser, map_path, f"#off_topic/{worst}") as found:
        assert found.page.inner_text("#panel-off_topic .focus figcaption strong") == f"#{worst}"
