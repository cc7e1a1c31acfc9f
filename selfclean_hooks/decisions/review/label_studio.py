"""What people decided in Label Studio about the tasks that `export --to label-studio` wrote, as entries of decisions.

Read are its exports "JSON" and "JSON-MIN". Of several annotations of a task the last one counts; tasks that were
skipped or have no verdict yet say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

FINDING, VERDICT, LABEL = "selfclean_hooks", "verdict", "label"  # of the data; names of the controls


def decisions_in(tasks: Sequence[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of the task, from 1, and its decision as a file of decisions holds it.

    Raises:
        ValueError: these are no tasks of ours.
    """
    for number, task in enumerate(tasks, 1):
        data = task.get("data", task) if isinstance(task, Mapping) else None
        finding = data.get(FINDING) if isinstance(data, Mapping) else None
        if not isinstance(data, Mapping) or not isinstance(finding, Mapping):
            raise ValueError(f"task {number} lacks {FINDING!r}, which `selfclean-hooks export` writes into its data")
        chosen = _chosen(task["annotations"]) if "annotations" in task else data
        verdict, label = (_first(chosen.get(name)) for name in (VERDICT, LABEL))
        if verdict:
            yield number, {**finding, "verdict": verdict, **({"label": label} if verdict == "relabelled" else {})}


def _chosen(annotations: object) -> dict[str, Any]:
    """Name of the control: what was chosen or written, in the last annotation."""
    if not isinstance(annotations, list):
        raise ValueError(f"annotations must be a list, got {annotations!r:.60}")
    done = [each for each in annotations if isinstance(each, Mapping) and not each.get("was_cancelled")]
    last = max(done, key=lambda each: str(each.get("updated_at", "")), default={})  # ISO dates sort as texts
    given = last.get("result")
    results = [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []
    return {str(each.get("from_name")): _values(each.get("value")) for each in results}


def _values(value: Any) -> Any:
    return value.get("choices", value.get("text")) if isinstance(value, Mapping) else None


def _first(value: Any) -> str:
    """The one choice: JSON-MIN has it as text, JSON in a list."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
