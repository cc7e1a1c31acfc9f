"""What the page is given: scores, findings, images, neighbours and leaks as they were measured."""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selfclean_hooks import Thresholds
from selfclean_hooks.core.embeddings import Evidence
from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.data.previews import preview
from selfclean_hooks.errors import SettingError
from selfclean_hooks.report.as_json import as_json
from selfclean_hooks.report.html.data import NAMES_LENGTH, fingerprint
from selfclean_hooks.report.html.page import render
from selfclean_hooks.results.findings import select_findings
from tests.helpers.report_data import held
from tests.report.html.page_reader import PNG, N, Page, leaking, made, with_images

WEBP = b"RIFF\x10\0\0\0WEBP-made-up"


def array(reported: dict[str, str]) -> Any:
    return np.frombuffer(base64.b64decode(reported["bytes"]), "<" + reported["kind"])


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
        for curve in ("clean", "low", "high"):
            at = getattr(calibration, curve)
            assert reported["calibration"][curve] == (None if at is None else at.tolist())


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
