"""Whatever the data says, nothing acts: no dialog, no request, no complaint of the browser, no markup of its own."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from selfclean_hooks import Audit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.data.previews import preview
from selfclean_hooks.report.html.page import SCRIPTS, STYLES, content_policy, source
from tests.browser.browser_pages import N, exported, made, opened, page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


EVIL = {
    "script": "</script><script>alert(1)</script>",
    "image": '"><img src=https://evil.example/x onerror=alert(2)>',
    "quotes": '\' onclick=\'alert(3)\' " onfocus="alert(4)" autofocus="',
    "characters": "\u202egnp.exe\u2066 half \ud800 and \udcff a\0b\x1b[31m\x7f\x85",
    "comment and lines": "<!--<script>a\u2028b\u2029c\r\nd",
    "address and template": "javascript:alert(6)//{{ 7 * 7 }}${alert(5)}@data@",
    "prototype": "__proto__",
    "long": "x/" * 5000,
}


def hostile(text: str) -> Audit:
    """Names, classes, splits, texts, errors, notes and settings all say the same."""
    audit = made()
    threshold = audit.decisions.thresholds["near_duplicates"]
    distance = np.linspace(0, 2 * threshold, 20).astype(np.float32)
    places = np.arange(20)
    leaks = LeakPairs(
        ("train", f"{text} val"), (N, 50), np.ones(20, int), places, places, distance, (text,) * 20, automatic=threshold
    )
    scores = replace(
        audit.scores, class_names=(text, f"{text} 2", "c"), leaks=leaks, errors={N - 1: f"OSError: {text}"}
    )
    texts = {i: preview(f"{text} {i}") or b"" for i in range(0, N, 2)}
    table = json.dumps({"table": {"rows": [[text, text]], "rest": 3}}).encode()
    tables = dict.fromkeys(range(1, N, 2), table)
    about: Mapping[str, Any] = {
        **audit.provenance,
        "dataset": {"name": text, text: text},
        "encoder": {"name": text},
        "notes": [text],
    }
    return replace(audit, scores=scores, names=(text,) * N, thumbnails={**texts, **tables}, provenance=about)


@pytest.mark.parametrize("kind", EVIL)
def test_hostile_data_is_shown_and_does_nothing(browser: "Browser", kind: str, tmp_path: Path) -> None:
    text = EVIL[kind]
    with opened(browser, page_of(hostile(text), tmp_path / "audit")) as found:
        page = found.page
        for name in ("near_duplicates", "off_topic", "label_errors", "leakage"):
            found.tab(name)
            assert page.locator(f"#panel-{name} [role=option]").count() > 0
            found.press("j", "c", "x")
        found.tab("label_errors")
        found.press("r")
        found.tab("classes")
        found.tab("map")
        page.select_option("#panel-map select >> nth=2", label="Off topic")
        found.tab("about")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("#printed .card").count() > 0
        assert page.locator("script").count() == 2
        assert page.evaluate("[...document.querySelectorAll('[onclick],[onfocus],[onerror],[style*=url]')].length") == 0
        assert page.evaluate("[...document.images].every((image) => image.src.startsWith('data:image/'))")
        page.emulate_media(media="screen")
        content = exported(found, tmp_path / "decisions.json")
    assert all(entry["sample"] == text for entry in content["decisions"])
    assert content["dataset"] == text


def test_the_browser_refuses_scripts_styles_and_requests(browser: "Browser", path: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    refused = """async () => {
      const reported = [];
      document.addEventListener("securitypolicyviolation", (event) => reported.push(event.effectiveDirective));
      try { document.body.innerHTML = "<b>x</b>"; } catch { reported.push("trusted"); }
      const script = document.createElement("script");
      try { script.textContent = "window.ran = true"; } catch { reported.push("script text"); }
      document.body.setAttribute("style", "color: red");
      await fetch("https://evil.example/").catch(() => reported.push("fetch"));
      const image = new Image();
      image.src = "https://evil.example/x.png";
      await new Promise((done) => setTimeout(done, 200));
      return [...reported, String(window.ran)];
    }"""
    reported = page.evaluate(refused)
    context.close()
    assert {"trusted", "script text", "fetch", "img-src", "connect-src"} <= set(reported)
    assert reported[-1] == "undefined"
    assert [name for name in reported if name.startswith("style-src")]


def test_the_policy_allows_exactly_what_the_page_holds(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    policy = content_policy(source(STYLES), source(SCRIPTS))
    assert f'content="{policy}"' in text
    assert "unsafe" not in policy
    assert f"<script>{source(SCRIPTS)}</script>" in text
    assert "innerHTML" not in source(SCRIPTS)
    assert "</script" not in source(SCRIPTS)


def test_without_scripts_the_summary_is_there(browser: "Browser", path: Path) -> None:
    with_none = browser.new_context(java_script_enabled=False)
    page = with_none.new_page()
    page.goto(path.as_uri())
    assert "Scripts are off" in page.inner_text("main")
    assert "label errors" in page.inner_text("table.summary")
    assert page.is_visible("#panel-about")
    with_none.close()
