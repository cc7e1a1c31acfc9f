"""The screenshot of the page in README and docs.

`UPDATE_GOLDEN=1 pytest tests/browser/test_page_screenshot.py` makes it anew, of
Fashion-MNIST where Debian's package dataset-fashion-mnist is installed; the test alone does with digits.
"""

import gzip
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from selfclean_hooks import audit
from selfclean_hooks.testing import contaminate, digits
from tests.browser.browser_pages import opened, page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCREENSHOT = Path(__file__).parents[2] / "docs" / "review.png"
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SIZE = (1120, 720)


class FashionMNIST(list[Any]):
    """(image, label) of classes with names."""

    classes = CLASSES


def clean_images(n: int) -> tuple[Any, Any]:
    """(n, S, S) images and (n,) labels."""
    if not os.environ.get("UPDATE_GOLDEN") or not FASHION.is_dir():
        images, labels = digits()
        return images[:n], labels[:n]
    files = ("train-images-idx3-ubyte.gz", 16), ("train-labels-idx1-ubyte.gz", 8)
    shown, given = (np.frombuffer(gzip.decompress((FASHION / f).read_bytes()), np.uint8, offset=o) for f, o in files)
    return shown.reshape(-1, 28, 28)[:n], given[:n].astype(np.int64)


def pixels(batch: Any) -> Any:
    return batch.flatten(1)


def test_a_screenshot_of_the_page_with_a_label_error_in_focus(browser: "Browser", tmp_path: Path) -> None:
    images, labels = clean_images(2000 if os.environ.get("UPDATE_GOLDEN") else 300)
    planted = contaminate(images, labels, images[:0], off_topic=0, label_errors=0.03, seed=1)
    items = FashionMNIST(zip(map(Image.fromarray, planted.images), planted.labels.tolist(), strict=True))
    found = audit(items, pixels, progress=False)
    with opened(browser, page_of(found, tmp_path), viewport={"width": 1400, "height": 900}) as review:
        review.tab("label_errors")
        review.press("j")
        review.page.wait_for_function(
            "[...document.querySelectorAll('[role=tabpanel]:not([hidden]) img')].every((i) => i.complete)"
        )
        shown = Image.open(io.BytesIO(review.page.screenshot())).convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    assert np.asarray(shown).std() > 20  # not blank
    assert bool(planted.is_label_error[found.worst("label_errors")[0]])
    if os.environ.get("UPDATE_GOLDEN"):
        shown.quantize(200).save(SCREENSHOT, optimize=True)
    with Image.open(SCREENSHOT) as kept:
        assert kept.size == SIZE
