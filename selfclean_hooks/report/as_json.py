"""The result of audits as JSON, for programs. Described by `result.schema.json` beside this file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from selfclean_hooks.core.calibration import wilson
from selfclean_hooks.core.scores import LeakPairs
from selfclean_hooks.gate.verdict import Count
from selfclean_hooks.report.text import WORST, digest_of, name_of
from selfclean_hooks.results.result import kept_action, metrics_of
from selfclean_hooks.results.tables import calibration_rows, summary_rows
from selfclean_hooks.utils.text import plain

if TYPE_CHECKING:
    from selfclean_hooks.gate.verdict import Check, Verdict
    from selfclean_hooks.results.result import AuditResult

FORMAT = 1  # raised where something written before changes its meaning or goes; not where something is added


def as_json(
    audits: AuditResult | Mapping[str, AuditResult],
    verdict: Verdict | None = None,
    shift: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What was found, as one JSON object, ASCII only, without NaN or infinity.

        {"format": 1,
         "splits": {"train": {"samples": 1100,
                              "summary": [{"issue": "near_duplicates", "num_issues": 52, "contamination": 0.0473,
                                           "threshold": 0.0217, "action": "drop"}, ...],
                              "contamination": {"near_duplicates": 0.0473, ...},        issues that ran
                              "intervals": {"near_duplicates": [0.0362, 0.0615], ...},  95%, of the contamination
                              "not_run": {"label_errors": "there are no labels"},
                              "estimates": [{"issue": "off_topic", "precision": 0.9, ...}],  see `Audit.calibration`
                              "sets": {"number": 40, "conflicting": 1},                 of near duplicates
                              "kept": 1013,                                null where the policy would drop too much
                              "fitness": {"samples": 200, ...}}, ...},     see `Fitness`; null where it is not known
                              "search": null}, ...},                       recall of an approximate search
         "leakage": [{"split_1": "train", "split_2": "val", "samples_1": 3, "samples_2": 2}],
         "shift": [],
         "verdict": {"passed": false, "reasons": ["..."], "checks": [...], "baseline": false,
                     "stale": []}}  null where nothing was checked

    One data set is the split "", and what is said of it stands at the top too, as it did before there were splits. So
    a program that reads `splits` and `verdict` need not know how many there are.

    Args:
        audits: by name of the split, that which is trained on first; for one data set {"": audit}, or the audit itself.
        verdict: of `check`.
        shift: how far splits lie apart, a mapping for each two of them.
    """
    by_name = audits if isinstance(audits, Mapping) else {"": audits}
    splits = {name: _split(audit) for name, audit in by_name.items()}
    content = {
        "format": FORMAT,
        **splits.get("", {}),
        "splits": splits,
        "leakage": list(_leakage(by_name)),
        "shift": shift,
        "verdict": None if verdict is None else _verdict(by_name, verdict),
    }
    return json.dumps(plain(content), indent=2, allow_nan=False)


def as_metrics(audits: Mapping[str, AuditResult], verdict: Verdict | None = None) -> str:
    """Numbers alone, as JSON, for programs that follow them from run to run (DVC, MLflow):

        {"passed": true, "samples": 1100, "near_duplicates": 0.0473, ..., "kept_fraction": 0.92, "rank_me": 41.2}

    Several splits are an object each, after "passed".

    Args:
        audits: by name of the split; {"": audit} for one data set.
        verdict: of `check`.
    """
    splits = {name: {"samples": len(audit), **metrics_of(audit)} for name, audit in audits.items()}
    passed = {} if verdict is None else {"passed": verdict.passed}
    return json.dumps(plain({**passed, **splits.pop("", {}), **splits}), indent=2, allow_nan=False)


def _split(audit: AuditResult) -> dict[str, Any]:
    counts = {issue: int(audit.decisions.contamination_mask(issue).sum()) for issue in audit.contamination}
    return {
        "samples": len(audit),
        "summary": summary_rows(audit),
        "contamination": audit.contamination,
        "intervals": {issue: wilson(count, len(audit)) for issue, count in counts.items()},
        "not_run": audit.scores.not_run,
        "estimates": calibration_rows(audit),
        "sets": {
            "number": int(audit.decisions.sets.max(initial=-1)) + 1,
            "conflicting": len(audit.decisions.conflicts),
        },
        "kept": kept_action(audit),
        "fitness": None if audit.fitness is None else audit.fitness.as_dict(),
        "search": audit.provenance.get("settings", {}).get("search"),
    }


def _leakage(audits: Mapping[str, AuditResult]) -> Iterator[dict[str, Any]]:
    """Samples on either side that the other side holds too, once for every two splits that were compared."""
    reported = set()
    for name, audit in audits.items():
        leaks = audit.scores.leaks or LeakPairs.empty()
        near = audit.decisions.leaks
        for number, other in enumerate(leaks.splits[1:], 1):
            hits = near & (leaks.other == number)
            own, its = (len(np.unique(positions[hits])) for positions in (leaks.index, leaks.other_index))
            if other not in reported:
                yield {"split_1": name, "split_2": other, "samples_1": own, "samples_2": its}
        reported.add(name)


def _verdict(audits: Mapping[str, AuditResult], verdict: Verdict) -> dict[str, Any]:
    return {
        "passed": verdict.passed,
        "reasons": verdict.reasons,
        "checks": [_check(audits[check.split], check) for check in verdict.checks],
        "baseline": verdict.baseline,
        "stale": verdict.stale,
    }


def _check(audit: AuditResult, check: Check) -> dict[str, Any]:
    ran = not check.not_run
    return {
        "split": check.split,
        "issue": check.issue,
        "samples": check.samples,
        "found": len(check.found) if ran else None,
        "accepted": len(check.accepted) if ran else None,
        "contamination": check.fraction if ran else None,
        "interval": check.interval if ran else None,
        "limit": {"samples": check.limit.samples} if isinstance(check.limit, Count) else check.limit,
        "passed": check.passed,
        "not_run": check.not_run or None,
        "worst": [_sample(audit, index) for index in check.found[:WORST].tolist()],
    }


def _sample(audit: AuditResult, index: int) -> dict[str, Any]:
    reason = audit.decisions.reason[index]
    return {"index": index, "sample": name_of(audit, index), "digest": digest_of(audit, index), "reason": reason}
