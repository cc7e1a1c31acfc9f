"""The CI templates with the real command: a source that passes and one that does not."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.ci_templates.ci_steps import BINARIES, Action, gitlab

LIMITS = "--max-near-duplicates 0 --max-unreadable 0"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Embeddings in 16 dimensions; in the last file two rows are copies of another."""
    rng = np.random.default_rng(0)
    for name in ("clean $(touch x).npz", "other.npz", "copies.npz"):
        vectors = rng.normal(size=(60, 16)).astype(np.float32)
        if name == "copies.npz":
            vectors[[10, 20]] = vectors[0]
        np.savez(tmp_path / name, embeddings=vectors)
    return tmp_path


def test_clean_splits_pass_in_gitlab(sources: Path) -> None:
    given = {"SELFCLEAN_SOURCE": "train=clean $(touch x).npz val=other.npz", "SELFCLEAN_LIMITS": LIMITS}
    ran = gitlab(sources, BINARIES, **given)
    assert ran.status == 0, ran.log
    tests = ElementTree.parse(sources / "audit" / "junit.xml").findall(".//testcase")
    assert {test.get("classname") for test in tests} == {"selfclean_hooks.train", "selfclean_hooks.val"}
    assert json.loads((sources / "audit" / "verdict.json").read_text())["verdict"]["passed"] is True
    assert (sources / "audit" / "report.html").is_file()
    assert not (sources / "x").exists()


def test_a_contaminated_source_fails_the_action_and_leaves_its_report(sources: Path) -> None:
    action = Action(sources, BINARIES, source="copies.npz", limits=LIMITS, output="the report")
    audit, verdict = action.run_all()
    assert (audit.status, verdict.status, audit.outputs.get("passed")) == (0, 1, "false"), audit.log
    report = sources / "the report"
    found = json.loads((report / "verdict.json").read_text())["verdict"]
    assert found["passed"] is False
    assert "near_duplicates" in found["reasons"][0]
    assert ElementTree.parse(report / "junit.xml").find(".//testcase[@name='near_duplicates']/failure") is not None
    assert json.loads((report / "results.sarif").read_text())["runs"][0]["results"]
    assert audit.summary == (report / "summary.md").read_text()
