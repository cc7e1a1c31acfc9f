"""Decisions that come back from Label Studio."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selfclean_hooks import Audit
from selfclean_hooks.decisions.review.file import read_review
from selfclean_hooks.errors import AuditFileError
from tests.helpers.image_audit import N, leaking


@pytest.fixture(scope="module")
def audit() -> Audit:
    return leaking(names=tuple(f"{i}.png" for i in range(N)), digests=tuple(f"{i:032x}" for i in range(N)))


@pytest.fixture
def tasks(audit: Audit, tmp_path: Path) -> list[dict[str, Any]]:
    audit.export("label-studio", tmp_path / "tasks.json")
    found: list[dict[str, Any]] = json.loads((tmp_path / "tasks.json").read_text())
    return found


def annotated(verdict: str, label: str = "", **changes: Any) -> dict[str, Any]:
    """An annotation as Label Studio exports it."""
    given = {"verdict": verdict, **({"label": label} if label else {})}
    result = [
        {"id": "x", "from_name": name, "to_name": "image", "type": "choices", "value": {"choices": [value]}}
        for name, value in given.items()
    ]
    return {"id": 1, "was_cancelled": False, "updated_at": "2026-03-01T10:00:00.1Z", "result": result, **changes}


def written(content: Any, tmp_path: Path) -> Path:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(content))
    return path


def issue_of(task: Mapping[str, Any]) -> str:
    return str(task["data"]["selfclean_hooks"]["issue"])


@pytest.mark.parametrize("is_min", [False, True])
def test_verdicts_are_those_of_the_page(
    is_min: bool, audit: Audit, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Every second finding is confirmed, the others are rejected, and wrong labels get the suggested one."""
    answers = []
    for number, task in enumerate(tasks):
        suggested = {r["from_name"]: r["value"]["choices"][0] for r in task["predictions"][0]["result"]}
        if suggested["verdict"] == "confirmed" and number % 2:
            suggested = {"verdict": "rejected"}
        answers.append(
            {"id": number, **task["data"], **suggested}
            if is_min
            else {"id": number, **task, "annotations": [annotated(suggested["verdict"], suggested.get("label", ""))]}
        )
    found = audit.with_decisions(written(answers, tmp_path))
    assert found.review is not None
    assert len(found.review.marks) == len(tasks)
    assert not found.decisions.unmatched
    for task, mark in zip(tasks, found.review.marks, strict=True):
        who = task["data"]["selfclean_hooks"]
        i, hit = who["index"], found.decisions.contamination_mask(mark.issue)[who["index"]]
        assert (mark.issue, mark.index, mark.sample) == (issue_of(task), i, f"{i}.png")
        if mark.verdict == "relabelled":
            assert found.relabelled[i] == mark.label != ""
        elif mark.verdict == "confirmed":
            assert hit
            assert found.decisions.dropped[i]
        elif mark.issue not in ("near_duplicates", "leakage"):  # a pair may have another partner
            assert not hit
    assert {mark.verdict for mark in found.review.marks} == {"confirmed", "rejected", "relabelled"}
    assert {mark.issue for mark in found.review.marks} == {"near_duplicates", "off_topic", "label_errors", "leakage"}


def test_the_last_annotation_counts_and_skipped_ones_do_not(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    first = annotated("confirmed")
    later = annotated("rejected", updated_at="2026-03-02T09:00:00Z")
    skipped = annotated("confirmed", updated_at="2026-04-01T09:00:00Z", was_cancelled=True)
    answers = [{**task, "annotations": [later, first, skipped]} for task in tasks[:2]]
    answers += [{**tasks[2], "annotations": [skipped]}, {**tasks[3], "annotations": []}]
    review = read_review(written(answers, tmp_path))
    assert [mark.verdict for mark in review.marks] == ["rejected", "rejected"]


def test_what_is_no_export_of_our_tasks(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    off_topic = next(task for task in tasks if issue_of(task) == "off_topic")
    named = next(task for task in tasks if issue_of(task) == "label_errors")
    finding = off_topic["data"]["selfclean_hooks"]
    for content, why in (
        ([{"data": {"image": "a.png"}, "annotations": []}], "task 1 lacks 'selfclean_hooks'"),
        (["text", {}], "task 1 lacks 'selfclean_hooks'"),
        ([{**off_topic, "annotations": [annotated("maybe")]}], "decision 1: the verdict must be one of"),
        ([{**off_topic, "annotations": [annotated("relabelled", "cat")]}], "relabelled is a verdict on label_errors"),
        ([{**named, "annotations": [annotated("relabelled")]}], "a new label goes with the verdict relabelled"),
        ([{"data": {"selfclean_hooks": {**finding, "odd": 1}}, "annotations": [annotated("confirmed")]}], "'odd'"),
        ([{"data": {"selfclean_hooks": finding}, "annotations": 3}], "annotations must be a list"),
    ):
        with pytest.raises(AuditFileError, match=why):
            read_review(written(content, tmp_path))


def test_a_task_of_data_without_files_is_found_by_its_content(audit: Audit, tmp_path: Path) -> None:
    bare = replace(audit, names=None)
    bare.export("label-studio", tmp_path / "tasks.json")
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    answers = [{**task, "annotations": [annotated("confirmed")]} for task in tasks if issue_of(task) == "off_topic"]
    found = bare.with_decisions(written(answers, tmp_path))
    assert len(answers) == len(found.decisions.marks["off_topic"])
