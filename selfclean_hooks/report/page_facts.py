"""What a page says in words and tables, readable without any script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from selfclean_hooks.errors import PolicyError
from selfclean_hooks.summary import calibration_rows, summary_rows

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.gate import Verdict

UNREADABLE = 200
LEFT_OUT = ("notes", "fitness")  # told elsewhere on the page


def facts_of(audit: Audit, verdict: Verdict | None) -> dict[str, Any]:
    """What the template is given."""
    about, errors, names = audit.provenance, audit.scores.errors, audit.names
    return {
        "n": len(audit),
        "name": about.get("dataset", {}).get("name", ""),
        "summary": list(_summary(audit)),
        "not_run": audit.scores.not_run,
        "kept": _kept(audit),
        "verdict": verdict,
        "notes": about.get("notes", ()),
        "rank_me": (about.get("encoder") or {}).get("rank_me"),
        "fitness": audit.fitness,
        "unreadable": [(i, names[i] if names else "", errors[i]) for i in sorted(errors)[:UNREADABLE]],
        "unreadable_total": len(errors),
        "facts": list(_facts(_about(audit))),
    }


def _summary(audit: Audit) -> Iterator[dict[str, Any]]:
    """An issue a row, with Wilson's interval and what is estimated to be there in all."""
    estimates = {row["issue"]: row for row in calibration_rows(audit)}
    intervals = audit.intervals
    for row in summary_rows(audit):
        yield {**row, "interval": intervals.get(row["issue"]), "estimate": estimates.get(row["issue"])}


def _kept(audit: Audit) -> str:
    try:
        return f"The policy keeps {len(audit.clean_indices):,} of {len(audit):,} samples."
    except PolicyError as error:
        return f"There is no clean list: {error}."


def _about(audit: Audit) -> dict[str, Any]:
    """What the page says of the audit's origin; thresholds and policy are those in force."""
    facts = {key: value for key, value in audit.provenance.items() if key not in LEFT_OUT}
    in_force = {"thresholds": audit.thresholds.written(), "policy": asdict(audit.policy)}
    return {**facts, "settings": {**facts.get("settings", {}), **in_force}}


def _facts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as rows: ("settings: policy: off topic", "warn")."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _facts(entry, f"{name}: {key}" if name else str(key))
    else:
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        yield name.replace("_", " "), "none" if value is None else text
