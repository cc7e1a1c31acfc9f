"""The table of issues: settings have a field for every row, and a new row is all that lists of issues need."""

import json
import os
import shutil
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selfclean_hooks
from selfclean_hooks import Limits, Policy, Thresholds, audit_embeddings
from selfclean_hooks.core.issues import BY_NAME, ISSUES, NAMES, SCORED, TOTAL
from selfclean_hooks.detectors.methods import METHODS
from tests.helpers.forked import forked

PACKAGE = Path(selfclean_hooks.__file__).parent


def test_settings_have_a_field_for_every_issue() -> None:
    assert tuple(field.name for field in fields(Thresholds)) == SCORED
    assert {field.name for field in fields(Policy)} - {"max_drop_fraction", "keep"} == set(NAMES)
    assert {field.name for field in fields(Limits)} - {"not_run"} == {*NAMES, TOTAL}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_detector_for_every_scored_issue(method: str) -> None:
    expected = tuple(issue for issue in SCORED if not BY_NAME[issue].is_by_request)
    assert tuple(detector.issue for detector in METHODS[method].detectors) == expected


def test_names_are_unique_and_thresholds_exist() -> None:
    assert len(BY_NAME) == len(ISSUES)
    assert {issue.threshold for issue in ISSUES if issue.threshold} == set(SCORED)


DETECTOR = '''
"""A made-up issue: samples that point away from the first axis."""

from selfclean_hooks.detectors.protocol import Finding


class Tilt:
    issue = "tilted"

    def __call__(self, geometry):
        return Finding((geometry.x.values[:, 0].numpy().astype(float) + 1) / 2, 0.1)
'''
ROW = """    Issue(
        name="tilted",
        title="Tilted",
        noun="tilted",
        description="Samples that point away from the first axis.",
        question="Is this tilted?",
        answers=("Confirm: tilted", "Not an issue: upright"),
        colour="#2f9e6b",
        rule=Rule("TiltedSample", "The sample is tilted.", "It points away from the first axis.", "Turn it."),
        score_field="tilt",
        threshold="tilted",
    ),
"""
EDITS = (  # file, what is there, what stands before or after it then: nothing else is changed
    ("core/issues.py", '    Issue(\n        name="leakage",', ROW + '    Issue(\n        name="leakage",'),
    ("detectors/methods.py", "EnsembleLabelErrors())", "EnsembleLabelErrors(), Tilt())"),
    (
        "detectors/methods.py",
        "from selfclean_hooks.detectors.selfclean",
        "from selfclean_hooks.detectors.tilt import Tilt\nfrom selfclean_hooks.detectors.selfclean",
    ),
    (
        "decisions/settings.py",
        'label_errors: Threshold = "auto"',
        'label_errors: Threshold = "auto"\n    tilted: Threshold = "auto"',
    ),
    ("decisions/settings.py", 'keep: Keep = "first"', 'keep: Keep = "first"\n    tilted: Action = "warn"'),
    (
        "gate/verdict.py",
        "total: float | Count | None = None",
        "total: float | Count | None = None\n    tilted: float | Count | None = None",
    ),
)
SCRIPT = """
import json, re, sys
import numpy as np
from selfclean_hooks import Audit, Limits, Policy, audit_embeddings
from selfclean_hooks.gate.verdict import check
from selfclean_hooks.report.sarif import as_sarif
from selfclean_hooks.results.stability import stability

vectors, labels = np.load("vectors.npy"), np.load("labels.npy")
made = audit_embeddings(vectors, labels, policy=Policy(tilted="drop"), progress=False)
made.save("audit")
audit, before = Audit.load("audit"), Audit.load("before")
verdict = check({"": audit}, {"": Limits(tilted=0.01)})
rules = [rule["id"] for rule in json.loads(as_sarif({"": audit}, verdict))["runs"][0]["tool"]["driver"]["rules"]]
page = json.loads(re.search(r'id="data">(.*?)</script>', open("audit/report.html").read(), re.S)[1])
shown = page["issues"]["tilted"]
print(json.dumps({
    "selfclean": list(audit_embeddings(vectors, method="selfclean", progress=False).contamination),
    "summary": audit.summary.set_index("issue")["num_issues"].dropna().to_dict(),
    "before": [before.summary["issue"].tolist(), "is_tilt_issue" in before.frame],
    "frame": [audit.frame[column].tolist() for column in ("tilt_score", "is_tilt_issue", "action")],
    "reason": audit.frame["reason"][0],
    "ranking": audit.ranking("tilted")["index"].tolist()[:2],
    "failures": verdict.failures,
    "rules": rules,
    "page": [shown["title"], shown["question"], shown["counted"]],
    "worst": [entry["samples"][0] for entry in shown["findings"][:2]],
    "stability": stability(made, audit)["tilted"]["rank_correlation"],
}))
"""


def edited(folder: Path) -> None:
    """A copy of the package with the made-up issue."""
    shutil.copytree(PACKAGE, folder / "selfclean_hooks")
    (folder / "selfclean_hooks/detectors/tilt.py").write_text(DETECTOR)
    for name, old, new in EDITS:
        path = folder / "selfclean_hooks" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")


def run_script(folder: Path) -> None:
    """In a forked process: the script with the package of the folder, imported anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "selfclean_hooks"]:
        del sys.modules[name]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    exec(SCRIPT, {})


def test_a_new_issue_needs_a_detector_two_rows_and_three_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    vectors = (np.eye(8)[labels] * 2 + [4, 0, 0, 0, 0, 0, 0, 0] + rng.normal(size=(60, 8)) * 0.4).astype(np.float32)
    vectors[[0, 1]] = -vectors[[2, 3]] + rng.normal(size=(2, 8)) * 0.1
    np.save(tmp_path / "vectors.npy", vectors)
    np.save(tmp_path / "labels.npy", labels)
    audit_embeddings(vectors, labels, progress=False).save(tmp_path / "before")
    edited(tmp_path)
    ran = forked(partial(run_script, tmp_path))
    assert ran.status == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out.splitlines()[-1])
    score = (vectors[:, 0] / np.linalg.norm(vectors, axis=1) + 1) / 2
    hits = score < 0.1
    assert hits.nonzero()[0].tolist() == [0, 1]
    assert found["summary"]["tilted"] == 2
    assert found["before"] == [["near_duplicates", "off_topic", "label_errors", "unreadable"], False]
    assert found["selfclean"] == ["near_duplicates", "off_topic", "unreadable"]
    np.testing.assert_allclose(found["frame"][0], score, atol=1e-6)
    assert found["frame"][1] == hits.tolist()
    assert found["frame"][2][:2] == ["drop", "drop"]
    assert f"tilted (score {found['frame'][0][0]:.4g} below 0.1)" in found["reason"]
    assert found["ranking"] == np.argsort(score)[:2].tolist()
    assert [failure.partition(":")[0] for failure in found["failures"]] == ["tilted"]
    assert found["rules"] == ["near-duplicates", "off-topic", "label-errors", "tilted", "leakage", "unreadable"]
    assert found["page"] == ["Tilted", "Is this tilted?", 2]
    assert found["worst"] == np.argsort(score)[:2].tolist()
    assert found["stability"] == 1.0
