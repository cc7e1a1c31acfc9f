"""What users read of an audit in training: a paragraph, metrics and images of the worst samples for the loggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfclean_hooks.audits.audit import Audit
from selfclean_hooks.core.issues import BY_NAME, SCORED
from selfclean_hooks.gate.verdict import Limits
from selfclean_hooks.report.figures.contact_sheet import contact_sheet
from selfclean_hooks.results.corrections import Corrections
from selfclean_hooks.results.result import metrics_of
from selfclean_hooks.utils.text import listing

DONE = {
    "drop": "dropped",
    "relabel": "relabelled or dropped",
    "warn": "kept",
    "ignore": "ignored",
    "raise": "not tolerated",
}


def data_name(name: str) -> str:
    """What users read for the data of a loader of that name."""
    return f"the training data {name}".strip()


def findings(audit: Audit) -> Iterator[str]:
    """One phrase for every issue with something flagged, unless it is to be ignored."""
    for issue, fraction in audit.contamination.items():
        hits, action = audit.worst(issue), audit.policy.action(issue)
        if not len(hits) or action == "ignore":
            continue
        phrase = f"{len(hits)} {BY_NAME[issue].phrase} ({fraction:.2%}, {DONE[action]}; "
        if issue == "unreadable":
            advice = "" if action == "drop" else ". Training may fail there too; policy 'drop' leaves them out"
            yield f"{phrase}index {listing(hits, 5)}; the first: {audit.scores.errors[int(hits[0])]}{advice})"
        else:
            yield f"{phrase}worst: {listing(hits, 5)})"


def paragraph(audit: Audit, what: str, folder: Path | None) -> str:
    """The audit in one paragraph: counts, shares, worst samples, representation, where the report lies."""
    encoder = audit.provenance["encoder"]
    flagged = "; ".join(findings(audit)) or "nothing flagged"
    for issue, why in audit.scores.not_run.items():
        if audit.policy.action(issue) in ("drop", "relabel", "raise") or why != "there are no labels":
            flagged += f"; {BY_NAME[issue].words} not looked for: {why}"
    report = f"Report: {folder / 'report.html'}" if folder is not None else "No output_dir, so no report was written"
    return (
        f"DataAudit of {what}: {len(audit)} samples, {flagged}. Representation: {encoder['name']}, RankMe "
        f"{encoder['rank_me']:.1f}. {report}"
    )


def changes(audit: Audit, corrections: Corrections) -> Iterator[str]:
    """A line for what is dropped and one for what is relabelled."""
    for done, at in (("dropped", corrections.dropped), ("relabelled", corrections.relabelled[:, 0])):
        if len(at):
            yield f"{len(at)} of {len(audit)} samples are {done}, index {listing(at)}"


def limit_violations(audit: Audit, limits: Limits) -> list[str]:
    """Why the training is to be stopped: limits that are exceeded, and flags that the policy does not tolerate."""
    raising = [
        f"{issue} is not tolerated (policy 'raise')"
        for issue in audit.contamination
        if audit.policy.action(issue) == "raise" and len(audit.worst(issue))
    ]
    return [*audit.check(limits).failures, *raising]


def metrics(audit: Audit, name: str = "") -> dict[str, float]:
    """Contamination per issue, kept fraction and RankMe, as `audit/off_topic` or `audit/<loader>/off_topic`."""
    return {f"audit/{name and name + '/'}{key}": value for key, value in metrics_of(audit).items()}


def log(loggers: Sequence[Any], audit: Audit, name: str, step: int) -> None:
    """Metrics to every logger, images to those that take them: TensorBoard's, and any with `log_image`."""
    shown = [issue for issue in SCORED if loggers and issue in audit.scores.issues]
    sheets = {issue: contact_sheet(audit, issue) for issue in shown}
    for logger in loggers:
        logger.log_metrics(metrics(audit, name), step=step)
        add_image = getattr(getattr(logger, "experiment", None), "add_image", None)
        for issue, sheet in sheets.items():
            tag = f"audit/{name and name + '/'}{issue}"
            if sheet is None:
                continue
            if callable(getattr(logger, "log_image", None)):
                logger.log_image(key=tag, images=[sheet], step=step)
            elif callable(add_image):
                add_image(tag, sheet, step, dataformats="HWC")
