"""Audits with images, and their pages in a real browser that records everything that should not happen."""

import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from selfclean_hooks import Audit, audit_embeddings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

N = 300
CLASSES = ("ant", "bee", "cat")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
READY = "#tabs:not([hidden])"
FREE = Path(__file__).with_name("blank.html").as_uri()
STORED = "JSON.stringify(Object.entries(localStorage).sort())"


def required(reason: str) -> NoReturn:
    """Skip, or fail where browser tests are asked for: a check that is left out unnoticed is none."""
    if os.environ.get("SELFCLEAN_BROWSER_TESTS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """The browser of the system; none is ever fetched."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        required("browser tests need the package playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        required("browser tests need Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def waiting(seconds: float = 20) -> Iterator[None]:
    """Try again until then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)
    pytest.fail(f"not within {seconds} s")


@dataclass
class Opened:
    """A page and what went wrong in it."""

    page: "Page"
    problems: list[str] = field(default_factory=list)

    def tab(self, name: str) -> "Page":
        self.page.click(f"#tab-{name}")
        return self.page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def reload(self) -> None:
        """Visit again. What a page stores reaches the process of its next visit a moment later: until it is there.

        What it stored in the very last moment is lost at times, as its process is ended: nobody is as fast.
        """
        stored = self.page.evaluate(STORED)
        self.page.wait_for_timeout(300)
        for _ in waiting():
            self.page.reload()
            self.page.wait_for_selector(READY)
            if self.page.evaluate(STORED) == stored:
                return

    def dismiss(self, dialog: "Dialog") -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def note(self, asked: str, own: str) -> None:
        """A request: only for the page and what it holds."""
        if not asked.startswith((own, "data:", "blob:")):
            self.problems.append(f"request: {asked}")

    @property
    def marks(self) -> dict[str, dict[str, str]]:
        """Issue: key: verdict, as the browser keeps them."""
        key = self.page.evaluate("Object.keys(localStorage).find((key) => key.startsWith('selfclean-hooks review'))")
        kept = self.page.evaluate("(key) => JSON.parse(localStorage.getItem(key))", key)
        return {issue: {k: m["verdict"] for k, m in of["marks"]} for issue, of in kept["issues"].items() if of["marks"]}


@contextmanager
def opened(browser: "Browser", path: Path, fragment: str = "", **settings: Any) -> Iterator[Opened]:
    """Open a page; leaving checks that it asked for nothing, complained of nothing and showed no dialog."""
    page = None if settings else next(filter(is_free, (one.pages[0] for one in browser.contexts if one.pages)), None)
    page = page or browser.new_context(accept_downloads=True, **settings).new_page()
    found, address = Opened(page), path.as_uri()
    listeners: dict[str, Any] = {
        "console": lambda reported: found.problems.append(f"{reported.type}: {reported.text}"),
        "pageerror": lambda error: found.problems.append(f"error: {error}"),
        "dialog": found.dismiss,
        "request": lambda asked: found.note(asked.url, address),
    }
    for event, listener in listeners.items():
        page.on(event, listener)  # type: ignore[call-overload]  # one name an overload
    try:
        page.goto(address + fragment)
        page.wait_for_selector(READY)
        yield found
        assert found.problems == []
    except BaseException:
        page.context.close()
        raise
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    if settings:
        page.context.close()
    else:
        leave(page)


def is_free(page: "Page") -> bool:
    """Whether a page was left by a test: a new one costs a process and twice as much as the test itself."""
    return page.url == FREE


def leave(page: "Page") -> None:
    """As a new page is: nothing kept, nothing pressed or pointed at, no other page beside it."""
    for other in page.context.pages[1:]:
        other.close()
    page.emulate_media(media="null")
    page.goto(FREE)
    page.mouse.move(0, 0)
    for _ in waiting():
        page.evaluate("localStorage.clear()")
        page.wait_for_timeout(20)
        page.reload()
        if page.evaluate(STORED) == "[]":
            return


@cache
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Three clear classes with copies (some of them exact), samples far from all, and wrong labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % 3
    made = np.eye(24)[labels * 2] * 3 + rng.normal(size=(N, 24)) * 0.6
    made[200:210] = made[100:110] + rng.normal(size=(10, 24)) * 0.01
    made[[210, 211, 212]] = made[0]
    made[220:232] = rng.normal(size=(12, 24)) * 3 - 2
    labels[240:256] = (labels[240:256] + 1) % 3
    return made.astype(np.float32), labels


def png(seed: int, side: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def made(**settings: Any) -> Audit:
    """An audit of what `vectors` holds, with an image, a name and a digest of every sample."""
    x, y = vectors()
    audit = audit_embeddings(x, y, **settings)
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in x]
    return replace(
        audit,
        scores=replace(audit.scores, class_names=CLASSES),
        names=tuple(f"{CLASSES[label]}/{i}.png" for i, label in enumerate(y)),
        digests=tuple(digests),
        thumbnails={i: png(i) for i in range(N)},
    )


def page_of(audit: Audit, folder: Path) -> Path:
    audit.save(folder)
    return folder / "report.html"


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
