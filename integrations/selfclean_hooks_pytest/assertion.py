"""`assert_clean`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.errors import AuditFileError, PolicyError, SelfCleanError, SettingError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Verdict, check
from selfclean_hooks_pytest.audit_cache import load_or_audit
from selfclean_hooks_pytest.limits import Tolerance, by_split, failure, line, resolve_limits
from selfclean_hooks_pytest.session import Run, running, test

if TYPE_CHECKING:
    from selfclean_hooks.decisions.settings import Thresholds

DEFAULTS = {
    "backbone": "auto",
    "method": "default",
    "labels": None,
    "device": "auto",
    "batch_size": 64,
    "num_workers": 0,
    "seed": 0,
    "group_key": None,
}


def assert_clean(
    data: Any,
    *,
    near_duplicates: Tolerance = "auto",
    off_topic: Tolerance = "auto",
    label_errors: Tolerance = "auto",
    leakage: Tolerance = "auto",
    group_leakage: Tolerance = None,
    image_quality: Tolerance = None,
    unreadable: Tolerance = "auto",
    total: Tolerance = None,
    not_run: Collection[str] = (),
    baseline: str | Path | None = None,
    report: str | Path | None = None,
    backbone: Any = "auto",
    method: str = "default",
    thresholds: Thresholds | None = None,
    labels: Any = None,
    device: str = "auto",
    batch_size: int = 64,
    num_workers: int = 0,
    seed: int = 0,
    group_key: Any = None,
    **unknown: NoReturn,  # a type checker refuses them too
) -> Audit | SplitsAudit:
    """Fail, as `assert` does, where more samples have an issue than is tolerated.

    A limit is a fraction of the samples (0.01), a number of them (`Count(5)`), None for any amount, or one of these by
    name of the split: {"train": 0.02, "val": 0.0}, a split that is left out having none. "auto" is 0.01 for near
    duplicates and leakage, 0 for unreadable samples, and none for the others, which are a matter of judgement; with a
    baseline it is 0 for all of them: nothing new.

    Args:
        data: a data set; splits by name, as {"train": train, "val": val}; or an `Audit` or `SplitsAudit`.
        near_duplicates: limit of surplus copies.
        off_topic: limit of samples that are off topic.
        label_errors: limit of label errors.
        leakage: limit of samples that another split holds too.
        group_leakage: limit of samples whose group, see `group_key`, another split holds too.
        image_quality: limit of dark, blurry, blank ... images, which are looked for where there is one.
        unreadable: limit of samples that cannot be read.
        total: limit of samples with any issue.
        not_run: issues with a limit that may go unchecked; otherwise a check that could not run fails.
        baseline: file of accepted findings, which do not count. A failure tells how to write it.
        report: folder to save the audit and its report in; of failures it is saved in the cache folder otherwise.
        backbone: see `audit`, as for all that follows.
        method: see `audit`.
        thresholds: where a score becomes a flag.
        labels: see `audit`; of splits by name.
        device: see `audit`.
        batch_size: see `audit`.
        num_workers: see `audit`.
        seed: see `audit`.
        group_key: see `audit`.
        unknown: nothing.

    Returns:
        The Audit, or the SplitsAudit of splits.

    Raises:
        AssertionError: the data is not clean; says what was found, where the report lies and how to accept it.
        SelfCleanError: an argument makes no sense, or the data cannot be audited.
    """
    __tracebackhide__ = True  # the test's own line and the message are all that pytest shows
    limits = {
        "near_duplicates": near_duplicates,
        "off_topic": off_topic,
        "label_errors": label_errors,
        "leakage": leakage,
        "group_leakage": group_leakage,
        "image_quality": image_quality,
        "unreadable": unreadable,
        "total": total,
    }
    settings = {
        "backbone": backbone,
        "method": method,
        "labels": labels,
        "device": device,
        "batch_size": batch_size,
        "num_workers": num_workers,
        "seed": seed,
        "group_key": group_key,
    }
    try:
        _check_names(unknown, limits, settings)
        found, failure_text = _judged(data, limits, not_run, baseline, report, settings, thresholds)
    except SelfCleanError as error:  # the message says it all
        raise error.with_traceback(None) from error.__cause__
    if failure_text:
        raise AssertionError(failure_text)
    return found


def _judged(
    data: Any,
    limits: Mapping[str, Tolerance],
    not_run: Collection[str],
    baseline: str | Path | None,
    report: str | Path | None,
    settings: Mapping[str, Any],
    thresholds: Thresholds | None,
) -> tuple[Audit | SplitsAudit, str]:
    """The audit, and why it fails, "" where it does not."""
    asked, accepted, run = by_split(limits, _names(data), not_run), _read(baseline), running()
    if isinstance(data, (Audit, SplitsAudit)):
        found, was_kept = _as_given(data, settings).at(thresholds=thresholds), False
    else:
        measures = limits["image_quality"] not in (None, "auto")
        more = {"thresholds": thresholds, **({"image_quality": True} if measures else {})}
        found, was_kept = load_or_audit(data, {**settings, **more}, run)
    audits = found.audits if isinstance(found, SplitsAudit) else {"": found}
    by_name = {
        name: resolve_limits(asked[name], audit, accepted is not None, not_run) for name, audit in audits.items()
    }
    verdict = check(audits, by_name, accepted)
    place, problem = _saved(found, verdict, report, run)
    if run is not None:
        failed = {each.split for each in verdict.checks if not each.passed}
        run.lines += [line(test(), name, audit, name not in failed, was_kept, place) for name, audit in audits.items()]
    if verdict.passed:
        return found, ""
    return found, "\n".join(filter(None, (failure(audits, verdict, place, str(baseline or "")), problem)))


def _names(data: Any) -> tuple[str, ...]:
    """Of the splits; one "" for one data set."""
    if isinstance(data, SplitsAudit):
        return tuple(data.audits)
    return tuple(data) if isinstance(data, Mapping) else ("",)


def _as_given(data: Audit | SplitsAudit, settings: Mapping[str, Any]) -> Audit | SplitsAudit:
    """An audit that was made already.

    Raises:
        SettingError: a setting says how to make one.
    """
    given = [
        name for name, value in settings.items() if type(value) is not type(DEFAULTS[name]) or value != DEFAULTS[name]
    ]
    if given:
        raise SettingError(
            f"{given[0]}= says how to make an audit, and this is one already: pass it where the audit is made, or pass "
            "the data set"
        )
    return data


def _read(baseline: str | Path | None) -> Baseline | None:
    if baseline is None:
        return None
    if not Path(baseline).exists():
        raise SettingError(
            f"there is no baseline {baseline}: leave baseline= out once, and the failure tells how to write it"
        )
    return Baseline.read(baseline)


def _saved(found: Audit | SplitsAudit, verdict: Verdict, report: str | Path | None, run: Run | None) -> tuple[str, str]:
    """The folder that the audit lies in now, "" if none, and why it could not be saved."""
    if report is not None:
        _save(found, report)
        return (run.shown(Path(report)) if run is not None else str(report)), ""
    place = run.report() if run is not None and not verdict.passed else None
    if run is None or place is None:
        return "", ""
    try:
        _save(found, place)
    except AuditFileError as error:  # it must not hide what was found
        return "", f"the report could not be saved: {error}"
    return run.shown(place), ""


def _save(found: Audit | SplitsAudit, folder: str | Path) -> None:
    with suppress(PolicyError):  # of an audit that was given: it is all there but for a list of what would be left
        found.save(folder)


def _check_names(unknown: Mapping[str, Any], *known: Mapping[str, Any]) -> None:
    """See that nothing was given under a name that there is not.

    Raises:
        SettingError: something was.
    """
    names = [name for each in known for name in each] + ["not_run", "baseline", "report", "thresholds"]
    for name in unknown:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise SettingError(f"assert_clean knows no {name!r}: {hint}")
