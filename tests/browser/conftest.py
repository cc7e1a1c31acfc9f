"""What the tests of the page start from: a browser, an audit, its page, and the page open."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from selfclean_hooks import Audit
from tests.browser.browser_pages import Opened, chromium, made, opened, page_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="package")
def audit() -> Audit:
    return made()


@pytest.fixture(scope="package")
def path(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of(audit, tmp_path_factory.mktemp("audit"))


@pytest.fixture
def review(browser: "Browser", path: Path) -> Iterator[Opened]:
    with opened(browser, path) as found:
        yield found
