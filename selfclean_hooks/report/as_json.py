"""The result of an audit as JSON, for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selfclean_hooks.errors import PolicyError

if TYPE_CHECKING:
    from selfclean_hooks.audit import Audit
    from selfclean_hooks.gate import Verdict

FORMAT = 1


def as_json(audit: Audit, verdict: Verdict | None = None) -> str:
    """The counts of an audit as one JSON object, ASCII only, without NaN or infinity.

        {"format": 1,
         "samples": 1100,
         "summary": [{"issue": "near_duplicates", "num_issues": 52, "contamination": 0.0473, "threshold": 0.0217,
                      "action": "drop"}, ...],              null where not run or without a threshold
         "contamination": {"near_duplicates": 0.0473, ...}, issues that ran
         "not_run": {"label_errors": "there are no labels"},
         "kept": 1013,                                      null where the policy would drop too much
         "verdict": {"passed": false, "reasons": ["..."]}}  null where nothing was checked

    Args:
        audit: what to report.
        verdict: of `audit.check(limits)`.
    """
    content = {
        "format": FORMAT,
        "samples": len(audit),
        "summary": audit.summary.to_dict("records"),
        "contamination": audit.contamination,
        "not_run": audit.scores.not_run,
        "kept": kept(audit),
        "verdict": None if verdict is None else {"passed": verdict.passed, "reasons": verdict.reasons},
    }
    return json.dumps(plain(content), indent=2, allow_nan=False)


def kept(audit: Audit) -> int | None:
    """How many samples the policy keeps; None where it would drop too much."""
    try:
        return len(audit.clean_indices)
    except PolicyError:
        return None


def plain(value: Any) -> Any:
    """The value as JSON knows it: NaN, infinity and missing values as None, unknown objects as their text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, (str, int, float)) else str(value)
