"""What the command line does with an audit: thresholds, baseline, limits, saving, printing, exit status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from selfclean_hooks.audits.splits import SplitsAudit
from selfclean_hooks.cli.options import GateOptions
from selfclean_hooks.cli.output import complain, print_result, say
from selfclean_hooks.core.issues import SCORED
from selfclean_hooks.decisions.review.marks import Review
from selfclean_hooks.decisions.review.verdicts import unknown_labels
from selfclean_hooks.errors import PolicyError
from selfclean_hooks.gate.baseline import Baseline
from selfclean_hooks.gate.verdict import Verdict, check
from selfclean_hooks.results.result import sample_name
from selfclean_hooks.results.stopping_rule import clean_runs
from selfclean_hooks.storage.folder import holds_audit, is_of_splits

if TYPE_CHECKING:
    from selfclean_hooks.audits.audit import Audit

SHOWN = 5  # samples named


def load_audit(folder: Path) -> SplitsAudit:
    """A saved audit; of one data set it is the split "".

    Raises:
        AuditFileError: there is none.
    """
    from selfclean_hooks.audits.audit import Audit
    from selfclean_hooks.audits.splits import SplitsAudit

    return SplitsAudit.load(folder) if is_of_splits(folder) else SplitsAudit({"": Audit.load(folder)})


def write_report(found: SplitsAudit, folder: Path) -> None:
    """Write the page, or the pages of the splits and one that leads to them, into the folder of a saved audit."""
    if "" in found.audits:
        found.audits[""].to_html(folder / "report.html")
        return
    from selfclean_hooks.audits.splits import split_pages
    from selfclean_hooks.storage.splits import write_reports

    write_reports(found, folder, *split_pages(found))


def check_and_report(found: SplitsAudit, asked: GateOptions, output: Path | None = None) -> int:
    """Check against the limits, save into `output` if that is given, print, and return the exit status.

    Where a threshold flags most of the data the status is 2, and also where the policy would drop most of it and no
    limit fails. An earlier audit in `output` and the baseline are left as they are then.
    """
    found = apply_reviews(_reconsidered(found, asked), asked.review())
    audits = found.audits
    limits, baseline = asked.limits_of(audits), asked.accepted()
    doubtful, refused = tuple(_doubtful(audits)), tuple(_refused(audits))
    problem = "; ".join(doubtful or refused)
    verdict = check(audits, limits, baseline)
    place = None if output is None else _saved(found, output, bool(problem), verdict)
    if asked.update and asked.baseline is not None and not problem:
        before, baseline = baseline, Baseline.of(audits, baseline)
        baseline.write(asked.baseline)
        say(_told(asked.baseline, before, baseline))
        verdict = check(audits, limits, baseline)
        for told in _not_accepted(audits, verdict):
            say(told)
    print_result(found, verdict, asked.format, place)
    if problem:
        without = ", without clean_indices.txt" if refused else ""
        complain(f"{problem}. " + (f"The audit is saved in {place}{without}" if place else "Nothing was written"))
        return 2 if doubtful or verdict else 1
    return 0 if verdict else 1


def _reconsidered(found: SplitsAudit, asked: GateOptions) -> SplitsAudit:
    """The saved audit at other thresholds and with other copies kept, where these were asked for."""
    if not asked.threshold and asked.keep is None:
        return found
    audits = {
        name: audit.at(thresholds=asked.thresholds(audit.thresholds), policy=asked.policy(audit.policy))
        for name, audit in found.audits.items()
    }
    return SplitsAudit(audits, found.shifts)


def apply_reviews(found: SplitsAudit, review: Review | None) -> SplitsAudit:
    """The audit with what people decided now and before; what came of that is told on standard error."""
    found = found if review is None else found.with_decisions(review)
    kept = [audit.review for audit in found.audits.values() if audit.review is not None]
    if not kept:
        return found
    say(_about_marks(found.audits, Review.merged([*kept, *([] if review is None else [review])])))
    for name, audit in found.audits.items():
        for issue, row in clean_runs(audit):
            say(_split(name) + row.describe(issue))
    return found


def _about_marks(audits: Mapping[str, Audit], review: Review) -> str:
    """How many marks there are, and those that match nothing."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in review.counts.items())
    told = f"decisions: {len(review.marks)} marks" + (f" ({counts})" if counts else "")
    nowhere = {mark.finding for audit in audits.values() for mark in audit.decisions.unmatched}
    lost = [m for m in review.marks if m.finding in nowhere or (m.split not in audits and "" not in audits)]
    if lost:
        more = ", ..." if len(lost) > SHOWN else ""
        told += f", {len(lost)} match nothing here: {', '.join(map(str, lost[:SHOWN]))}{more}"
    leaks = [audit.scores.leaks for audit in audits.values() if audit.scores.leaks is not None]
    own = {name for each in leaks for name in each.splits[:1]}
    splits = sorted({mark.split for mark in lost} - {"", *audits, *own})
    if splits:
        of = f"{sum(mark.split in splits for mark in lost)} about the" if "" in audits else "there is no"
        told += f" ({of} split {', '.join(splits)})"
    new = [label for audit in audits.values() for label in unknown_labels(audit.scores, audit.relabelled)]
    return told + (f"; new labels that no sample has: {', '.join(dict.fromkeys(new))}" if new else "")


def _not_accepted(audits: Mapping[str, Audit], verdict: Verdict) -> Iterator[str]:
    """What a baseline that was just written leaves out, and why."""
    confirmed = {name: audit.decisions.confirmed for name, audit in audits.items()}
    count = sum(int(each.sum()) for each in confirmed.values())
    corrected = sum(len(audit.relabelled) for audit in audits.values())
    if count or corrected:
        yield f"not accepted: {count} samples that people want dropped, {corrected} labels that they want mended"
    unknown = [
        sample_name(audits[one.split], i)
        for one in verdict.checks
        for i in one.found[~confirmed[one.split][one.found]][:SHOWN].tolist()
    ]
    if unknown:
        yield (
            "not accepted, as what they contain is not known (a broken link, a file above 256 MiB, a frame of a "
            f"video): {', '.join(dict.fromkeys(unknown))}. Mend or remove them"
        )


def _doubtful(audits: Mapping[str, Audit]) -> Iterator[str]:
    """Thresholds that flag most of the data. Exact copies are no matter of a threshold."""
    for name, audit in audits.items():
        for issue in SCORED:
            inexact = audit.scores.of(issue) > 0
            share = (audit.decisions.counted(issue) & ~audit.decisions.confirmed & inexact).mean()
            if share > audit.policy.max_drop_fraction:
                yield (
                    f"{_split(name)}the threshold {audit.decisions.thresholds[issue]:.4g} flags {share:.0%} of the "
                    f"samples for {issue}: that says more about the threshold or the representation than about the data"
                )


def _refused(audits: Mapping[str, Audit]) -> Iterator[str]:
    """Policies that would drop most of the data."""
    for name, audit in audits.items():
        try:
            audit.clean_indices  # noqa: B018  (raises)
        except PolicyError as error:
            yield f"{_split(name)}{error}"


def _split(name: str) -> str:
    return f"split {name!r}: " if name else ""


def _saved(found: SplitsAudit, output: Path, is_refused: bool, verdict: Verdict) -> Path:
    """Save and say where: beside an earlier audit if this one is not to be trusted."""
    whole = output.absolute()  # "." has no name
    place = whole.with_name(f"{whole.name}.refused") if is_refused and holds_audit(output) else output
    try:
        (found.audits.get("") or found).save(place, verdict)
    except PolicyError:
        if not is_refused:
            raise
    return place


def _told(path: Path, before: Baseline | None, after: Baseline) -> str:
    old, new = set(before.entries if before is not None else ()), set(after.entries)
    return f"baseline {path}: {len(after)} entries ({len(new - old)} new, {len(old - new)} gone)"
