"""The page of several splits: what it shows, where it leads, and that names are data."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from selfclean_hooks import Thresholds
from selfclean_hooks.audits.splits import SplitsAudit
from tests.helpers.command_line import contents
from tests.helpers.format_data import HOSTILE, two

VOID = {"meta", "img", "br", "hr", "link", "input", "base"}
ROWS = {"distance": 0.5, "expected": 0.25, "p_value": 0.005, "components": 3, "explained": 1.0}


class Page(HTMLParser):
    """Tags, links and the text between tags; nesting that does not fit is an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.texts += [" "] if tag in ("td", "th") else []

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def saved(folder: Path, found: SplitsAudit) -> Page:
    found.save(folder)
    return Page(folder / "report.html")


def splits(name: str = "train/{}.png", other: str = "val") -> SplitsAudit:
    return SplitsAudit(two(name, other), ({"split_1": "train", "split_2": other, **ROWS},))


def written(name: str) -> str:
    """As it stands on a page: white space is one space, what UTF-8 cannot say is escaped."""
    return " ".join(name.encode("utf-8", "backslashreplace").decode().replace("\0", "\ufffd").split())


def leading(page: Path) -> Iterator[Path]:
    for link in Page(page).links:
        parts = urlsplit(link)
        if parts.scheme != "data":
            assert (parts.scheme, parts.netloc, parts.query) == ("", "", "")
            if parts.path:
                yield page.parent / unquote(parts.path)


def test_it_shows_every_split_every_issue_and_every_leak(tmp_path: Path) -> None:
    page = saved(tmp_path, splits())
    assert "Data audit of train, val" in page.text
    assert "One encoder, 2 splits; train is trained on." in page.text
    assert "issue train val samples 10 10" in page.text
    assert "near duplicates 2 (20.00%) 0 (0.00%) off topic 1 (10.00%) 0 (0.00%)" in page.text
    assert "label errors not run 1 (10.00%) leakage 2 (20.00%) not run unreadable 1 (10.00%) 0 (0.00%)" in page.text
    assert "train and val 0.5 0.25 2.0 0.005" in page.text  # 2.0: times what is expected
    assert "2 near-duplicate pairs cross splits" in page.text
    assert "train #5 train/5.png" in page.text
    assert "val #3 train/v3.png" in page.text
    assert 'title="there are no labels"' in page.source


def test_pages_lead_to_pages_that_are_there(tmp_path: Path) -> None:
    for other in ("val", "a b/c#d?e%20f", "\u5b57", "..", "x" * 300):
        folder = tmp_path / str(len(contents(tmp_path)))
        saved(folder, splits(other=other))
        places = list(leading(folder / "report.html"))
        assert len(set(places)) == 2
        assert len(places) > 2  # from the table, and from every leak to its images
        for place in places:
            assert place.is_file()
            assert folder in place.resolve().parents
            assert {target.resolve() for target in leading(place)} == {(folder / "report.html").resolve()}  # and back


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return saved(tmp_path_factory.mktemp("plain"), splits())


@pytest.mark.parametrize("name", [key for key in HOSTILE if key not in ("undecodable", "surrogate")])
def test_names_of_splits_are_data(name: str, plain: Page, tmp_path: Path) -> None:
    page = saved(tmp_path / "hostile", splits(other=HOSTILE[name]))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert written(HOSTILE[name]) in page.text
    assert len(page.links) == len(plain.links)
    assert all(target.is_file() for target in leading(tmp_path / "hostile" / "report.html"))
    for split in (tmp_path / "hostile").glob("*/report.html"):
        assert Page(split).source.count("<script") == 2  # the data and the page's own


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_files_and_classes_are_data(name: str, plain: Page, tmp_path: Path) -> None:
    page = saved(tmp_path / "hostile", splits(HOSTILE[name]))
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert page.links == plain.links
    assert written(HOSTILE[name].replace("{}", "5")) in page.text


def test_it_asks_nothing_of_any_other_place(tmp_path: Path) -> None:
    page = saved(tmp_path, splits(HOSTILE["html"], HOSTILE["markdown"]))
    assert "script" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "default-src 'none'" in page.source
    assert not re.search(r"url\(|@import", page.source)


def test_splits_that_share_nothing(tmp_path: Path) -> None:
    page = saved(tmp_path, splits().at(thresholds=Thresholds(near_duplicates=None)))
    assert "No sample of one split has a near duplicate in another." in page.text


def test_a_shift_of_nothing_has_no_ratio(tmp_path: Path) -> None:
    row = {"split_1": "train", "split_2": "val", **ROWS, "distance": 0.0, "expected": 0.0, "p_value": 1.0}
    page = saved(tmp_path, SplitsAudit(two(), (row,)))
    assert "train and val" in page.text
    assert "nan" not in page.text.lower().split()
