"""The HTML page and the JSON: what they say, and that nothing in the data can act in them."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.leaks import Leaks
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html import AT_LEAST, UNREADABLE, render
from selfclean_hooks.scores import spread
from selfclean_hooks.thumbnails import PAIRS, SAMPLES

N = 90
EVIL = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7 * 7 }}\u202e'
INERT = {"meta", "link", "script", "iframe", "object", "embed", "form", "base", "audio", "video"}
PNG = b"\x89PNG\r\n\x1a\n-made-up"


def made(labels: bool = True, **settings: Any) -> Audit:
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    return audit_embeddings(vectors, np.arange(N) % 3 if labels else None, **settings)


def pictured(audit: Audit) -> Audit:
    return replace(audit, thumbnails={i: PNG for i in range(len(audit))})


def hostile() -> Audit:
    """Whatever comes from the data or its files says something evil."""
    audit = pictured(made(thresholds=Thresholds(0.5, 0.9, 0.9)))
    errors = {i: f"OSError: {EVIL}" for i in range(N, N + UNREADABLE + 5)}
    n = N + len(errors)
    scores = spread(audit.scores, np.arange(N), n, errors=errors, class_names=(EVIL + "\udcff", f"1{EVIL}", "c"))
    about = {
        "dataset": {"name": EVIL, EVIL: EVIL},
        "encoder": {"name": EVIL, "rank_me": 12.345},
        "settings": {"method": EVIL},
        "notes": [EVIL],
    }
    return replace(audit, scores=scores, names=(f"{EVIL}\udcff\n",) * n, provenance=about)


def leaking(audit: Audit, pairs: int = 40, flagged: int = 35, other: str = "val", name: str = "v.png") -> Audit:
    """Sample i is sample i + 100 of another split; the pairs after the first `flagged` are no near duplicates."""
    cut = audit.decisions.thresholds["near_duplicates"]
    distance = np.where(np.arange(pairs) < flagged, cut / 2, 0.9).astype(np.float32)
    index, sizes = np.arange(pairs), (len(audit), 500)
    ones, names = np.ones(pairs, int), (name,) * pairs
    leaks = Leaks(("train", other), sizes, ones, index, index + 100, distance, names, automatic=cut)
    pictures = {(other, i + 100): PNG + b"other" for i in range(pairs)}
    return replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=pictures)


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of <style>."""

    def __init__(self, audit: Audit) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(render(audit))
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self.inside[-1:] != ["style"]:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside.append("/" + tag)

    def count(self, tag: str, of_class: str = "") -> int:
        return sum(name == tag and of_class in (attrs.get("class") or "") for name, attrs in self.tags)


@pytest.fixture(scope="module")
def evil_page() -> Page:
    return Page(hostile())


def test_hostile_names_labels_and_errors_are_inert(evil_page: Page) -> None:
    tags = {name for name, _ in evil_page.tags}
    assert tags & INERT == {"meta"}
    assert not [name for _, attrs in evil_page.tags for name in attrs if name.startswith("on") or name == "style"]
    sources = [str(attrs["src"]) for _, attrs in evil_page.tags if "src" in attrs]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not [attrs for _, attrs in evil_page.tags if "href" in attrs]
    assert "alert(1)" in evil_page.text
    assert "{{ 7 * 7 }}" in evil_page.text


def test_the_page_forbids_scripts_and_requests(evil_page: Page) -> None:
    policies = [
        a["content"] for t, a in evil_page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(maxsplit=1) for rule in str(policies[0]).split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not re.search(r"url\(|@import", render(made()))


def test_undecodable_names_are_written_as_escapes(tmp_path: Path) -> None:
    hostile().to_html(tmp_path / "page.html")
    assert "\\udcff" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_summary_says_what_was_found_and_what_did_not_run() -> None:
    page = Page(made(labels=False, policy=Policy(near_duplicates="drop")))
    assert re.search(r"near duplicates 1 1\.11% [\d.e-]+ drop", page.text)
    assert "label errors not run: there are no labels" in page.text
    assert "The policy keeps 89 of 90 samples." in page.text
    assert "Label errors" not in page.text
    assert "90 samples" in page.text


def test_a_refused_policy_is_explained() -> None:
    page = Page(made(policy=Policy(near_duplicates="drop", max_drop_fraction=0)))
    assert "There is no clean list: the policy would drop 1 of 90 samples" in page.text


def test_what_is_shown_and_how_much_of_it(evil_page: Page) -> None:
    audit = hostile()
    pairs = int(audit.pairs["is_near_duplicate_issue"].sum())
    off_topic = int(audit.decisions.flags["off_topic"].sum())
    assert pairs > PAIRS
    assert off_topic > SAMPLES
    assert f"{PAIRS} of {pairs} flagged pairs shown." in evil_page.text
    assert f"{SAMPLES} of {off_topic} flagged samples shown." in evil_page.text
    assert f"{UNREADABLE} of {UNREADABLE + 5} shown." in evil_page.text
    assert evil_page.count("li", "card") == PAIRS + 2 * SAMPLES
    assert evil_page.count("img") == 2 * PAIRS + 2 * SAMPLES


def test_the_next_worst_are_shown_where_few_are_flagged() -> None:
    page = Page(pictured(made(thresholds=Thresholds(0.0, None, None))))
    assert f"1 of 1 flagged pairs shown, and the next {AT_LEAST - 1}, not flagged." in page.text
    assert f"None is flagged, and the next {AT_LEAST}, not flagged." in page.text
    assert page.count("li", "card") == 3 * AT_LEAST
    assert page.count("li", "card bad") == 1
    assert page.text.count("kept copy") == 1
    assert page.text.index("#1 ") < page.text.index("kept copy") < page.text.index("#3 ")


def test_the_worst_come_first() -> None:
    audit = pictured(made())
    text = Page(audit).text
    shown = [int(i) for i in re.findall(r"#(\d+)", text[text.index("Off topic") : text.index("Label errors")])]
    order = np.argsort(audit.scores.off_topic, kind="stable").tolist()
    assert shown == order[: len(shown)]
    assert len(shown) >= AT_LEAST


def test_label_errors_show_given_and_predicted() -> None:
    audit = pictured(made())
    audit = replace(audit, scores=replace(audit.scores, class_names=("ant", "bee", "cat")))
    worst = int(np.argsort(audit.scores.label)[0])
    row = audit.frame.loc[worst]
    text = Page(audit).text
    assert f"{row['given_label']} → {row['predicted_label']}" in text[text.index("Label errors") :]


def test_without_thumbnails_there_are_tables_of_indices_and_names() -> None:
    audit = replace(made(), names=tuple(f"folder/{i}.png" for i in range(N)))
    page = Page(audit)
    assert page.count("img") == page.count("li", "card") == 0
    assert page.count("table", "listing") == 3
    worst = int(np.argsort(audit.scores.off_topic)[0])
    assert f"#{worst} folder/{worst}.png" in page.text


def test_a_sample_without_a_picture_says_so() -> None:
    audit = made()
    page = Page(replace(audit, thumbnails={1: PNG}))
    assert page.count("img") >= 1
    assert "no picture" in page.text


def test_the_histogram_marks_the_threshold() -> None:
    assert Page(made()).count("line") == 3
    page = Page(made(thresholds=Thresholds(None, None, None)))
    assert page.count("line") == 0
    assert page.count("rect", "low") == 0
    assert "No threshold" in page.text
    assert Page(made(thresholds=Thresholds(None, 1.0, None))).count("rect", "low") > 0


def test_leaks_show_both_pictures_names_and_positions() -> None:
    audit = leaking(replace(pictured(made()), names=tuple(f"t{i}.png" for i in range(N))))
    page = Page(audit)
    text = page.text[page.text.index("Leakage") :]
    assert f"{PAIRS} of 35 flagged pairs shown." in text
    both = re.findall(r"train #(\d+) t(\d+).png val #(\d+) v.png score", text)
    assert both == [(str(i), str(i), str(i + 100)) for i in range(PAIRS)]
    assert page.count("img") == Page(pictured(made())).count("img") + 2 * PAIRS
    assert "kept copy" not in text
    assert re.search(r"leakage 35 38\.89% [\d.e-]+ warn", page.text)


def test_leaks_without_pictures_are_a_table_and_the_next_nearest_are_shown() -> None:
    page = Page(replace(leaking(made(), flagged=2), leak_thumbnails={}))
    assert page.count("table", "listing") == 4
    text = page.text[page.text.index("Leakage") :]
    assert f"2 of 2 flagged pairs shown, and the next {AT_LEAST - 2}, not flagged." in text
    assert "train #1 val #101 v.png flagged" in text


def test_where_leakage_was_not_looked_for_nothing_is_said_of_it() -> None:
    text = Page(made()).text
    assert "Leakage" not in text
    assert not re.search(r"leakage (?!warn)", text)  # only in the settings
    assert "leakage" not in json.loads(as_json(made()))["contamination"]


def test_hostile_names_of_splits_and_their_files_are_inert() -> None:
    page = Page(leaking(hostile(), other=EVIL + "\udcff", name=EVIL + "\udcff"))
    assert {name for name, _ in page.tags} & INERT == {"meta"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name == "style"]
    assert all(str(a["src"]).startswith("data:image/png;base64,") for _, a in page.tags if "src" in a)


def test_notes_encoder_and_the_settings_in_force_are_named() -> None:
    audit = made()
    about = {**audit.provenance, "notes": ["read without workers"], "encoder": {"name": "resnet18", "rank_me": 41.25}}
    text = Page(replace(audit, provenance=about).at(thresholds=Thresholds(off_topic=0.123))).text
    assert "read without workers" in text
    assert "RankMe 41.2" in text
    assert "encoder: name resnet18" in text
    assert "settings: thresholds: off topic 0.123" in text
    assert "settings: method default" in text


@pytest.mark.parametrize("about", [{}, {"encoder": None}, {"encoder": {"rank_me": float("nan")}}])
def test_an_audit_of_unknown_origin_has_a_page_too(about: dict[str, Any]) -> None:
    page = Page(replace(audit_embeddings(np.eye(2)), provenance=about))
    assert "2 samples" in page.text
    assert "RankMe" not in page.text


def test_json_holds_the_counts_and_no_nan() -> None:
    audit = made(labels=False, thresholds=Thresholds(None))
    found = json.loads(as_json(audit), parse_constant=lambda constant: pytest.fail(constant))
    assert set(found) >= {"format", "samples", "summary", "contamination", "not_run", "kept", "verdict"}
    assert (found["format"], found["samples"], found["kept"], found["verdict"]) == (1, N, N, None)
    assert found["contamination"] == audit.contamination
    assert found["not_run"] == {"label_errors": "there are no labels"}
    rows = {row["issue"]: row for row in found["summary"]}
    assert rows["near_duplicates"]["threshold"] is None
    assert rows["label_errors"]["num_issues"] is None
    assert rows["off_topic"]["action"] == "warn"


def test_json_holds_leakage_where_it_was_looked_for() -> None:
    found = json.loads(as_json(leaking(made(policy=Policy(leakage="drop")))))
    assert found["contamination"]["leakage"] == 35 / N
    row = next(row for row in found["summary"] if row["issue"] == "leakage")
    assert (row["num_issues"], row["action"]) == (35, "drop")
    assert found["kept"] == N - 35


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_json_holds_the_verdict(limit: float) -> None:
    audit = made()
    verdict = audit.check(Limits(near_duplicates=limit))
    found = json.loads(as_json(audit, verdict))["verdict"]
    assert (found["passed"], found["reasons"]) == (limit == 0.5, list(verdict.reasons))


def test_json_of_a_refused_policy_has_no_kept() -> None:
    assert json.loads(as_json(made(policy=Policy(near_duplicates="drop", max_drop_fraction=0))))["kept"] is None


def test_json_is_ascii_whatever_the_data_says() -> None:
    audit = made(labels=False)
    audit = replace(audit, scores=replace(audit.scores, not_run={"label_errors": "é \udcff"}))
    assert as_json(audit).isascii()
    assert json.loads(as_json(audit))["not_run"] == {"label_errors": "é \udcff"}
