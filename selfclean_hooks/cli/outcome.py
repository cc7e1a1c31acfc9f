"""The outcome of a command: thresholds, reviews, baseline and limits applied, saved, printed, as an exit status."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.audits.splits import SplitsAudit, split_pages
from selfclean_hooks.cli.options.gate import GateOptions
from selfclean_hooks.cli.output import complain, print_result, say
from selfclean_hooks.cli.output_folder import refused_folder
from selfclean_hooks.core.issues import SCORED, TOTAL
from selfclean_hooks.decisions.duplicate_sets import CERTAIN_CLEAN
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.review.verdicts import unknown_labels
from selfclean_hooks.decisions.settings import Policy
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Verdict, check
from selfclean_hooks.results.result import sample_name
from selfclean_hooks.results.stopping_rule import clean_runs
from selfclean_hooks.storage.folder import holds_audit, is_of_splits
from selfclean_hooks.storage.ownership import PAGE
from selfclean_hooks.storage.splits import write_reports

MOST_NAMED = 5  # samples or marks listed in a message


def load_audit(folder: Path) -> SplitsAudit:
    """Load a saved audit; that of a single data set is the split "".

    Raises:
        AuditFileError: there is none.
    """
    return SplitsAudit.load(folder) if is_of_splits(folder) else SplitsAudit({"": Audit.load(folder)})


def write_report(result: SplitsAudit, folder: Path) -> None:
    """Write the page, or the pages of the splits and their index page, into the folder of a saved audit."""
    if "" in result.audits:
        result.audits[""].to_html(folder / "report.html")
        return
    write_reports(result, folder, *split_pages(result, folder))


def check_and_report(
    result: SplitsAudit, options: GateOptions, folder: Path, is_new: bool = False, report: bool = True
) -> int:
    """Check against the limits, save into the folder what is new, print, and return the exit status.

    The status is 2 where a threshold flags most of the data, or where the policy would drop most of it, and no limit
    fails that does not rest on such a threshold. An earlier audit in the folder and the baseline are not changed then.
    """
    result = apply_reviews(with_options(result, options), options.review())
    audits = result.audits
    limits, baseline = options.limits_of(audits), options.accepted()
    implausible, refused = dict(_implausible_thresholds(audits)), tuple(_refused_policies(audits))
    problem = "; ".join(implausible.values() or refused)
    verdict = replace(check(audits, limits, baseline), refused=tuple(implausible.values()) or refused)
    place = _save(result, folder, bool(problem), verdict, report) if is_new else None
    if options.update_baseline and options.baseline is not None and not problem:
        baseline = _write_baseline(options.baseline, audits, baseline)
        verdict = check(audits, limits, baseline)
        for note in _not_accepted(audits, verdict):
            say(note)
    page = None if place is None or not report else place / PAGE
    is_result = not problem or _fails_beside(verdict, implausible)
    step = _next_step(verdict, options, place or folder) if is_result else None
    print_result(result, verdict, options.format, page, step, options.verbose)
    if problem:
        without = ", without clean_indices.txt" if refused else ""
        complain(f"{problem}. " + (f"The audit is saved in {place}{without}" if place else "Nothing was written"))
    return (0 if verdict else 1) if is_result else 2


def _next_step(verdict: Verdict, options: GateOptions, folder: Path) -> str:
    """The command to go on with; "": nothing was found."""
    saved = shlex.quote(os.path.join(folder, ""))
    if options.decisions:
        files = "".join(f" --decisions {shlex.quote(str(path))}" for path in options.decisions)
        return f"selfclean-hooks apply {saved}{files} --to clean"
    is_found = not verdict.passed or any(len(each.found) for each in verdict.checks)
    return f"selfclean-hooks report {saved} --open" if is_found else ""


def _fails_beside(verdict: Verdict, implausible: Collection[tuple[str, str]]) -> bool:
    """Whether a limit fails that does not rest on a threshold which is `implausible`, given as (split, issue)."""
    doubted = {*implausible, *((split, TOTAL) for split, _ in implausible)}
    return any(not each.passed and (each.split, each.issue) not in doubted for each in verdict.checks)


def with_options(result: SplitsAudit, options: GateOptions) -> SplitsAudit:
    """The audit with the thresholds and what the policy does by the command line; only the first split is changed."""
    if not options.threshold and options.policy(Policy()) == Policy():
        return result
    audits: dict[str, Audit] = {}
    for name, audit in result.audits.items():
        policy = options.policy(audit.policy)
        policy = policy.without_changes() if audits else policy
        audits[name] = audit.at(thresholds=options.thresholds(audit.thresholds), policy=policy)
    return SplitsAudit(audits, result.shifts)


def apply_reviews(result: SplitsAudit, review: Review | None) -> SplitsAudit:
    """The audit with saved and new review decisions; standard error says what they changed."""
    result = result if review is None else result.with_decisions(review)
    reviews = [audit.review for audit in result.audits.values() if audit.review is not None]
    if not reviews:
        return result
    say(_describe_marks(result.audits, Review.merge([*reviews, *([] if review is None else [review])])))
    for name, audit in result.audits.items():
        for issue, row in clean_runs(audit):
            say(_split(name) + row.describe(issue))
    return result


def _describe_marks(audits: Mapping[str, Audit], review: Review) -> str:
    """How many marks there are, and those that match nothing."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in review.counts.items())
    text = f"decisions: {len(review.marks)} marks" + (f" ({counts})" if counts else "")
    unmatched = {mark.finding for audit in audits.values() for mark in audit.decisions.unmatched}
    lost = [m for m in review.marks if m.finding in unmatched or (m.split not in audits and "" not in audits)]
    if lost:
        more = ", ..." if len(lost) > MOST_NAMED else ""
        text += f", {len(lost)} match nothing here: {', '.join(map(str, lost[:MOST_NAMED]))}{more}"
    leaks = [audit.scores.leaks for audit in audits.values() if audit.scores.leaks is not None]
    own = {name for each in leaks for name in each.splits[:1]}
    splits = sorted({mark.split for mark in lost} - {"", *audits, *own})
    if splits:
        of = f"{sum(mark.split in splits for mark in lost)} about the" if "" in audits else "there is no"
        text += f" ({of} split {', '.join(splits)})"
    new = [label for audit in audits.values() for label in unknown_labels(audit.scores, audit.relabelled)]
    return text + (f"; new labels that no sample has: {', '.join(dict.fromkeys(new))}" if new else "")


def _write_baseline(path: Path, audits: Mapping[str, Audit], before: Baseline | None) -> Baseline:
    """Accept all findings."""
    after = Baseline.of(audits, before)
    after.write(path)
    old, new = set(before.entries if before is not None else ()), set(after.entries)
    say(f"baseline {path}: {len(after)} entries ({len(new - old)} new, {len(old - new)} removed)")
    return after


def _not_accepted(audits: Mapping[str, Audit], verdict: Verdict) -> Iterator[str]:
    """What a baseline that was just written leaves out, and why."""
    confirmed = {name: audit.decisions.confirmed for name, audit in audits.items()}
    count = sum(int(each.sum()) for each in confirmed.values())
    corrected = sum(len(audit.relabelled) for audit in audits.values())
    if count or corrected:
        yield f"not accepted: {count} samples that reviewers dropped, {corrected} labels that they corrected"
    unknown = [
        sample_name(audits[one.split], i)
        for one in verdict.checks
        for i in one.found[~confirmed[one.split][one.found]][:MOST_NAMED].tolist()
    ]
    if unknown:
        yield (
            "not accepted, because the content is not known (a broken link, a file above 256 MiB, a video frame): "
            f"{', '.join(dict.fromkeys(unknown))}. Fix or remove them"
        )


def _implausible_thresholds(audits: Mapping[str, Audit]) -> Iterator[tuple[tuple[str, str], str]]:
    """(split, issue) whose threshold flags most of the data, and a sentence; copies that are certain do not count."""
    for name, audit in audits.items():
        for issue in SCORED:
            doubtful = ~(audit.decisions.confirmed | _are_certain_copies(audit, issue))
            share = (audit.decisions.contamination_mask(issue) & doubtful).mean()
            if share > audit.policy.max_drop_fraction:
                yield (
                    (name, issue),
                    f"{_split(name)}the threshold {audit.decisions.thresholds[issue]:.4g} flags {share:.0%} of the "
                    f"samples for {issue}: that says more about the threshold or the representation than about the "
                    "data",
                )


def _are_certain_copies(audit: Audit, issue: str) -> NDArray[np.bool_]:
    """(N,) exact copies, which no threshold decides on, and near duplicates that are certain by their calibration."""
    scores, calibration = audit.scores.of(issue), audit.scores.calibration.get(issue)
    if issue != "near_duplicates" or calibration is None or calibration.unknown:
        return np.asarray(scores <= 0)
    return np.asarray((scores <= 0) | (calibration.probability_clean(scores) < CERTAIN_CLEAN))


def _refused_policies(audits: Mapping[str, Audit]) -> Iterator[str]:
    """Policies that would drop most of the data."""
    for name, audit in audits.items():
        try:
            audit.clean_indices  # noqa: B018  (raises)
        except PolicyError as error:
            yield f"{_split(name)}{error}"


def _split(name: str) -> str:
    return f"split {name!r}: " if name else ""


def _save(result: SplitsAudit, output: Path, has_problem: bool, verdict: Verdict, report: bool) -> Path:
    """Save and return where: beside an earlier audit if this one is not to be trusted."""
    place = refused_folder(output) if has_problem and holds_audit(output) else output
    try:
        (result.audits.get("") or result).save(place, verdict, report)
    except PolicyError:
        if not has_problem:
            raise
    return place
