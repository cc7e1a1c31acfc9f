"""The JSON beside its schema; what it says of one audit is in test_report.py."""

import copy
import json
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

import selfclean_hooks.report.as_json as module
from selfclean_hooks import Audit, Limits, Policy
from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.core.issues import NAMES, TOTAL
from selfclean_hooks.gate.verdict import Verdict
from selfclean_hooks.report.as_json import as_json, as_metrics
from tests.helpers.format_data import HOSTILE, STRICT, half_accepted, judged, one, two

SHIFT = {"split_1": "train", "split_2": "val", "distance": 0.5, "expected": 0.1, "p_value": 0.005}


def schema() -> Any:
    from importlib.resources import files

    return json.loads(files("selfclean_hooks.report").joinpath("result.schema.json").read_text(encoding="utf-8"))


def closed(part: Any) -> Any:
    """The schema with every key refused that it does not describe."""
    if isinstance(part, list):
        return [closed(entry) for entry in part]
    if not isinstance(part, dict):
        return part
    found = {key: closed(entry) for key, entry in part.items()}
    return {"additionalProperties": False, **found} if "properties" in found and "type" in found else found


def read(text: str) -> Any:
    assert text.isascii()
    found = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
    jsonschema.Draft202012Validator(closed(schema())).validate(found)
    return found


def test_the_schema_knows_every_issue() -> None:
    defined = schema()["$defs"]
    assert set(defined["issue"]["enum"]) == set(NAMES)
    assert set(defined["check"]["properties"]["issue"]["enum"]) == {*NAMES, TOTAL}


def described(part: Any) -> list[Any]:
    """Every property in the schema, wherever it is."""
    if isinstance(part, list):
        return [each for entry in part for each in described(entry)]
    if not isinstance(part, dict):
        return []
    here = list(part["properties"].values()) if isinstance(part.get("properties"), dict) else []
    return here + [each for entry in part.values() for each in described(entry)]


def test_the_schema_is_valid_and_describes_every_field() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert len(described(schema())) > 50
    assert all(each.get("description") for each in described(schema()))
    assert schema()["properties"]["format"]["const"] == module.FORMAT


@pytest.mark.parametrize("damage", ["add", "remove", "type"])
def test_what_does_not_fit_the_schema_is_refused(damage: str) -> None:
    found = copy.deepcopy(read(as_json(one(), judged({"": one()}))))
    row = found["verdict"]["checks"][0]
    if damage == "add":
        row["new"] = 1
    elif damage == "remove":
        del row["issue"]
    else:
        row["found"] = "1"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(closed(schema())).validate(found)


def test_one_data_set_is_the_split_without_a_name_and_stands_at_the_top_too() -> None:
    audit = one()
    found = read(as_json({"": audit}, judged({"": audit})))
    assert found == read(as_json(audit, judged({"": audit})))
    assert list(found["splits"]) == [""]
    assert {key: found[key] for key in found["splits"][""]} == found["splits"][""]
    assert found["samples"] == 10
    assert found["sets"] == {"number": 1, "conflicting": 0}
    assert found["intervals"] == {
        issue: pytest.approx(wilson(count, 10))
        for issue, count in {"near_duplicates": 2, "off_topic": 1, "unreadable": 1}.items()
    }


def test_splits_are_read_the_same_way() -> None:
    audits = two()
    found = read(as_json(audits, judged(audits), [SHIFT]))
    assert list(found["splits"]) == ["train", "val"]
    assert "samples" not in found
    assert found["splits"]["train"]["contamination"]["leakage"] == 0.2
    assert found["splits"]["val"]["contamination"]["label_errors"] == 0.1
    assert found["leakage"] == [{"split_1": "train", "split_2": "val", "samples_1": 2, "samples_2": 1}]
    assert found["shift"] == [SHIFT]
    assert {check["split"] for check in found["verdict"]["checks"]} == {"train", "val"}


def test_two_splits_that_each_look_at_the_other_are_reported_of_once() -> None:
    audits = two()
    leaks = audits["train"].scores.leaks
    assert leaks is not None
    back = replace(leaks, splits=("val", "train"), index=leaks.other_index, other_index=leaks.index)
    audits["val"] = replace(audits["val"], scores=replace(audits["val"].scores, leaks=back))
    found = read(as_json(audits, judged(audits)))
    assert found["leakage"] == [{"split_1": "train", "split_2": "val", "samples_1": 2, "samples_2": 1}]


def test_a_split_may_leak_into_several() -> None:
    audits = two()
    leaks = audits["train"].scores.leaks
    assert leaks is not None
    leaks = replace(leaks, splits=("train", "val", "test"), sizes=(10, 10, 10), other=np.array([1, 2, 1]))
    audits["train"] = replace(audits["train"], scores=replace(audits["train"].scores, leaks=leaks))
    audits["test"] = replace(audits["val"])
    reported = read(as_json(audits, judged(audits)))["leakage"]
    assert [(row["split_2"], row["samples_1"], row["samples_2"]) for row in reported] == [("val", 1, 1), ("test", 1, 1)]


def test_every_check_holds_its_figures_and_its_worst() -> None:
    audits = two()
    found = read(as_json(audits, judged(audits)))
    checks = {(check["split"], check["issue"]): check for check in found["verdict"]["checks"]}
    copies = checks["train", "near_duplicates"]
    assert copies["interval"] == pytest.approx(wilson(2, 10))
    assert (copies["found"], copies["accepted"], copies["contamination"]) == (2, 0, 0.2)
    assert (copies["limit"], copies["passed"], copies["not_run"]) == (0.1, False, None)
    audit = audits["train"]
    assert copies["worst"] == [
        {
            "index": i,
            "sample": f"train/{i}.png",
            "digest": (audit.digests or ())[i],
            "reason": audit.decisions.reason[i],
        }
        for i in (1, 2)
    ]
    assert checks["train", "unreadable"]["limit"] == {"samples": 0}
    labels = checks["train", "label_errors"]
    assert (labels["found"], labels["interval"], labels["not_run"]) == (None, None, "there are no labels")
    assert checks["val", "label_errors"]["worst"][0]["index"] == 7


def test_at_most_twenty_are_named() -> None:
    from tests.decisions.test_policy import scores_of

    audit = Audit(scores_of(60, errors={i: "gone" for i in range(60)}))
    found = read(as_json(audit, judged({"": audit}, Limits(unreadable=0))))
    check = next(check for check in found["verdict"]["checks"] if check["issue"] == "unreadable")
    assert check["found"] == 60
    assert [entry["index"] for entry in check["worst"]] == list(range(20))


def test_what_the_baseline_accepts_and_what_is_stale() -> None:
    found = read(as_json(*half_accepted()))
    assert found["verdict"]["baseline"] is True
    assert len(found["verdict"]["stale"]) == 1
    checks = {check["issue"]: check for check in found["verdict"]["checks"]}
    assert (checks["off_topic"]["found"], checks["off_topic"]["accepted"]) == (0, 1)
    assert (checks["unreadable"]["found"], checks["unreadable"]["accepted"]) == (1, 0)
    assert found["contamination"]["off_topic"] == 0.1  # as measured, whatever is accepted


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_come_back_as_they_are(name: str) -> None:
    audits = two(name, other=name)
    verdict: Verdict = judged(audits, STRICT)
    found = read(as_json(audits, verdict))
    assert list(found["splits"]) == ["train", name]
    worst = [entry for check in found["verdict"]["checks"] for entry in check["worst"]]
    assert {entry["sample"] for entry in worst} == {name.replace("{}", str(0))}
    hurt = {"": one(name, error=name, why=name)}
    assert read(as_json(hurt, judged(hurt)))["not_run"] == {"label_errors": name}


def test_metrics_are_numbers_alone() -> None:
    audits = two()
    found = json.loads(as_metrics(audits, judged(audits)))
    assert found.pop("passed") is False
    assert list(found) == list(audits)
    for name, audit in audits.items():
        assert found[name].pop("samples") == len(audit)
        assert found[name].pop("kept_fraction") == len(audit.clean_indices) / len(audit)
        assert found[name] == audit.contamination
    ranked = replace(audits["val"], provenance={"encoder": {"rank_me": 4.5}})
    assert json.loads(as_metrics({"": ranked})) == {**json.loads(as_metrics(audits))["val"], "rank_me": 4.5}


def test_a_refused_policy_keeps_no_fraction() -> None:
    audit = one().at(policy=Policy("drop", "drop", max_drop_fraction=0.1))
    assert set(json.loads(as_metrics({"": audit}))) == {"samples", *audit.contamination}
