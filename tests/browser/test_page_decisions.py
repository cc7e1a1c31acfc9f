"""The file of decisions: from the page to the command line and back."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selfclean_hooks import Audit
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.decisions.review.file import read_reviews
from tests.browser.browser_pages import N, Opened, exported, opened, page_of
from tests.helpers.command_line import Call

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def decide_some(review: Opened) -> None:
    review.tab("off_topic")
    review.press("j", "c", "x", "c")
    review.tab("near_duplicates")
    review.press("j", "c", "x", "c")
    review.tab("label_errors")
    review.press("j", "c", "x", "r")
    review.page.fill("#panel-label_errors input.exact", "0.2")
    review.press("Enter")


def test_decisions_come_back_through_the_command_line(
    review: Opened, audit: Audit, path: Path, tmp_path: Path, call: Call
) -> None:
    decide_some(review)
    content = exported(review, tmp_path / "decisions.json")
    assert content["kind"] == "selfclean-hooks decisions"
    assert content["thresholds"] == {"label_errors": 0.2}
    assert content["seen"]["off_topic"] >= 3
    found = audit.with_decisions(read_reviews(tmp_path / "decisions.json"))
    kept = set(found.clean_indices.tolist())
    for entry in content["decisions"]:
        i, issue = entry["index"], entry["issue"]
        assert entry["sample"] == audit.names[i] if audit.names else False
        if entry["verdict"] == "confirmed":
            assert found.decisions.contamination_mask(issue)[i]
            assert i not in kept
        else:
            assert not found.decisions.contamination_mask(issue)[i]
    relabelled = {e["index"]: e["label"] for e in content["decisions"] if e["verdict"] == "relabelled"}
    assert found.relabelled == relabelled
    ran = call("gate", path.parent, "--decisions", tmp_path / "decisions.json", "--format", "json")
    assert ran.status == 0, ran.err
    reported = json.loads(ran.out)
    assert reported["contamination"]["label_errors"] == found.contamination["label_errors"]


def test_the_dialog_prints_commands_that_can_be_run(review: Opened, path: Path) -> None:
    with review.page.expect_download():
        review.page.click("text=Export decisions")
    apply, gate = (shlex.split(text) for text in review.page.locator("dialog .command code").all_inner_texts())
    decided = ["--decisions", "decisions.json"]
    assert apply[:5] == ["selfclean-hooks", "apply", str(path.parent), *decided]
    assert apply[5] == "--to"
    assert apply[6].endswith("_clean")
    assert gate == ["selfclean-hooks", "gate", str(path.parent), *decided]


def test_decisions_are_loaded_again_and_other_files_are_refused(
    review: Opened, browser: "Browser", path: Path, tmp_path: Path
) -> None:
    decide_some(review)
    before = exported(review, tmp_path / "decisions.json")
    (tmp_path / "other.json").write_text('{"kind": "shopping", "format": 1}')
    (tmp_path / "odd.json").write_text(json.dumps({**before, "surprise": 1}))
    (tmp_path / "none.json").write_text("not JSON")
    with opened(browser, path) as fresh:
        for name, why in (("other", "not a file of decisions"), ("odd", "surprise"), ("none", "not JSON")):
            fresh.page.set_input_files("input[type=file]", tmp_path / f"{name}.json")
            assert why in fresh.page.inner_text("dialog [role=alert]")
            fresh.press("Escape")
            assert fresh.page.evaluate("localStorage.length") == 0
        fresh.page.set_input_files("input[type=file]", tmp_path / "decisions.json")
        assert f"{len(before['decisions'])} decisions read" in fresh.page.inner_text("dialog")
        fresh.press("Escape")
        after = exported(fresh, tmp_path / "again.json")
    assert after["decisions"] == before["decisions"]
    assert after["thresholds"] == before["thresholds"]


def test_a_review_that_the_audit_came_with_is_taken_up(
    review: Opened, browser: "Browser", audit: Audit, tmp_path: Path
) -> None:
    decide_some(review)
    before = exported(review, tmp_path / "decisions.json")
    reviewed = page_of(audit.with_decisions(tmp_path / "decisions.json"), tmp_path / "reviewed")
    with opened(browser, reviewed) as fresh:
        after = exported(fresh, tmp_path / "again.json")

    def reported(content: dict[str, Any]) -> set[tuple[Any, ...]]:
        return {(e["issue"], e["verdict"], e["index"], e.get("label", "")) for e in content["decisions"]}

    assert reported(after) == reported(before)


def test_decisions_on_leaks_come_back(browser: "Browser", audit: Audit, tmp_path: Path) -> None:
    threshold = audit.decisions.thresholds["near_duplicates"]
    distance = np.linspace(0, threshold / 2, 6).astype(np.float32)
    names, digests = tuple(f"v{i}.png" for i in range(6)), tuple(f"{i:032x}" for i in range(6))
    leaks = LeakPairs(
        ("train", "val"), (N, 50), np.ones(6, int), np.arange(6), np.arange(20, 26), distance, names, digests,
        automatic=threshold,
    )  # fmt: skip
    audit = replace(audit, scores=replace(audit.scores, leaks=leaks))
    with opened(browser, page_of(audit, tmp_path / "audit"), "#leakage") as found:
        found.press("j", "c", "x", "x")
        content = exported(found, tmp_path / "decisions.json")
    reported = [(e["index"], e["other_index"], e["other_split"], e["verdict"]) for e in content["decisions"]]
    assert reported == [(0, 20, "val", "confirmed"), (1, 21, "val", "rejected"), (2, 22, "val", "rejected")]
    after = audit.with_decisions(tmp_path / "decisions.json")
    assert audit.decisions.contamination_mask("leakage").nonzero()[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert after.decisions.contamination_mask("leakage").nonzero()[0].tolist() == [0, 3, 4, 5]
    assert 0 not in after.clean_indices
