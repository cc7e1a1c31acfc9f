"""The HTML page and the JSON: what they say, and that nothing in the data can act in them."""

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Audit, Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.embeddings import Evidence
from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.core.scores import LeakPairs, scatter_scores
from selfclean_hooks.data.previews import preview
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html.data import NAMES_LENGTH, fingerprint
from selfclean_hooks.report.html.page import UNREADABLE, render
from selfclean_hooks.results.findings import select_findings
from tests.helpers.report_data import held

N = 90
EVIL = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>{{ 7 * 7 }}\u202e'
INERT = {"iframe", "object", "embed", "form", "base", "audio", "video", "img"}
PNG = b"\x89PNG\r\n\x1a\n-made-up"
WEBP = b"RIFF\x10\0\0\0WEBP-made-up"


def made(labels: bool = True, **settings: Any) -> Audit:
    vectors = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
    vectors[3] = vectors[1]
    return audit_embeddings(vectors, np.arange(N) % 3 if labels else None, **settings)


def with_images(audit: Audit) -> Audit:
    return replace(audit, thumbnails={i: PNG for i in range(len(audit))})


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


def leaking(audit: Audit, pairs: int = 40, flagged: int = 35, other: str = "val", name: str = "v.png") -> Audit:
    """Sample i is sample i + 100 of another split; the pairs after the first `flagged` are no near duplicates."""
    threshold = audit.decisions.thresholds["near_duplicates"]
    distance = np.where(np.arange(pairs) < flagged, threshold / 2, 0.9).astype(np.float32)
    index, sizes = np.arange(pairs), (len(audit), 500)
    ones, names = np.ones(pairs, int), (name,) * pairs
    leaks = LeakPairs(("train", other), sizes, ones, index, index + 100, distance, names, automatic=threshold)
    images = {(other, i + 100): PNG + b"other" for i in range(pairs)}
    return replace(audit, scores=replace(audit.scores, leaks=leaks), leak_thumbnails=images)


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles and scripts."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.inside: list[str] = []
        self.feed(source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_data(self, data: str) -> None:
        if self.inside[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside.append("/" + tag)


def array(reported: dict[str, str]) -> Any:
    return np.frombuffer(base64.b64decode(reported["bytes"]), "<" + reported["kind"])


# --- nothing in the data acts ----------------------------------------------------------------------------------------


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


# --- the summary -----------------------------------------------------------------------------------------------------


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


# --- the data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issue", [issue for issue in SCORED if not BY_NAME[issue].is_by_request])
def test_scores_lose_nothing(issue: str) -> None:
    audit = made()
    reported = held(render(audit))["issues"][issue]
    np.testing.assert_array_equal(array(reported["scores"]), audit.scores.of(issue))
    assert reported["threshold"] == audit.decisions.thresholds[issue]
    assert reported["counted"] == int(audit.decisions.contamination_mask(issue).sum())
    calibration = audit.scores.calibration[issue]
    if calibration.unknown:
        assert reported["calibration"] is None
    else:
        assert reported["calibration"]["clean"] == calibration.clean.tolist()


def test_scores_of_single_precision_are_written_as_such() -> None:
    audit = made()
    rounded = audit.scores.off_topic.astype(np.float32).astype(np.float64)
    rounded[4] = np.nan
    audit = replace(audit, scores=replace(audit.scores, off_topic=rounded))
    reported = held(render(audit))["issues"]["off_topic"]["scores"]
    assert reported["kind"] == "f4"
    np.testing.assert_array_equal(array(reported), rounded)


def test_what_is_shown_is_what_shown_says_worst_first() -> None:
    audit = with_images(made(thresholds=Thresholds(0.5, 0.9, 0.9)))
    for most in (10, 500):
        found, data = select_findings(audit, most), held(render(audit, max_items=most))["issues"]
        assert {f["samples"][0] for f in data["off_topic"]["findings"]} == set(found.samples["off_topic"].tolist())
        assert {f["samples"][0] for f in data["label_errors"]["findings"]} == set(
            found.samples["label_errors"].tolist()
        )
        sets = [f["samples"] for f in data["near_duplicates"]["findings"] if f["flagged"]]
        assert sets == [list(members) for members in found.sets]
        for issue in ("off_topic", "label_errors"):
            reported = [f["scores"][0] for f in data[issue]["findings"] if f["scores"][0] < 0.9]
            assert reported == sorted(reported)
            assert data[issue]["leftOut"] == found.left_out[issue]
    with pytest.raises(SettingError, match="max_items"):
        render(audit, max_items=0)


def test_members_of_a_set_have_the_score_to_the_kept_copy() -> None:
    audit = made(thresholds=Thresholds(0.5))
    rows = audit.pairs
    known = {(i, j): s for i, j, s in zip(rows.index_1, rows.index_2, rows.near_duplicate_score, strict=True)}
    found = held(render(audit))["issues"]["near_duplicates"]["findings"]
    assert any(len(one["samples"]) > 2 for one in found)
    for one in found:
        kept, *surplus = one["samples"]
        assert one["scores"] == [known[min(kept, i), max(kept, i)] for i in surplus]


def test_images_are_held_once_and_only_of_what_is_shown() -> None:
    audit = made(thresholds=Thresholds(0.0, 0.3, 0.2))
    few = {i: (PNG, WEBP)[i % 2] + bytes([i]) for i in range(N)}
    data = held(render(replace(audit, thumbnails={**few, 0: b"GIF89a no image"}), max_items=20))
    assert set(data["images"]) < set(map(str, range(N)))
    assert "0" not in data["images"]
    assert all(base64.b64decode(held) == few[int(i)] for i, held in data["images"].items())
    entries = [one for issue in data["issues"].values() for one in issue["findings"]]
    listed = {i for one in entries for row in [one["samples"], *one.get("near", ())] for i in row}
    assert set(map(int, data["images"])) == listed - {0}
    assert data["withoutImage"] == 0


def test_beyond_the_budget_neighbours_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    audit = with_images(made(thresholds=Thresholds(0.0, 0.3, 0.2)))
    worst = [int(i) for i in np.argsort(audit.scores.off_topic)[:3]]
    near = tuple(int(i) for i in np.argsort(-audit.scores.off_topic)[:4])
    audit = replace(audit, evidence=Evidence({worst[0]: near}, {}, None, ""))
    assert set(map(str, near)) <= set(held(render(audit, max_items=5))["images"])
    each = 4 * -(-len(PNG) // 3)
    listed = {
        i for f in held(render(audit, max_items=5))["issues"].values() for e in f["findings"] for i in e["samples"]
    }
    for room in (len(listed), 3):
        monkeypatch.setattr("selfclean_hooks.report.html.page.IMAGES", room * each)
        monkeypatch.setattr("selfclean_hooks.report.html.data.MIN_IMAGE_BUDGET", 0)
        data = held(render(audit, max_items=5))
        assert len(data["images"]) == room
        assert data["withoutImage"] == len(listed | set(near)) - room
        assert set(map(int, data["images"])) <= listed
        assert str(worst[0]) in data["images"]


def test_previews_stand_in_for_images() -> None:
    audit = made(thresholds=Thresholds(0.0, 0.3, 0.2))
    texts = {i: preview(f"text {i}") or b"" for i in range(N)}
    data = held(render(replace(audit, thumbnails=texts)))
    assert data["images"] == {}
    i, reported = next(iter(data["previews"].items()))
    assert reported == {"kind": "text", "text": f"text {i}", "rest": 0}


def test_neighbours_and_the_map_are_those_of_the_evidence() -> None:
    audit = with_images(made(thresholds=Thresholds(0.0, 0.3, 0.2)))
    i = int(np.argsort(audit.scores.label)[0])
    places = np.random.default_rng(0).random((N, 2)).astype(np.float32)
    places[3] = np.nan
    audit = replace(audit, evidence=Evidence({}, {i: ((5, 8), (7,))}, places, "PCA"))
    data = held(render(audit))
    entry = next(one for one in data["issues"]["label_errors"]["findings"] if one["samples"] == [i])
    assert entry["near"] == [[5, 8], [7]]
    assert {"5", "8", "7"} <= set(data["samples"])
    whole = np.frombuffer(base64.b64decode(data["map"]), "<u2").reshape(N, 2)
    assert whole[3].tolist() == [65535, 65535]
    rest = np.arange(N) != 3
    np.testing.assert_allclose(whole[rest] / 65534, places[rest], atol=1e-5)


def test_classes_are_reported_by_name_and_place() -> None:
    audit = made()
    audit = replace(audit, scores=replace(audit.scores, class_names=("ant", "bee", "cat", "dog")))
    data = held(render(audit))
    assert data["classes"] == ["ant", "bee", "cat", "dog"]
    place = np.frombuffer(base64.b64decode(data["given"]), "<u2")
    np.testing.assert_array_equal(place, audit.scores.given_label + 1)
    worst = str(int(np.argsort(audit.scores.label)[0]))
    row = audit.frame.loc[int(worst)]
    reported = data["samples"][worst]
    assert (reported["given"], reported["predicted"]) == (row["given_label"], row["predicted_label"])
    assert held(render(made(labels=False)))["labels"] == "none"


def test_where_names_are_too_long_only_those_of_shown_samples_are_reported() -> None:
    audit = replace(made(), names=tuple(f"{i}" * (NAMES_LENGTH // N) for i in range(N)))
    data = held(render(audit, max_items=2))
    assert data["names"] is None
    assert 0 < len(data["samples"]) < N
    assert all(reported["name"] == audit.names[int(i)] for i, reported in data["samples"].items() if audit.names)
    short = replace(audit, names=tuple(f"{i}.png" for i in range(N)))
    assert held(render(short))["names"] == list(short.names or ())


def test_leaks_show_both_images_names_and_positions() -> None:
    audit = leaking(replace(with_images(made()), names=tuple(f"t{i}.png" for i in range(N))))
    text = render(audit)
    data = held(text)
    found = data["issues"]["leakage"]["findings"]
    reported = [(one["samples"][0], one["other"]["index"], one["other"]["name"], one["flagged"]) for one in found]
    assert reported == [(i, i + 100, "v.png", i < 35) for i in range(40)]
    assert base64.b64decode(data["images"]["1:100"]) == PNG + b"other"
    assert data["split"] == "train"
    assert re.search(r"leakage 35 38\.89% .* [\d.e-]+ warn", Page(text).text)


def test_where_leakage_was_not_looked_for_nothing_is_said_of_it() -> None:
    assert "leakage" not in held(render(made()))["issues"]
    assert "leakage" not in json.loads(as_json(made()))["contamination"]


def test_marks_are_kept_under_what_was_measured_of_which_data() -> None:
    audit = made()
    same = replace(audit, thumbnails={1: PNG}, thresholds=Thresholds(off_topic=0.2))
    assert fingerprint(audit) == fingerprint(same)
    other = replace(audit, scores=replace(audit.scores, off_topic=audit.scores.off_topic / 2))
    assert fingerprint(audit) != fingerprint(other)
    assert fingerprint(audit) != fingerprint(audit.described("another"))


def test_an_older_audit_with_fewer_images_and_no_evidence_has_a_page() -> None:
    data = held(render(replace(with_images(made()), evidence=None, thumbnails={1: PNG})))
    assert data["map"] is None
    assert set(data["images"]) == {"1"}
    assert "near" not in data["issues"]["off_topic"]["findings"][0]


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
