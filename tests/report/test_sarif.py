"""SARIF beside the schema of OASIS, and read by sarif-tools."""

import json
import os
import re
from collections import Counter
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import jsonschema
import pytest
from sarif.loader import load_sarif_file  # type: ignore[import-untyped]

from selfclean_hooks import Audit, Limits
from selfclean_hooks.report import sarif
from selfclean_hooks.report.sarif import artifact, as_sarif
from selfclean_hooks.utils.text import visible
from tests.decisions.test_policy import low, scores_of
from tests.helpers.format_data import HOSTILE, SCHEMAS, digests, half_accepted, judged, one, two

VALIDATOR = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "sarif-2.1.0.json").read_text(encoding="utf-8")))
URI = re.compile(r"([A-Za-z0-9\-._~!$&'()*+,;=:@/?#]|%[0-9A-F]{2})*")  # the characters of RFC 3986, without []


def read(text: str) -> Any:
    assert text.isascii()
    found = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    VALIDATOR.validate(found)
    (run,) = found["runs"]
    return run


def results(run: Any, rule: str) -> list[Any]:
    return [result for result in run["results"] if result["ruleId"] == rule]


def notes(run: Any) -> list[Any]:
    found: list[Any] = run["invocations"][0]["toolExecutionNotifications"]
    return found


def test_the_schema_refuses_what_is_no_sarif() -> None:
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({"version": "2.1.0", "runs": [{"results": []}]})


def test_the_tool_and_its_rules() -> None:
    run = read(as_sarif({"": one()}, judged({"": one()})))
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("selfclean-hooks", version("selfclean-hooks"))
    assert [rule["id"] for rule in driver["rules"]] == [
        "near-duplicates",
        "off-topic",
        "label-errors",
        "leakage",
        "unreadable",
    ]
    assert all(rule["help"]["text"] and rule["fullDescription"]["text"] for rule in driver["rules"])
    assert run["invocations"][0]["executionSuccessful"] is True


def test_a_finding_is_a_result() -> None:
    audits = two()
    run = read(as_sarif(audits, judged(audits)))
    assert len(run["results"]) == 2 + 1 + 2 + 1 + 1
    (first, second) = results(run, "near-duplicates")
    assert first["message"]["text"] == audits["train"].decisions.reason[1]
    assert first["level"] == "error"
    (place,) = first["locations"]
    assert place["physicalLocation"]["artifactLocation"] == {"uri": "train/1.png", "uriBaseId": "%SRCROOT%"}
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "train[1]"
    assert first["partialFingerprints"] == {"sampleDigest/v1": digests()[1]}
    assert second["locations"][0]["logicalLocations"][0]["name"] == "2"
    assert [result["level"] for result in results(run, "off-topic")] == ["warning"]
    assert all(
        run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"]
    )
    assert "baselineState" not in first
    assert "suppressions" not in first


def test_the_other_sample_is_a_related_location() -> None:
    audits = two()
    run = read(as_sarif(audits, judged(audits)))
    (kept,) = results(run, "near-duplicates")[1]["relatedLocations"]
    assert kept["physicalLocation"]["artifactLocation"]["uri"] == "train/0.png"
    leaked = results(run, "leakage")
    assert [result["locations"][0]["logicalLocations"][0]["name"] for result in leaked] == ["5", "6"]
    (other,) = leaked[0]["relatedLocations"]
    assert other["physicalLocation"]["artifactLocation"]["uri"] == "train/v3.png"
    assert other["logicalLocations"][0]["fullyQualifiedName"] == "val[3]"
    assert results(run, "off-topic")[0]["relatedLocations"] == []


def test_what_is_in_the_baseline_is_suppressed() -> None:
    run = read(as_sarif(*half_accepted()))
    (off_topic,) = results(run, "off-topic")
    assert (off_topic["baselineState"], off_topic["level"]) == ("unchanged", "warning")
    assert [each["kind"] for each in off_topic["suppressions"]] == ["external"]
    (new,) = results(run, "unreadable")
    assert (new["baselineState"], new["level"], new["suppressions"]) == ("new", "error", [])
    assert any("gone | `file`.png" in note["message"]["text"] for note in notes(run))


def test_what_was_not_checked_is_a_notification() -> None:
    audits = two()
    (note,) = notes(read(as_sarif(audits, judged(audits))))
    assert (note["level"], note["associatedRule"]["id"]) == ("error", "label-errors")
    assert note["message"]["text"] == "label_errors of train was not checked: there are no labels"
    (note,) = notes(read(as_sarif(audits, judged(audits, Limits()))))
    assert note["level"] == "note"


def test_where_the_total_is_too_much_all_findings_are_errors() -> None:
    audits = {"": one()}
    run = read(as_sarif(audits, judged(audits, Limits(total=0.1, not_run=("label_errors",)))))
    assert {result["level"] for result in run["results"]} == {"error"}
    assert len(run["results"]) == 4
    assert any(note["message"]["text"].startswith("total: 0.4000") for note in notes(run))


def test_the_worst_are_there_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 500
    monkeypatch.setattr(sarif, "MOST_RESULTS", most)
    n = most + 100
    scores = scores_of(n, off_topic=all_low(n), errors={i: "gone" for i in range(200)})
    audits = {"": Audit(scores)}
    run = read(as_sarif(audits, judged(audits, Limits(unreadable=0))))
    assert len(run["results"]) == most
    assert len(results(run, "unreadable")) == 200  # what failed comes first
    assert len(results(run, "off-topic")) == 300
    worst = [int(result["locations"][0]["logicalLocations"][0]["name"]) for result in results(run, "off-topic")]
    assert worst == list(range(n - 1, n - 301, -1))
    assert "300 findings are left out" in notes(run)[-1]["message"]["text"]
    audits = {"": Audit(scores_of(most, off_topic=all_low(most)))}
    run = read(as_sarif(audits, judged(audits)))
    assert (len(run["results"]), notes(run)) == (most, [])


def all_low(n: int) -> Any:
    """Everything is off topic, the last one most."""
    values = low(n=n)
    values[:] = [0.05 * (1 - i / n) for i in range(n)]
    return values


def test_vectors_of_one_file_point_to_it_and_others_to_no_file() -> None:
    audit = replace(one(), names=None, digests=None)
    result = read(as_sarif({"": audit}, judged({"": audit})))["results"][0]
    assert list(result["locations"][0]) == ["logicalLocations"]
    assert result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "samples[1]"
    assert "partialFingerprints" not in result
    reported = replace(audit, provenance={"dataset": {"name": "data/x.npz"}})
    result = read(as_sarif({"": reported}, judged({"": reported})))["results"][0]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "data/x.npz"


def test_files_below_the_current_folder_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    below = {"uri": "a%20b/%C3%BC%23.png", "uriBaseId": "%SRCROOT%"}
    assert artifact("a b/\xfc#.png") == artifact(str(tmp_path / "here" / "a b" / "\xfc#.png")) == below
    assert artifact("x/../a b/./\xfc#.png") == below
    assert artifact("../x:y.png") == {"uri": (tmp_path / "x:y.png").as_uri().replace("%3A", ":")}
    assert artifact("x:y.png")["uri"] == "x%3Ay.png"  # and not a scheme
    assert artifact("\ud800.png")["uri"] == "%ED%A0%80.png"
    assert artifact("s3://bucket/a b.png?v=1") == {"uri": "s3://bucket/a%20b.png?v=1"}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_stay_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    audits = two(name, other=name)
    audits["train"] = replace(audits["train"], scores=replace(audits["train"].scores, errors={9: name}))
    text = as_sarif(audits, judged(audits))
    run = read(text)
    for result in run["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert URI.fullmatch(uri)
        (logical,) = result["locations"][0]["logicalLocations"]
        assert logical["fullyQualifiedName"] in (f"train[{logical['name']}]", f"{visible(name)}[{logical['name']}]")
        assert not re.search(r"(?<!\\)[\[\]]|(?<!\{)\{(?:\{\{)*(?!\{)", result["message"]["text"])
        assert result["message"]["text"].isprintable() or "\u200d" in result["message"]["text"]
    if name != HOSTILE["surrogate"]:
        there = unquote_to_bytes(run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"])
        path = os.fsencode(os.path.abspath(name.replace("{}", "1")))
        assert path in (there, os.path.join(os.fsencode(tmp_path), there), there.removeprefix(b"file://"))
    (tmp_path / "x.sarif").write_text(text, encoding="ascii")
    loaded = load_sarif_file(str(tmp_path / "x.sarif"))
    assert loaded.get_result_count() == len(run["results"])
    records = loaded.get_records()
    assert {record["Tool"] for record in records} == {"selfclean-hooks"}
    assert Counter(record["Severity"] for record in records) == {"error": 4, "warning": 3}
    assert {record["Code"] for record in records} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
