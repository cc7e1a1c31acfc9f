"""The HTML page and the JSON: what they say, and that nothing in the data can act in them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.scores import scatter_scores
from selfclean_hooks.report.html.page import UNREADABLE, render
from tests.helpers.report_data import held
from tests.report.html.page_reader import PNG, N, Page, leaking, made, with_images

EVIL = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7 * 7 }}\u202e'
INERT = {"iframe", "object", "embed", "form", "base", "audio", "video", "img"}


def hostile() -> Audit:
    """Whatever comes from the data or its files says something evil."""
    audit = with_images(made(thresholds=Thresholds(0.5, 0.9, 0.9)))
    errors = {i: f"OSError: {EVIL}" for i in range(N, N + UNREADABLE + 5)}
    n = N + len(errors)
    scores = scatter_scores(
        audit.scores, np.arange(N), n, errors=errors, class_names=(EVIL + "\udcff", f"1{EVIL}", "c")
    )
    about = {
        "dataset": {"name": EVIL, EVIL: EVIL},
        "encoder": {"name": EVIL, "rank_me": 12.345},
        "settings": {"method": EVIL},
        "notes": [EVIL],
    }
    return replace(audit, scores=scores, names=(f"{EVIL}\udcff\n",) * n, provenance=about)


@pytest.fixture(scope="module")
def evil_page() -> str:
    return render(leaking(hostile(), other=EVIL + "\udcff", name=EVIL + "\udcff"))


def test_hostile_names_labels_and_errors_are_inert(evil_page: str) -> None:
    page, plain = Page(evil_page), Page(render(leaking(with_images(made()))))
    assert not {name for name, _ in page.tags} & INERT
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name in ("style", "src")]
    assert {attrs["href"] for _, attrs in page.tags if "href" in attrs} == {"data:,", "#main"}
    assert {name for name, _ in page.tags} - {name for name, _ in plain.tags} <= {"ul", "li", "strong"}  # notes, errors
    assert "alert(1)" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_the_data_is_one_script_of_plain_characters(evil_page: str) -> None:
    text = evil_page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert text.isascii()
    assert not set(text) & set("<>&")
    data = held(evil_page)
    assert EVIL in data["dataset"]
    assert data["samples"]["3"]["name"] == f"{EVIL}\udcff\n"
    assert data["classes"][0] == EVIL + "\udcff"
    assert data["issues"]["leakage"]["findings"][0]["other"]["split"] == EVIL + "\udcff"


def test_a_name_that_looks_like_a_mark_of_the_template_is_a_name() -> None:
    audit = made()
    audit = replace(audit, provenance={**audit.provenance, "notes": ["@data@"], "dataset": {"name": "@data@"}})
    text = render(audit)
    assert held(text)["dataset"] == "@data@"
    assert "<bdi>@data@</bdi>" in text


def test_the_page_forbids_all_but_its_own_script_and_style(evil_page: str) -> None:
    policies = [
        a["content"]
        for t, a in Page(evil_page).tags
        if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(maxsplit=1) for rule in str(policies[0]).split("; "))
    digest = r"'sha256-[\w+/]{43}='"
    assert re.fullmatch(digest, rules.pop("script-src"))
    assert re.fullmatch(digest, rules.pop("style-src"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data: blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert not re.search(r"url\(|@import", render(made()))


def test_undecodable_names_are_written_as_escapes(tmp_path: Path) -> None:
    hostile().to_html(tmp_path / "page.html")
    assert "\\udcff" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_summary_says_what_was_found_and_what_did_not_run() -> None:
    audit = made(labels=False, policy=Policy(near_duplicates="drop"))
    text = render(audit)
    page = Page(text)
    low, high = audit.intervals["near_duplicates"]
    assert re.search(rf"near duplicates 1 1\.11% {low:.2%} to {high:.2%} .* [\d.e-]+ drop", page.text)
    row = audit.calibration.set_index("issue").loc["near_duplicates"]
    assert f"{row['estimated']:.0f} ({row['estimated_low']:.0f} to {row['estimated_high']:.0f})" in page.text
    assert "label errors not run: there are no labels" in page.text
    assert "The policy keeps 89 of 90 samples." in page.text
    assert "90 samples" in page.text
    assert list(held(text)["issues"]) == ["near_duplicates", "off_topic"]


def test_a_refused_policy_is_explained() -> None:
    page = Page(render(made(policy=Policy(near_duplicates="drop", max_drop_fraction=0))))
    assert "There is no clean list: the policy would drop 1 of 90 samples" in page.text


@pytest.mark.parametrize(("limit", "words"), [(0.0, "Limits exceeded"), (0.5, "Within the limits")])
def test_a_verdict_is_reported(limit: float, words: str) -> None:
    audit = made()
    verdict = audit.check(Limits(near_duplicates=limit))
    text = Page(render(audit, verdict=verdict)).text
    assert f"{words} {verdict.reasons[0]}" in text
    assert "the limits" not in Page(render(audit)).text


def test_unreadable_samples_are_listed() -> None:
    page = Page(render(hostile()))
    assert f"{UNREADABLE} of {UNREADABLE + 5} shown." in page.text
    assert f"#{N} " in page.text


def test_notes_encoder_and_the_settings_in_force_are_named() -> None:
    audit = made()
    about = {**audit.provenance, "notes": ["read without workers"], "encoder": {"name": "resnet18", "rank_me": 41.25}}
    audit = replace(audit, provenance=about).at(thresholds=Thresholds(off_topic=0.123))
    text = Page(render(audit)).text
    assert "read without workers" in text
    assert "RankMe 41.2" in text
    assert "encoder: name resnet18" in text
    assert "settings: thresholds: off topic 0.123" in text
    assert "settings: method default" in text


@pytest.mark.parametrize("about", [{}, {"encoder": None}, {"encoder": {"rank_me": float("nan")}}])
def test_an_audit_of_unknown_origin_has_a_page_too(about: dict[str, Any]) -> None:
    page = Page(render(replace(audit_embeddings(np.eye(2)), provenance=about)))
    assert "2 samples" in page.text
    assert "RankMe" not in page.text


def test_a_page_of_a_split_leads_back() -> None:
    links = [attrs["href"] for tag, attrs in Page(render(made(), back="../report.html")).tags if tag == "a"]
    assert "../report.html" in links


def test_an_older_audit_with_fewer_images_and_no_evidence_has_a_page() -> None:
    data = held(render(replace(with_images(made()), evidence=None, thumbnails={1: PNG})))
    assert data["map"] is None
    assert set(data["images"]) == {"1"}
    assert "near" not in data["issues"]["off_topic"]["findings"][0]
